"""Owns what the joint BERT is trained for: the terms of the loss and their weights.

Shapes: T tokens, S sequences, M asked places, P pairs of towers, H hidden, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F

from multimodal.examples import IGNORED, JOINT, TEXT, VIDEO, Batch
from multimodal.model import JointBert
from multimodal.store import InputError

CONTRAST_TEMPERATURE = 0.05


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """The weights of the sum; a term of weight 0 is neither drawn nor computed. The paper does not publish its own.

    ``text``, ``video``, ``joint``: cloze in the three regimes; ``alignment``: the sequence head; ``contrast`` is ours, for
    search. Raises :class:`InputError` for a weight below 0, and where all are 0.
    """

    text: float = 1.0
    video: float = 1.0
    joint: float = 1.0
    alignment: float = 1.0
    contrast: float = 1.0

    def __post_init__(self) -> None:
        for name, weight in dataclasses.asdict(self).items():
            if not 0 <= weight < math.inf:
                raise InputError(f"--weights {name}={weight:g}: a number from 0 on; 0 turns the term off")
        if not self.asked:
            raise InputError("--weights: all are 0, so there is nothing to learn; give one of them a weight")

    @property
    def asked(self) -> frozenset[str]:
        """The names of the terms that count."""
        return frozenset(name for name, weight in dataclasses.asdict(self).items() if weight)

    @classmethod
    def parse(cls, text: str) -> LossWeights:
        """From ``text=1,joint=0.5``; what is not named keeps its weight. Raises :class:`InputError`."""
        known = [f.name for f in dataclasses.fields(cls)]
        weights = {}
        for part in text.split(","):
            name, _, weight = part.strip().partition("=")
            try:
                weights[name] = float(weight)
            except ValueError:
                name = ""
            if name not in known:
                raise InputError(
                    f"--weights {part.strip()}: no weight of a term; NAME=NUMBER with the names {', '.join(known)}"
                )
        return cls(**weights)


def losses(model: JointBert, batch: Batch) -> dict[str, torch.Tensor]:
    """The terms of the loss that the batch asks for, each a mean: cloze by regime, alignment, contrast.

    Cloze and alignment are those of BERT's pre-training; contrast is the symmetric in-batch cross entropy between the
    text-only and the video-only embedding of a segment (Sentence-BERT's towers, InfoNCE).
    """
    x_TH = model.encode(batch)
    terms: dict[str, torch.Tensor] = {}
    if len(batch.asked_M):
        found_M = F.cross_entropy(model.cloze(x_TH[batch.asked_M]).float(), batch.labels_M, reduction="none")
        regime_M = batch.regime_S[batch.sequence_T[batch.asked_M]]
        for name, regime in (("text", TEXT), ("video", VIDEO), ("joint", JOINT)):
            if (regime_M == regime).any():
                terms[name] = found_M[regime_M == regime].mean()
    if (batch.aligned_S != IGNORED).any():
        terms["alignment"] = F.cross_entropy(
            model.alignment(x_TH, batch).float(), batch.aligned_S, ignore_index=IGNORED
        )
    if len(batch.pairs_P2) > 1:
        e_SH = model.embed(x_TH, batch)
        scores_PP = e_SH[batch.pairs_P2[:, 0]] @ e_SH[batch.pairs_P2[:, 1]].T / CONTRAST_TEMPERATURE
        own_P = torch.arange(len(scores_PP), device=scores_PP.device)
        terms["contrast"] = (F.cross_entropy(scores_PP, own_P) + F.cross_entropy(scores_PP.T, own_P)) / 2
    return terms
