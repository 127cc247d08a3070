"""Alignment: whether words and video belong together, from the state of ``[CLS]`` (VideoBERT, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from multimodal.examples.packing import Batch
from multimodal.objectives.objective import Gather, Reading, Term, predictions
from multimodal.terms import ALIGNMENT

IGNORED = -100
"""The label of a sequence that nothing is asked of."""


class Alignment(Term):
    """Cross entropy of the sequence-pair head of BERT. Asked at ``[CLS]``; labels are ``ALIGNED`` and ``MISALIGNED``."""

    names = (ALIGNMENT,)

    def forward(self, reading: Reading, batch: Batch, gather: Gather) -> torch.Tensor:
        position_n, label_n = predictions(batch, ALIGNMENT).unbind(1)
        # Two logits for each sequence, asked or not, cost nothing and keep the order of summation.
        label_S = torch.full_like(batch.lengths_S, IGNORED)
        label_S[batch.sequence_T[position_n]] = label_n
        logits_S2 = reading.model.alignment(reading.x_TH, batch).float()
        return F.cross_entropy(logits_S2, label_S, ignore_index=IGNORED, reduction="sum")[None]
