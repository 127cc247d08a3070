"""Networks that turn a clip into 1024 numbers: I3D and S3D, trained on Kinetics-400.

Both are run with their batch normalisations folded into the convolutions. On a CPU clips go through one by one
(batches gain nothing there), in bfloat16 and channels-last where the CPU multiplies bfloat16 in hardware.
Shapes: N clips, C channels, T frames, H x W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import nn
from torch.nn import functional

FEATURES = 1024
CLASSES = 400
BATCH = 16  # clips at a time on a GPU; the last batch is filled up, so every clip meets the same kernels
BATCH_NORM_EPSILON = 1e-3
PRECISIONS = ("auto", "bf16", "fp32")

_INCEPTION = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}


class BackboneError(ValueError):
    """A network that is not known, or weights that do not fit it; the message is one line."""


@dataclass
class Backbone:
    """A network on a device. Called with uint8 [n, 30, 224, 224, 3] RGB it returns float32 [n, 1024].

    The result for a clip does not depend on the clips beside it. `recipe` says all that the numbers depend on.
    """

    name: str
    recipe: dict[str, str]
    device: torch.device
    precision: str
    trunk: nn.Module
    head: nn.Linear
    mean: Sequence[float]
    deviation: Sequence[float]
    features: int = FEATURES

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features, float32 [n, 1024], of uint8 [n, T, H, W, 3]."""
        return self._run(frames, lambda x_NF: x_NF, self.features)

    def classify(self, frames: np.ndarray) -> np.ndarray:
        """Kinetics-400 logits, float32 [n, 400], in the order of `labels`."""
        return self._run(frames, self.head, CLASSES)

    @cached_property
    def labels(self) -> list[str]:
        """The 400 action names, in the order that both networks were trained with."""
        from torchvision.models.video import S3D_Weights

        return list(S3D_Weights.KINETICS400_V1.meta["categories"])

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
            torch.tensor(value, device=self.device) * 255 for value in (self.mean, self.deviation)
        )
        x_NCTHW = ((frames_NTHWC.float() - mean) / deviation).to(kind).permute(0, 4, 1, 2, 3)
        x_NCTHW = self.trunk(x_NCTHW.contiguous(memory_format=torch.channels_last_3d)).float()
        pooled_NCT = x_NCTHW.mean((3, 4))
        return ((pooled_NCT[:, :, 1:] + pooled_NCT[:, :, :-1]) / 2).mean(2)


