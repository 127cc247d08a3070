"""The optimizer and the learning rate: AdamW as in BERT, linear warm-up, linear decay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from multimodal.training.options import EPSILON

BETA1, BETA2 = 0.9, 0.999


def adamw(
    parameters: Iterable[torch.nn.Parameter],
    learning_rate: float,
    weight_decay: float,
    beta2: float = BETA2,
    epsilon: float = EPSILON,
    depths: Mapping[torch.nn.Parameter, int] | None = None,
) -> torch.optim.AdamW:
    """Fused AdamW; weight decay falls on matrices, not on biases and LayerNorm (Devlin et al. 2019, appendix A.2).

    Parameters of each depth (0 where ``depths`` does not name it) have groups of their own, which say it.
    """
    trained, depths = list(parameters), depths or {}
    groups = []
    for depth in sorted({depths.get(p, 0) for p in trained}):
        own = [p for p in trained if depths.get(p, 0) == depth]
        decayed, plain = [p for p in own if p.ndim > 1], [p for p in own if p.ndim <= 1]
        groups.append({"params": decayed, "weight_decay": weight_decay, "depth": depth})
        groups.append({"params": plain, "weight_decay": 0.0, "depth": depth})
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(BETA1, beta2), eps=epsilon, fused=True)


def schedule(
    step: int, steps: int, warmup: float, final: float = 0.0, early: tuple[int, int] | None = None
) -> float:
    """The factor of the learning rate at ``step`` (from 1) of ``steps``: it rises linearly to 1 over ``warmup`` of the steps
    and falls linearly to ``final`` after the last. ``early``: at that step it was decided that not the planned number of
    steps is made but ``steps``, and the factor falls linearly from what it was there."""
    if early is not None:
        turn, planned = early
        fall = (steps + 1 - step) / (steps + 1 - turn)
        return final + (schedule(turn, planned, warmup, final) - final) * fall
    rise = max(1, round(warmup * steps))
    fall = (steps + 1 - step) / (steps + 1 - rise)
    return min(step / rise, final + (1 - final) * fall)
