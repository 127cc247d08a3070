"""Pair tasks: what two parts of a sequence are to each other, from the state of ``[CLS]``.

Alignment of words and video (VideoBERT, section 3.3), the segment that follows (BERT, section 3.1), the order of two
segments (ALBERT, section 3.1). All three are read by the sequence-pair head of BERT, so a system has one of them. Next,
previous or other segment (StructBERT, section 2.3) has three labels and a head of its own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint.options import ModelOptions
from multimodal.objectives.objective import Gather, Reading, Term, predictions
from multimodal.terms import NEIGHBOUR

IGNORED = -100
"""The label of a sequence that nothing is asked of."""


class PairTask(Term):
    """Cross entropy of the sequence-pair head of BERT. Asked at ``[CLS]``; label 0 means that the parts belong together as
    they stand, 1 that they do not."""

    heads = ("bert.pooler", "cls.seq_relationship")

    def __init__(self, name: str):
        super().__init__()
        self.names = (name,)

    def forward(self, reading: Reading, batch: Batch, gather: Gather) -> torch.Tensor:
        position_n, label_n = predictions(batch, self.names[0]).unbind(1)
        # Two logits for each sequence, asked or not, cost nothing and keep the order of summation.
        label_S = torch.full_like(batch.lengths_S, IGNORED)
        label_S[batch.sequence_T[position_n]] = label_n
        logits_S2 = reading.model.alignment(reading.x_TH, batch).float()
        return F.cross_entropy(logits_S2, label_S, ignore_index=IGNORED, reduction="sum")[None]


class Neighbour(Term):
    """Cross entropy of next, previous and other segment, from a head that it owns on the pooled state of ``[CLS]``."""

    names = (NEIGHBOUR,)
    heads = ("bert.pooler",)

    def __init__(self, options: ModelOptions):
        super().__init__()
        self.classifier = nn.Linear(options.hidden_size, 3)

    def forward(self, reading: Reading, batch: Batch, gather: Gather) -> torch.Tensor:
        position_n, label_n = predictions(batch, NEIGHBOUR).unbind(1)
        pooled_nH = torch.tanh(reading.model.bert["pooler"]["dense"](reading.x_TH[position_n]))
        return F.cross_entropy(self.classifier(pooled_nH).float(), label_n, reduction="sum")[None]
