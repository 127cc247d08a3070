"""Owns what the joint BERT is trained for: the terms of the loss and their weights.

Shapes: T tokens, S sequences, M asked places, P pairs of towers, H hidden, V vocabulary.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from multimodal.examples import IGNORED, JOINT, TEXT, VIDEO, Batch
from multimodal.model import JointBert

CONTRAST_TEMPERATURE = 0.05


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """The weights of the sum. The paper does not publish its own; ``contrast`` is ours, for search (0 turns it off)."""

    text: float = 1.0
    video: float = 1.0
    joint: float = 1.0
    alignment: float = 1.0
    contrast: float = 1.0


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
