"""Backbones by name: which networks there are, and how one is loaded from its weights file.

I3D and S3D are trained on videos and see motion. MobileNetV2 and ResNet-50 see single frames, of which the mean is taken.
PyTorch is imported where a network is loaded, not with this module: a command that only lists the names need not wait
for it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from vision.errors import ModelError

if TYPE_CHECKING:
    import torch

    from vision.features import Backbone

BACKBONES = ("i3d", "s3d", "mobilenetv2", "resnet50")
PRECISIONS = ("auto", "bf16", "fp32")


def load(name: str, weights: Path, device: str | torch.device = "cpu", precision: str = "auto") -> Backbone:
    """The network `name`, one of BACKBONES, with its publisher's weights file.

    `precision` is `bf16`, `fp32` or `auto`: bf16 on a GPU and on a CPU that multiplies it in hardware.
    Raises ModelError for an unknown name or precision, and for a file that does not hold the network's weights.
    """
    if name not in BACKBONES:
        raise ModelError(f"backbone {name!r} is not known: choose one of {', '.join(BACKBONES)}")
    if precision not in PRECISIONS:
        raise ModelError(f"precision {precision!r} is not known: choose one of {', '.join(PRECISIONS)}")

    from pickle import UnpicklingError

    import torch
    from safetensors import SafetensorError

    from vision.features import Backbone
    from vision.networks import BUILDERS, PerFrame

    device = torch.device(device)
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" or has_fast_bf16() else "fp32"
    weights = Path(weights)
    try:
        network = BUILDERS[name](weights)
    except (OSError, KeyError, RuntimeError, ValueError, SafetensorError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"backbone {name!r}: {weights} does not hold its weights ({reason})") from error
    # Channels-last is the layout in which oneDNN and cuDNN convolve bfloat16 without reordering.
    layout = torch.channels_last if isinstance(network.trunk, PerFrame) else torch.channels_last_3d
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    network.trunk.eval().requires_grad_(False).to(device, dtype, memory_format=layout)
    if (device.type, precision) == ("cpu", "fp32"):
        from vision.winograd import replace_convolutions

        replace_convolutions(network.trunk)
    # The head stays in float32: it works on pooled features, which are float32.
    network.head.eval().requires_grad_(False).to(device)
    recipe = {
        "name": name,
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        # Stored with features and hashed into their address: the words stay as they are.
        "preprocessing": f"short side 256, middle 224, mean {network.mean}, deviation {network.std}",
        "precision": precision,
    }
    return Backbone(name, recipe, device, precision, network)


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware. Elsewhere bfloat16 is slower than float32.

    False also where PyTorch's variable ``ATEN_CPU_CAPABILITY`` is ``avx2`` or ``default``: so a processor without the
    instructions can be tried on one that has them.
    """
    import torch

    if os.environ.get("ATEN_CPU_CAPABILITY") in ("avx2", "default"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
