"""Precision: the number format of matrix products."""

from __future__ import annotations

import torch

from vision.backbones import has_fast_bf16


def fast_bf16(device: torch.device) -> bool:
    """True where bf16 matrix products are fast: a GPU of compute capability 8 or more, a CPU with the instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported() and has_fast_bf16()


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The type that one of ``PRECISIONS`` stands for; ``auto`` is bf16 where it is fast."""
    bf16 = wanted == "bf16" or (wanted == "auto" and fast_bf16(device))
    return torch.bfloat16 if bf16 else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Autocast to ``dtype``, or nothing for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=False)
