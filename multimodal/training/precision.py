"""Precision: the number format of matrix products."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch


def fast_bf16(device: torch.device) -> bool:
    """True where bf16 matrix products are fast: a GPU of compute capability 8 or more, a CPU with the instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported() and _has_bf16_instructions()


def _has_bf16_instructions() -> bool:
    # oneDNN says that it supports bf16 where it only emulates it, many times slower than fp32.
    with contextlib.suppress(OSError):
        return any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_bf16", "amx_bf16"))
    return False


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The type that one of ``PRECISIONS`` stands for; ``auto`` is bf16 where it is fast."""
    bf16 = wanted == "bf16" or (wanted == "auto" and fast_bf16(device))
    return torch.bfloat16 if bf16 else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Autocast to ``dtype``, or nothing for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=False)
