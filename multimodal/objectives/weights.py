"""Loss weights: a number for each term of the pre-training objective. No PyTorch here."""

from __future__ import annotations

import dataclasses
import math

from multimodal.store import InputError
from multimodal.terms import PRETRAINING_TERMS


class _LossWeights:
    """The methods of :class:`LossWeights`."""

    def __post_init__(self) -> None:
        for name, weight in dataclasses.asdict(self).items():
            if not 0 <= weight < math.inf:
                raise InputError(f"--weights {name}={weight:g}: a number from 0 on; 0 turns the term off")
        if not self.active_terms:
            raise InputError("--weights: all are 0, so there is nothing to learn; give one of them a weight")

    @property
    def active_terms(self) -> frozenset[str]:
        """The names of the terms whose weight is not 0."""
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
            if name not in PRETRAINING_TERMS:
                raise InputError(
                    f"--weights {part.strip()}: no weight of a term; NAME=NUMBER with the names {', '.join(PRETRAINING_TERMS)}"
                )
        return cls(**weights)


LossWeights = dataclasses.make_dataclass(
    "LossWeights", [(name, float, 1.0) for name in PRETRAINING_TERMS], bases=(_LossWeights,), frozen=True
)
"""The weights of the sum, each 1 where not given: the paper does not publish its own. A term of weight 0 is not drawn.

Raises :class:`InputError` for a weight below 0, and where all are 0."""
LossWeights.__module__ = __name__
