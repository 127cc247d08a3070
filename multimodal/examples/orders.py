"""Orders: which tokens of a sequence see which, and what an order asks in place of masks. One for each ``attention``.

A rank for each token says it (:func:`multimodal.joint.attention.visible`). Sources: Radford et al., "Improving language
understanding by generative pre-training" (GPT, 2018), section 3.1; Yang et al., XLNet (NeurIPS 2019), sections 2.2 to 2.4.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from multimodal.examples.packing import Example, Parts
from multimodal.systems import BIDIRECTIONAL, LEFT_TO_RIGHT, PERMUTATION
from multimodal.vocabulary import Vocabulary

PREDICTED = 1 / 6
"""Share of the tokens that stand last in a permutation and are predicted (XLNet, section 2.3: K = 6)."""
VIDEO_FIRST_RATE = 0.5
"""Rate at which a system that writes reads the video of a segment before its words."""


@dataclasses.dataclass(frozen=True)
class Order:
    """``ask``: a masked example as it is read and asked in this order. ``ranks``: of a sequence that is read as it is, in
    which nothing is asked but at ``[MASK]``; ``None``: all see all."""

    ask: Callable[[Example, Vocabulary, np.random.Generator], Example]
    ranks: Callable[[Sequence[int], int], list[int] | None]

    def read(self, example: Example) -> Example:
        """An example with the ranks of a whole sequence, where it has none yet: all of a batch have an order, or none."""
        if example.order is not None:
            return example
        ranks = self.ranks(example.ids, -1)
        return example if ranks is None else dataclasses.replace(example, order=ranks)


def unmasked(masked: Example) -> list[int]:
    """The ids with the tokens that are asked for in their places."""
    ids = list(masked.ids)
    for asked in masked.asks.values():
        for position, label in asked:
            ids[position] = label
    return ids


def left_to_right(masked: Example, vocabulary: Vocabulary, random: np.random.Generator) -> Example:
    """Each token sees those before it and itself, and is asked for the one after it: words, visual tokens and marks alike.

    What was masked is read as it is.
    """
    ids = unmasked(masked)
    following = [(position, token) for position, token in enumerate(ids[1:])]
    return dataclasses.replace(
        masked, ids=ids, asks=dict.fromkeys(masked.asks, following), order=list(range(len(ids)))
    )


def permuted(masked: Example, vocabulary: Vocabulary, random: np.random.Generator) -> Example:
    """The masked tokens come last, in an order that is drawn, and each is asked of a query that sees those before it.

    All others have the rank 0 and see each other (the authors' code; the paper's text ranks them too, which none of the
    predictions depends on). A query stands behind the sequence, at the position and with the type of its token. Its row is
    that of [MASK], in place of a vector of its own; nobody sees it, so no token reads a [MASK].
    """
    asked = [(term, *one) for term, asks in masked.asks.items() for one in asks]
    order, asks = [0] * len(masked.ids), {term: [] for term in masked.asks}
    for rank, number in enumerate(random.permutation(len(asked)).tolist(), 1):
        order[asked[number][1]] = rank
    places = [position for _, position, _ in asked]
    for query, (term, _, label) in enumerate(asked, len(masked.ids)):
        asks[term].append((query, label))
    return dataclasses.replace(
        masked,
        ids=[*unmasked(masked), *[vocabulary.mask] * len(asked)],
        types=[*masked.types, *(masked.types[position] for position in places)],
        asks=asks,
        order=[*order, *(~order[position] for position in places)],
        positions=[*range(len(masked.ids)), *places],
    )


def video_first(parts: Sequence[Parts]) -> list[Parts]:
    """Each segment as two parts, its video and then its words: what a system that writes words reads before it writes."""
    return [part for words, tokens in parts for part in (((), tokens), (words, ())) if any(part)]


ORDERS = {
    BIDIRECTIONAL: Order(lambda masked, vocabulary, random: masked, lambda ids, mask: None),
    LEFT_TO_RIGHT: Order(left_to_right, lambda ids, mask: list(range(len(ids)))),
    # A place that is asked comes last: it sees all that is there, and nobody sees it.
    PERMUTATION: Order(permuted, lambda ids, mask: [~1 if token == mask else 0 for token in ids]),
}
"""By the ``attention`` of a system."""
