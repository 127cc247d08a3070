"""Adapters: small trained parts in an encoder whose own weights may stay as they are, and which weights a fine-tuning moves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.joint.model import JointBert
from multimodal.store import InputError

FULL, HEAD, ADAPTERS, LORA, TOP = "full", "head", "adapters", "lora", "top"
ADAPTS = (FULL, HEAD, ADAPTERS, LORA, f"{TOP}:N")
POOLER = "bert.pooler."
START_DEVIATION = 1e-3
"""Of a bottleneck's weights at the start (Houlsby et al. 2019, section 3.6): near identity."""


class Bottleneck(nn.Module):
    """Down to ``width`` numbers, GELU, up again, added to its input (Houlsby et al. 2019, section 2.1)."""

    def __init__(self, hidden: int, width: int):
        super().__init__()
        self.down = nn.Linear(hidden, width)
        self.up = nn.Linear(width, hidden)

    def forward(self, x_TH: torch.Tensor) -> torch.Tensor:
        return x_TH + self.up(F.gelu(self.down(x_TH)))


class LowRankLinear(nn.Linear):
    """A dense layer and a trained update of low rank, W + B·A (Hu et al. 2022, LoRA, section 4.1). B begins as zero.

    The scale of the update is alpha / rank with alpha = rank, so 1.
    """

    def __init__(self, dense: nn.Linear, rank: int):
        super().__init__(dense.in_features, dense.out_features)
        self.weight, self.bias = dense.weight, dense.bias
        self.lora_A = nn.Parameter(torch.zeros(rank, dense.in_features))
        self.lora_B = nn.Parameter(torch.zeros(dense.out_features, rank))

    def forward(self, x_TH: torch.Tensor) -> torch.Tensor:
        return super().forward(x_TH) + F.linear(F.linear(x_TH, self.lora_A), self.lora_B)


def adapt(model: JointBert, how: str, width: int, rank: int, *, pooled: bool, seed: int = 0) -> None:
    """Puts the parts that ``how`` needs into the encoder, and lets gradients reach what it moves and nothing else.

    ``how``: one of :data:`ADAPTS`. ``width``: of bottlenecks after attention and feed-forward, before the residual.
    ``rank``: of the updates of queries and values. ``pooled``: the head reads BERT's pooler, which is then trained with it.
    The heads of pretraining get no gradient. Raises :class:`InputError` for a number of layers that the model does not have.
    """
    layers = model.bert["encoder"]["layer"]
    top = check_layers(how, len(layers))
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        if how == ADAPTERS:
            for part in (layer.attention["output"], layer.output):
                part.adapter = Bottleneck(model.options.hidden_size, width).to(model.device)
                for dense in (part.adapter.down, part.adapter.up):
                    drawn = torch.empty(dense.weight.shape).normal_(0.0, START_DEVIATION, generator=generator)
                    dense.weight.data.copy_(drawn.clamp_(-2 * START_DEVIATION, 2 * START_DEVIATION))
                    dense.bias.data.zero_()
        if how == LORA:
            attention = layer.attention["self"]
            for name in ("query", "value"):
                low_rank = LowRankLinear(getattr(attention, name), rank).to(model.device)
                deviation = low_rank.in_features**-0.5
                drawn = torch.empty(low_rank.lora_A.shape).normal_(0.0, deviation, generator=generator)
                low_rank.lora_A.data.copy_(drawn)
                setattr(attention, name, low_rank)
    first_moved = len(layers) - top
    for name, parameter in model.named_parameters():
        if name.startswith(POOLER):
            moved = pooled
        elif how == FULL:
            moved = name.startswith("bert.")
        elif how == ADAPTERS:
            moved = name.startswith("bert.") and (".adapter." in name or ".LayerNorm." in name)
        elif how == LORA:
            moved = ".lora_" in name
        else:
            moved = name.startswith(
                tuple(f"bert.encoder.layer.{n}." for n in range(first_moved, len(layers)))
            )
        parameter.requires_grad_(moved)


def check_layers(how: str, layers: int) -> int:
    """The N of ``top:N``, 0 for another way. Raises :class:`InputError` for a way that is not known, and where N is not from
    1 to the number of layers."""
    kind, _, number = how.partition(":")
    if kind == TOP and number.isdecimal() and 1 <= int(number) <= layers:
        return int(number)
    if how in (FULL, HEAD, ADAPTERS, LORA):
        return 0
    raise InputError(
        f"--adapt {how}: one of {', '.join(ADAPTS)}, with N from 1 to the model's {layers} layers"
    )


def moved_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that gradients reach, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
