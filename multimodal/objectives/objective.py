"""Owns what the joint BERT is trained to do: cloze by regime, alignment, contrast, as sums and counts that add up.

A step may be cut into parts and divided among processes: each part gives the sum of each term and how many it was
asked for; the loss is the weighted sum of the terms' means over the whole step, however it was cut.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.examples.packing import IGNORED, REGIMES, TOWER, Batch
from multimodal.joint.large_vocabulary import CrossEntropy
from multimodal.joint.model import JointBert
from multimodal.store import InputError

CONTRAST_TEMPERATURE = 0.05
TERMS = (*REGIMES[:TOWER], "alignment", "contrast")
"""The names of the loss's terms, in the order of sums and counts."""


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """The weights of the sum; a term of weight 0 is not drawn. The paper does not publish its own.

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


def counts(batch: Batch) -> torch.Tensor:
    """How often each of the ``TERMS`` is asked for in a batch: [5], float64."""
    regime_M = batch.regime_S[batch.sequence_T[batch.asked_M]]
    asked = [(regime_M == regime).sum() for regime in range(TOWER)]
    aligned, pairs = (batch.aligned_S != IGNORED).sum(), torch.tensor(len(batch.pairs_P2))
    return torch.stack([*asked, aligned, pairs.to(aligned.device)]).double()


Gather = Callable[[torch.Tensor], torch.Tensor]
"""Puts the rows of all processes together; gradients flow to this process's own rows alone."""


def alone(rows: torch.Tensor) -> torch.Tensor:
    """For one process: its rows are all there are."""
    return rows


def sums(model: JointBert, batch: Batch, gather: Gather = alone) -> torch.Tensor:
    """The sum of each of the ``TERMS`` over a batch: [5]; a term that nothing asks for is 0, with a gradient of 0.

    Cloze and alignment are those of BERT's pre-training; contrast is the symmetric cross entropy between the text-only
    and the video-only embedding of a segment (Sentence-BERT's towers, InfoNCE) over the pairs that ``gather`` puts
    together: its sum is over all of them, and its gradients, added over the processes, are those of one process. Two
    pairs that read the same words or the same visual tokens are right for each other, so neither is the other's negative.
    """
    rows_TH, table = model.bert["embeddings"].embedding_lookup(batch.ids_T)
    x_TH = model.encode(batch, rows_TH)
    logits_MV = model.cloze(x_TH.index_select(0, batch.asked_M), table)
    found_M = CrossEntropy.apply(logits_MV, batch.labels_M)
    regime_M = batch.regime_S[batch.sequence_T[batch.asked_M]]
    cloze = found_M.new_zeros(TOWER).index_add(0, regime_M, found_M)
    alignment = F.cross_entropy(
        model.alignment(x_TH, batch).float(), batch.aligned_S, ignore_index=IGNORED, reduction="sum"
    )
    text_PH, video_PH = gather(model.embed(x_TH, batch)[batch.pairs_P2]).unbind(1)
    said_P, shown_P = gather(batch.contents_P2).unbind(1)
    with torch.autocast(x_TH.device.type, enabled=False):
        scores_PP = text_PH @ video_PH.T / CONTRAST_TEMPERATURE
    own_P = torch.arange(len(scores_PP), device=scores_PP.device)
    alike_PP = (said_P[:, None] == said_P) | (shown_P[:, None] == shown_P)
    scores_PP = scores_PP.masked_fill(alike_PP.fill_diagonal_(False), -torch.inf)
    contrast = sum(F.cross_entropy(s, own_P, reduction="sum") for s in (scores_PP, scores_PP.T)) / 2
    return torch.cat([cloze, torch.stack([alignment, contrast])])


def means(sums_5: torch.Tensor, counts_5: torch.Tensor) -> dict[str, float]:
    """Each term's mean, of those that were asked for; a single pair has nothing to be told from."""
    return {
        name: total / count
        for name, total, count in zip(TERMS, sums_5.tolist(), counts_5.tolist(), strict=True)
        if count > (name == "contrast")
    }


def losses(model: JointBert, batch: Batch) -> dict[str, torch.Tensor]:
    """The mean of each of the ``TERMS`` that the batch asks for."""
    asked = zip(TERMS, sums(model, batch), counts(batch).tolist(), strict=True)
    return {name: total / count for name, total, count in asked if count > (name == "contrast")}


class Objective(nn.Module):
    """The weighted loss of a model as a module, which PyTorch's wrappers for many processes can hold."""

    def __init__(self, model: JointBert, weights: LossWeights):
        super().__init__()
        self.model, self.weights = model, weights

    def forward(
        self, batch: Batch, counts_5: torch.Tensor, gather: Gather
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A part's share of the step's loss, and its sums [5]; ``counts_5`` are those of the whole step."""
        sums_5 = sums(self.model, batch, gather)
        weights_5 = torch.tensor([getattr(self.weights, name) for name in TERMS], dtype=torch.float64)
        weights_5 = (weights_5 / counts_5.clamp_min(1)).to(sums_5)
        return sums_5 @ weights_5, sums_5.detach()
