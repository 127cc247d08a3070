"""The networks behind the backbones: I3D and S3D, trained on Kinetics-400; MobileNetV2 and ResNet-50, on ImageNet.

Each is made from its publisher's weights file, with its batch normalisations folded into the convolutions.
Shapes: N clips, C channels, T frames, H x W pixels, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn
from torch.nn import functional

FEATURES = 1024  # of I3D and S3D
CLASSES = 400
BATCH_NORM_EPSILON = 1e-3

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


@dataclass(frozen=True)
class Network:
    """`trunk`: [N, 3, T, H, W], scaled by `mean` and `deviation` of [0, 1] pixels -> [N, F, t, h, w].

    `pool` takes the means over h and w, [N, F, t], to the features [N, F]; `head` takes these to the classes, which
    `labels` names.
    """

    trunk: nn.Module
    pool: Callable[[torch.Tensor], torch.Tensor]
    head: nn.Linear
    mean: Sequence[float]
    deviation: Sequence[float]
    labels: tuple[str, ...]


def _over_time(x_NFT: torch.Tensor) -> torch.Tensor:
    return x_NFT.mean(2)


def _over_pairs(x_NFT: torch.Tensor) -> torch.Tensor:
    """As I3D and S3D were trained: a mean over two places, moved on by one, then the mean of these."""
    return ((x_NFT[:, :, 1:] + x_NFT[:, :, :-1]) / 2).mean(2)


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


class MaxOf3(nn.Module):
    """Max pooling over 3 x 3 x 3 in steps of 1 with padding, side by side of shifted copies: twice the library's speed."""

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        for side in (2, 3, 4):
            size = x_NCTHW.shape[side] - 1
            best = x_NCTHW.clone()
            for to, other in ((0, 1), (1, 0)):
                part = best.narrow(side, to, size)
                torch.maximum(part, x_NCTHW.narrow(side, other, size), out=part)
            x_NCTHW = best
        return x_NCTHW


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
        self.pool = MaxOf3()
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


def i3d(weights: Path) -> Network:
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
    return Network(trunk, _over_pairs, head, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), _kinetics_labels())


def _kinetics_labels() -> tuple[str, ...]:
    """The 400 action names, in the order that both networks were trained with."""
    from torchvision.models.video import S3D_Weights

    return tuple(S3D_Weights.KINETICS400_V1.meta["categories"])


def _fill(parameter: nn.Parameter, array: np.ndarray) -> None:
    if parameter.shape != array.shape:
        raise ValueError(f"shape {list(array.shape)} stands where {list(parameter.shape)} is needed")
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def s3d(weights: Path) -> Network:
    """torchvision's S3D from its state dict."""
    from torchvision.models.video import s3d

    whole = _with_state(s3d(weights=None), weights)
    for block in whole.features.modules():
        for name, part in block.named_children():
            if isinstance(part, nn.MaxPool3d) and (part.kernel_size, part.stride, part.padding) == (3, 1, 1):
                setattr(block, name, MaxOf3())
    mean, deviation = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    head = _linear(whole.classifier[1])
    return Network(whole.features, _over_pairs, head, mean, deviation, _kinetics_labels())


class EachFrame(nn.Module):
    """A network for images, run on every frame of a clip."""

    def __init__(self, images: nn.Module) -> None:
        super().__init__()
        self.images = images

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        size = x_NCTHW.shape[0], x_NCTHW.shape[2]
        x_BCHW = self.images(x_NCTHW.transpose(1, 2).flatten(0, 1))
        return x_BCHW.unflatten(0, size).transpose(1, 2)


_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def mobilenetv2(weights: Path) -> Network:
    """torchvision's MobileNetV2 from its state dict; a feature is the mean of its frames' 1280 numbers."""
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

    whole = _with_state(mobilenet_v2(weights=None), weights)
    labels = tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])
    return Network(EachFrame(whole.features), _over_time, _linear(whole.classifier[1]), *_IMAGENET, labels)


def resnet50(weights: Path) -> Network:
    """torchvision's ResNet-50 from its state dict; a feature is the mean of its frames' 2048 numbers."""
    from torchvision.models import ResNet50_Weights, resnet50

    whole = _with_state(resnet50(weights=None), weights)
    trunk = nn.Sequential(*list(whole.children())[:-2])
    labels = tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
    return Network(EachFrame(trunk), _over_time, _linear(whole.fc), *_IMAGENET, labels)


def _with_state(network: nn.Module, weights: Path) -> nn.Module:
    """The network with a state dict read as tensors only, folded, ready to run."""
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    _fold(network.eval())
    return network


def _linear(layer: nn.Linear | nn.Conv3d) -> nn.Linear:
    """The last layer, which may be written as a convolution of one place."""
    head = nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
    _fill(head.weight, layer.weight.detach().flatten(1).numpy())
    _fill(head.bias, layer.bias.detach().numpy())
    return head


def _fold(module: nn.Module) -> None:
    """Every batch normalisation that follows a convolution becomes part of it."""
    for child in module.children():
        _fold(child)
    names = list(module._modules)
    for name, after in zip(names, names[1:], strict=False):
        convolution, norm = module._modules[name], module._modules[after]
        if isinstance(convolution, nn.Conv2d | nn.Conv3d) and isinstance(
            norm, nn.BatchNorm2d | nn.BatchNorm3d
        ):
            module._modules[name] = nn.utils.fusion.fuse_conv_bn_eval(convolution, norm)
            module._modules[after] = nn.Identity()
