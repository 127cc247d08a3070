"""Near visual tokens: those whose centroids lie nearest. Reading one in place of another tells a model what is alike."""

from __future__ import annotations

import dataclasses

import numpy as np

from multimodal.examples.packing import Example
from multimodal.vocabulary import Vocabulary

NEAREST = 4
"""Near tokens of each token."""
BLOCK_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class NearTokens:
    """The tokens nearest to each of the K visual tokens, nearest first: int64 [K, n]. The rows of unused tokens are their own."""

    nearest_KN: np.ndarray

    @classmethod
    def of_centroids(cls, centroids_KD: np.ndarray, count: int = NEAREST) -> NearTokens:
        """From a codebook's leaf centroids, NaN where a leaf is unused: at most ``count`` for each, by Euclidean distance."""
        used = np.flatnonzero(np.isfinite(centroids_KD).all(1))
        count = min(count, max(len(used) - 1, 0))
        nearest_KN = np.repeat(np.arange(len(centroids_KD))[:, None], max(count, 1), 1)
        x_UD = centroids_KD[used].astype(np.float64)
        squares_U = (x_UD**2).sum(1)
        for first in range(0, len(used) if count else 0, BLOCK_ROWS):
            rows = slice(first, first + BLOCK_ROWS)
            # Squared distances without the row's own square, which changes no order.
            distance_RU = squares_U - 2 * x_UD[rows] @ x_UD.T
            distance_RU[np.arange(len(distance_RU)), np.arange(first, first + len(distance_RU))] = np.inf
            nearest_KN[used[rows]] = used[distance_RU.argsort(1, kind="stable")[:, :count]]
        return cls(nearest_KN)

    def alike(self, one: int, other: int) -> bool:
        """Whether two tokens are the same, or one is among the nearest of the other."""
        return one == other or bool(
            (self.nearest_KN[one] == other).any() or (self.nearest_KN[other] == one).any()
        )

    def replace(
        self, vocabulary: Vocabulary, example: Example, random: np.random.Generator, share: float
    ) -> Example:
        """The example with ``share`` of its visual tokens replaced by near ones, each on its own. Tokens that are asked for
        stay as the masking left them, and so do masks."""
        asked = {position for asks in example.asks.values() for position, *_ in asks}
        new_ids = list(example.ids)
        for position, dice in enumerate(random.random(len(new_ids)).tolist()):
            token = new_ids[position] - vocabulary.first_visual
            if dice < share and 0 <= token < vocabulary.visual and position not in asked:
                choices = self.nearest_KN[token]
                new_ids[position] = vocabulary.first_visual + int(choices[int(random.integers(len(choices)))])
        return dataclasses.replace(example, ids=new_ids)
