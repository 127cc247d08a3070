"""Owns how weights move: AdamW as in BERT, and the learning rate over the steps."""

from __future__ import annotations

import torch
from torch import nn

BETAS, EPSILON = (0.9, 0.999), 1e-6


def adamw(model: nn.Module, rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW; weight decay falls on matrices, not on biases and LayerNorm (Devlin et al. 2019, appendix A.2)."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS, eps=EPSILON, fused=True)


def schedule(step: int, steps: int, warmup: float, final: float = 0.0) -> float:
    """The learning rate's factor: linear up to 1 over ``warmup`` of the steps, then linear down to ``final`` after the last."""
    rise = max(1, round(warmup * steps))
    fall = (steps + 1 - step) / (steps + 1 - rise)
    return min(step / rise, final + (1 - final) * fall)
