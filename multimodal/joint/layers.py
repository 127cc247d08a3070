"""Layers: the transformer layer of BERT (Devlin et al. 2019), under the parameter names of `transformers`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.joint.attention import LengthBuckets, SelfAttention
from multimodal.joint.dropout import Dropout
from multimodal.joint.options import ModelOptions


class AddAndNorm(nn.Module):
    """Dense, dropout, residual, LayerNorm: the second half of both parts of a BERT layer.

    ``adapter`` stands before the residual; fine-tuning may put one there (:mod:`multimodal.joint.adapters`).
    """

    def __init__(self, width: int, o: ModelOptions):
        super().__init__()
        self.dense = nn.Linear(width, o.hidden_size)
        self.LayerNorm = nn.LayerNorm(o.hidden_size, eps=o.layer_norm_eps)
        self.dropout = Dropout(o.hidden_dropout_prob)
        self.adapter: nn.Module = nn.Identity()

    def forward(self, y: torch.Tensor, residual_TH: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.adapter(self.dropout(self.dense(y))) + residual_TH)


class Layer(nn.Module):
    """Self-attention, then the feed-forward part: [T, H] to [T, H]."""

    def __init__(self, o: ModelOptions):
        super().__init__()
        attention = SelfAttention(o.hidden_size, o.num_attention_heads, o.attention_probs_dropout_prob)
        self.attention = nn.ModuleDict({"self": attention, "output": AddAndNorm(o.hidden_size, o)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(o.hidden_size, o.intermediate_size)})
        self.output = AddAndNorm(o.intermediate_size, o)

    def forward(self, x_TH: torch.Tensor, buckets: LengthBuckets) -> torch.Tensor:
        x_TH = self.attention["output"](self.attention["self"](x_TH, buckets), x_TH)
        return self.output(F.gelu(self.intermediate["dense"](x_TH)), x_TH)


SHARED: dict[str, tuple[str, ...]] = {
    "none": (),
    "attention": ("attention",),
    "feed-forward": ("intermediate", "output"),
    "all": ("attention", "intermediate", "output"),
}
"""The parts of a layer that all layers share, by ``share_layers`` (ALBERT, Lan et al. 2020, section 3.1)."""


def shared_layers(o: ModelOptions) -> nn.ModuleList:
    """The layers of an encoder; of shared parts each layer holds the first one's own modules."""
    layers = nn.ModuleList(Layer(o) for _ in range(o.num_hidden_layers))
    for layer in layers[1:]:
        for part in SHARED[o.share_layers]:
            setattr(layer, part, getattr(layers[0], part))
    return layers
