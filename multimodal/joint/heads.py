"""Heads: the cloze head of BERT's pre-training. Its output rows are the embeddings' (tied)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.joint.options import ModelOptions


class Transform(nn.Module):
    """Dense, GELU, LayerNorm: the state that is compared with the rows of the vocabulary."""

    def __init__(self, o: ModelOptions):
        super().__init__()
        self.dense = nn.Linear(o.hidden_size, o.hidden_size)
        self.LayerNorm = nn.LayerNorm(o.hidden_size, eps=o.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(F.gelu(self.dense(x)))


class ClozeHead(nn.Module):
    """The transform and a bias for each entry of the vocabulary."""

    def __init__(self, o: ModelOptions):
        super().__init__()
        self.transform = Transform(o)
        self.bias = nn.Parameter(torch.zeros(o.vocab_size))
