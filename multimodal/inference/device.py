"""Where a model can run on this machine."""

from __future__ import annotations

import torch

from multimodal.store import InputError

DEVICES = ("cpu", "cuda")


def check_device(device: str) -> str:
    """The device, ``cpu`` or ``cuda``. Raises :class:`InputError` for another name, and where no GPU is found."""
    if device not in DEVICES:
        raise InputError(f"--device {device}: one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--device cuda: PyTorch finds no GPU; leave --device out, or install a driver that PyTorch finds"
        )
    return device


def chosen_device(device: str | None) -> str:
    """As :func:`check_device`; for ``auto`` and ``None`` a GPU where there is one."""
    if device in (None, "auto"):
        return "cuda" if torch.cuda.is_available() else "cpu"
    return check_device(device)