def load(name: str, weights: Path, device: str | torch.device = "cpu", precision: str = "auto") -> Backbone:
    """The network `name`, `i3d` or `s3d`, with the weights file that `multimodal.weights` gives.

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
        trunk, head, mean, deviation = _BUILDERS[name](weights)
    except (OSError, KeyError, RuntimeError, ValueError, SafetensorError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BackboneError(f"backbone {name!r}: {weights} does not hold its weights ({reason})") from error
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    trunk = trunk.eval().requires_grad_(False).to(device, kind, memory_format=torch.channels_last_3d)
    recipe = {
        "name": name,
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "preprocessing": f"short side 256, middle 224, mean {mean}, deviation {deviation}",
        "precision": precision,
    }
    return Backbone(name, recipe, device, precision, trunk, head.eval().to(device), mean, deviation)


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _same(size: int, kernel: int, stride: int) -> int:
    """How many places TensorFlow's "SAME" adds to a side of `size`; the odd one goes to the end."""
    return max((-(-size // stride) - 1) * stride + kernel - size, 0)


class SameConv3d(nn.Conv3d):
    """A strided convolution with "SAME" padding."""

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        pads = []
        for size, kernel, stride in zip(x_NCTHW.shape[2:], self.kernel_size, self.stride, strict=True):
            total = _same(size, kernel, stride)
            pads = [total // 2, total - total // 2, *pads]
        return super().forward(functional.pad(x_NCTHW, pads))


class SameMaxPool3d(nn.MaxPool3d):
    """Max pooling with "SAME" padding: what is odd at the end is what `ceil_mode` adds."""

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        sides = zip(x_NCTHW.shape[2:], self.kernel_size, self.stride, strict=True)
        before = [_same(*side) // 2 for side in sides]
        return functional.max_pool3d(x_NCTHW, self.kernel_size, self.stride, before, ceil_mode=True)


def _convolution(channels_in: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    if stride == 1:
        return nn.Sequential(
            nn.Conv3d(channels_in, channels, kernel, padding=kernel // 2), nn.ReLU(inplace=True)
        )
    return nn.Sequential(SameConv3d(channels_in, channels, kernel, stride), nn.ReLU(inplace=True))


class Mixed(nn.Module):
    """An Inception block: four branches side by side."""

    def __init__(self, channels_in: int, channels: Sequence[int]) -> None:
        super().__init__()
        a, b_in, b, c_in, c, d = channels
        self.Branch_0 = nn.ModuleDict({"Conv3d_0a_1x1": _convolution(channels_in, a, 1)})
        self.Branch_1 = nn.ModuleDict(
            {"Conv3d_0a_1x1": _convolution(channels_in, b_in, 1), "Conv3d_0b_3x3": _convolution(b_in, b, 3)}
        )
        self.Branch_2 = nn.ModuleDict(
            {"Conv3d_0a_1x1": _convolution(channels_in, c_in, 1), "Conv3d_0b_3x3": _convolution(c_in, c, 3)}
        )
        self.pool = nn.MaxPool3d(3, 1, padding=1)
        self.Branch_3 = nn.ModuleDict({"Conv3d_0b_1x1": _convolution(channels_in, d, 1)})

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        branches = [x_NCTHW, x_NCTHW, x_NCTHW, self.pool(x_NCTHW)]
        for index, steps in enumerate((self.Branch_0, self.Branch_1, self.Branch_2, self.Branch_3)):
            for step in steps.values():
                branches[index] = step(branches[index])
        return torch.cat(branches, 1)


class I3D(nn.Sequential):
    """Inflated 3D ConvNet up to its last block: [N, 3, 30, 224, 224] in [-1, 1] -> [N, 1024, 4, 7, 7]."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("Conv3d_1a_7x7", _convolution(3, 64, 7, 2))
        self.add_module("MaxPool3d_2a_3x3", SameMaxPool3d((1, 3, 3), (1, 2, 2)))
        self.add_module("Conv3d_2b_1x1", _convolution(64, 64, 1))
        self.add_module("Conv3d_2c_3x3", _convolution(64, 192, 3))
        self.add_module("MaxPool3d_3a_3x3", SameMaxPool3d((1, 3, 3), (1, 2, 2)))
        for name, (channels_in, channels) in _INCEPTION.items():
            if name == "Mixed_4b":
                self.add_module("MaxPool3d_4a_3x3", SameMaxPool3d((3, 3, 3), (2, 2, 2)))
            if name == "Mixed_5b":
                self.add_module("MaxPool3d_5a_2x2", SameMaxPool3d((2, 2, 2), (2, 2, 2)))
            self.add_module(name, Mixed(channels_in, channels))


def _i3d(weights: Path) -> tuple[nn.Module, nn.Linear, Sequence[float], Sequence[float]]:
    """From arrays in flax's layout: kernels [T, H, W, in, out], batch normalisation without scale."""
    arrays = load_file(weights)
    trunk = I3D()
    for name, module in trunk.named_modules():
        if isinstance(module, nn.Conv3d):
            place = "/".join(part for part in name.split(".") if part != "0")
            norm = f"{place}/BatchNorm_0"
            mean, variance = (arrays[f"batch_stats/{norm}/{what}"].reshape(-1) for what in ("mean", "var"))
            scale = 1 / np.sqrt(variance + BATCH_NORM_EPSILON)
            _fill(module.weight, (arrays[f"params/{place}/Conv_0/kernel"] * scale).transpose(4, 3, 0, 1, 2))
            _fill(module.bias, arrays[f"params/{norm}/bias"] - mean * scale)
    head = nn.Linear(FEATURES, CLASSES)
    _fill(head.weight, arrays["params/Logits/Conv3d_0c_1x1/Conv_0/kernel"].reshape(FEATURES, CLASSES).T)
    _fill(head.bias, arrays["params/Logits/Conv3d_0c_1x1/Conv_0/bias"])
    return trunk, head, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def _fill(parameter: nn.Parameter, array: np.ndarray) -> None:
    if parameter.shape != array.shape:
        raise ValueError(f"shape {list(array.shape)} stands where {list(parameter.shape)} is needed")
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def _s3d(weights: Path) -> tuple[nn.Module, nn.Linear, Sequence[float], Sequence[float]]:
    """torchvision's S3D from its state dict (read as tensors only)."""
    from torchvision.models.video import s3d

    whole = s3d(weights=None)
    whole.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    _fold(whole.eval().features)
    head = nn.Linear(FEATURES, CLASSES)
    _fill(head.weight, whole.classifier[1].weight.detach().numpy().reshape(CLASSES, FEATURES))
    _fill(head.bias, whole.classifier[1].bias.detach().numpy())
    return whole.features, head, (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


def _fold(module: nn.Module) -> None:
    """Every batch normalisation that follows a convolution becomes part of it."""
    for child in module.children():
        _fold(child)
    if isinstance(module, nn.Sequential):
        for index in range(len(module) - 1):
            if isinstance(module[index], nn.Conv3d) and isinstance(module[index + 1], nn.BatchNorm3d):
                module[index] = nn.utils.fusion.fuse_conv_bn_eval(module[index], module[index + 1])
                module[index + 1] = nn.Identity()


_BUILDERS = {"i3d": _i3d, "s3d": _s3d}
