"""Networks that turn a clip into a feature, behind one interface: I3D and S3D see motion, the others single frames.

On a CPU clips go through one by one (batches gain nothing there), in bfloat16 and channels-last where the CPU
multiplies bfloat16 in hardware. Shapes: N clips, C channels, T frames, H x W pixels, F features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError

from vision import networks
from vision.networks import EachFrame, Network

BATCH = 16  # clips at a time on a GPU; the last batch is filled up, so every clip meets the same kernels
PRECISIONS = ("auto", "bf16", "fp32")
_BUILDERS: dict[str, Callable[[Path], Network]] = {
    "i3d": networks.i3d,
    "s3d": networks.s3d,
    "mobilenetv2": networks.mobilenetv2,
    "resnet50": networks.resnet50,
}
BACKBONES = tuple(_BUILDERS)


class BackboneError(ValueError):
    """A network that is not known, or weights that do not fit it; the message is one line."""


@dataclass
class Backbone:
    """A network on a device. Called with uint8 [n, 30, 224, 224, 3] RGB it returns float32 [n, `features`].

    The result for a clip does not depend on the clips beside it. `recipe` says all that the numbers depend on.
    """

    name: str
    recipe: dict[str, str]
    device: torch.device
    precision: str
    network: Network

    @property
    def features(self) -> int:
        """The length of a feature."""
        return self.network.head.in_features

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes that the network was trained with: actions for I3D and S3D, else things."""
        return self.network.labels

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features, float32 [n, `features`], of uint8 [n, T, H, W, 3]."""
        return self._run(frames, lambda x_NF: x_NF, self.features)

    def classify(self, frames: np.ndarray) -> np.ndarray:
        """Logits, float32 [n, classes], in the order of `labels`."""
        return self._run(frames, self.network.head, len(self.labels))

    @torch.inference_mode()
    def _run(
        self, frames: np.ndarray, finish: Callable[[torch.Tensor], torch.Tensor], width: int
    ) -> np.ndarray:
        if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise BackboneError(
                f"clips are {frames.dtype} {list(frames.shape)}: they must be uint8 [n, frames, height, width, 3]"
            )
        size = BATCH if self.device.type == "cuda" else 1
        results = np.empty((len(frames), width), np.float32)
        for begin in range(0, len(frames), size):
            batch = frames[begin : begin + size]
            filled = np.concatenate([batch, np.zeros((size - len(batch), *batch.shape[1:]), np.uint8)])
            x_NF = finish(self._features(torch.from_numpy(filled).to(self.device)))
            results[begin : begin + len(batch)] = x_NF[: len(batch)].cpu().numpy()
        return results

    def _features(self, frames_NTHWC: torch.Tensor) -> torch.Tensor:
        kind = torch.bfloat16 if self.precision == "bf16" else torch.float32
        mean, deviation = (
            torch.tensor(value, device=self.device) * 255
            for value in (self.network.mean, self.network.deviation)
        )
        x_NCTHW = ((frames_NTHWC.float() - mean) / deviation).to(kind).permute(0, 4, 1, 2, 3)
        return self.network.pool(self.network.trunk(x_NCTHW).float().mean((3, 4)))


def load(name: str, weights: Path, device: str | torch.device = "cpu", precision: str = "auto") -> Backbone:
    """The network `name`, one of BACKBONES, with the weights file that `multimodal.weights.fetching` gives.

    `precision` is `bf16`, `fp32` or `auto`: bf16 on a GPU and on a CPU that multiplies it in hardware.
    Raises BackboneError for a name, precision or file that does not fit.
    """
    if name not in _BUILDERS:
        raise BackboneError(f"backbone {name!r} is not known: choose one of {', '.join(_BUILDERS)}")
    if precision not in PRECISIONS:
        raise BackboneError(f"precision {precision!r} is not known: choose one of {', '.join(PRECISIONS)}")
    device = torch.device(device)
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" or has_fast_bf16() else "fp32"
    weights = Path(weights)
    try:
        network = _BUILDERS[name](weights)
    except (OSError, KeyError, RuntimeError, ValueError, SafetensorError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BackboneError(f"backbone {name!r}: {weights} does not hold its weights ({reason})") from error
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    layout = torch.channels_last if isinstance(network.trunk, EachFrame) else torch.channels_last_3d
    network.trunk.eval().requires_grad_(False).to(device, kind, memory_format=layout)
    network.head.eval().requires_grad_(False).to(device)
    recipe = {
        "name": name,
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "preprocessing": f"short side 256, middle 224, mean {network.mean}, deviation {network.deviation}",
        "precision": precision,
    }
    return Backbone(name, recipe, device, precision, network)


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
