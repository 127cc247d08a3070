"""Loss weights: a number for each term of the pre-training objective. No PyTorch here."""

from __future__ import annotations

import dataclasses
import math

from multimodal.store import InputError
from multimodal.terms import DEFAULT_WEIGHTS


class _LossWeights:
    """The methods of :class:`LossWeights`."""

    def __post_init__(self) -> None:
        for name, weight in dataclasses.asdict(self).items():
            if not 0 <= weight < math.inf:
                raise InputError(f"--weights {name}={weight:g}: a number from 0 on; 0 turns the term off")

    @property
    def active_terms(self) -> frozenset[str]:
        """The names of the terms whose weight is not 0; a system has some of them."""
        return frozenset(name for name, weight in dataclasses.asdict(self).items() if weight)

    @classmethod
    def parse(cls, text: str) -> LossWeights:
        """From ``text=1,joint=0.5``; a term that is not named keeps its weight. Raises :class:`InputError`."""
        weights = {}
        for part in text.split(","):
            name, _, weight = part.strip().partition("=")
            try:
                weights[name] = float(weight)
            except ValueError:
                name = ""
            if name not in DEFAULT_WEIGHTS:
                raise InputError(
                    f"--weights {part.strip()}: no weight of a term; NAME=NUMBER with the names {', '.join(DEFAULT_WEIGHTS)}"
                )
        return cls(**weights)


LossWeights = dataclasses.make_dataclass(
    "LossWeights",
    [(name, float, weight) for name, weight in DEFAULT_WEIGHTS.items()],
    bases=(_LossWeights,),
    frozen=True,
)
"""The weights of the sum, for VideoBERT's terms 1 where not given: the paper does not publish its own. A term of weight 0
is not drawn, nor is one that the system lacks.

Raises :class:`InputError` for a weight below 0."""
LossWeights.__module__ = __name__
