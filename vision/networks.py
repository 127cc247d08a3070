"""Networks of the backbones: I3D and S3D, trained on Kinetics-400; MobileNetV2 and ResNet-50, trained on ImageNet.

Each is built from its publisher's weights file. Its batch normalisations are fused into the convolutions before them.
I3D: Carreira and Zisserman 2017, "Quo Vadis, Action Recognition?". S3D: Xie et al. 2018, "Rethinking Spatiotemporal
Feature Learning".
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

FEATURES = 1024
CLASSES = 400
"""Sizes of I3D's and S3D's features and of Kinetics-400."""
BATCH_NORM_EPSILON = 1e-3
"""TensorFlow's default, with which I3D was trained; PyTorch's is 1e-5."""

# Name of an Inception block -> input channels, and the channels of its branches in the order that `Mixed` takes them.
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
    """A network in three parts, with its preprocessing and its class names.

    `trunk`: [N, 3, T, H, W], standardised by `mean` and `std` of pixels in [0, 1] -> [N, F, t, h, w].
    `pool`: the means over h and w, [N, F, t] -> features [N, F].
    `head`: features -> logits [N, classes], in the order of `labels`.
    """

    trunk: nn.Module
    pool: Callable[[torch.Tensor], torch.Tensor]
    head: nn.Linear
    mean: Sequence[float]
    std: Sequence[float]
    labels: tuple[str, ...]


def _mean_over_time(x_NFT: torch.Tensor) -> torch.Tensor:
    return x_NFT.mean(2)


def _mean_of_pairs(x_NFT: torch.Tensor) -> torch.Tensor:
    """I3D's and S3D's pooling over time: average pooling with window 2 and stride 1, then the mean."""
    return ((x_NFT[:, :, 1:] + x_NFT[:, :, :-1]) / 2).mean(2)


def _same_padding(size: int, kernel: int, stride: int) -> int:
    """The padding that TensorFlow's "SAME" adds to a side of `size` in all. An odd one goes to the end."""
    return max((-(-size // stride) - 1) * stride + kernel - size, 0)


class SameConv3d(nn.Conv3d):
    """A strided convolution with "SAME" padding."""

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        pads = []  # the last side comes first, as `functional.pad` counts
        for size, kernel, stride in zip(x_NCTHW.shape[2:], self.kernel_size, self.stride, strict=True):
            total = _same_padding(size, kernel, stride)
            pads = [total // 2, total - total // 2, *pads]
        return super().forward(functional.pad(x_NCTHW, pads))


class SameMaxPool3d(nn.MaxPool3d):
    """Max pooling with "SAME" padding. An odd padding lies at the end, which is where `ceil_mode` extends the input."""

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        sides = zip(x_NCTHW.shape[2:], self.kernel_size, self.stride, strict=True)
        before = [_same_padding(*side) // 2 for side in sides]
        return functional.max_pool3d(x_NCTHW, self.kernel_size, self.stride, before, ceil_mode=True)


class MaxPool3x3x3(nn.Module):
    """Max pooling with kernel 3, stride 1 and padding 1, twice as fast as `nn.MaxPool3d` on a CPU.

    The maximum over a cube is separable: the maximum over three neighbours along each side in turn, each the maximum of
    the input and its two shifted copies.
    """

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        for side in (2, 3, 4):
            size = x_NCTHW.shape[side] - 1
            best = x_NCTHW.clone()
            for begin, neighbour in ((0, 1), (1, 0)):
                part = best.narrow(side, begin, size)
                torch.maximum(part, x_NCTHW.narrow(side, neighbour, size), out=part)
            x_NCTHW = best
        return x_NCTHW


def _convolution(channels_in: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    if stride == 1:
        return nn.Sequential(
            nn.Conv3d(channels_in, channels, kernel, padding=kernel // 2), nn.ReLU(inplace=True)
        )
    return nn.Sequential(SameConv3d(channels_in, channels, kernel, stride), nn.ReLU(inplace=True))


class Mixed(nn.Module):
    """An Inception block: four branches whose channels are concatenated. Names are those of the published weights."""

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
        self.pool = MaxPool3x3x3()
        self.Branch_3 = nn.ModuleDict({"Conv3d_0b_1x1": _convolution(channels_in, d, 1)})

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        branches = [x_NCTHW, x_NCTHW, x_NCTHW, self.pool(x_NCTHW)]
        for index, steps in enumerate((self.Branch_0, self.Branch_1, self.Branch_2, self.Branch_3)):
            for step in steps.values():
                branches[index] = step(branches[index])
        return torch.cat(branches, 1)


class I3D(nn.Sequential):
    """Inflated 3D ConvNet up to its last block: [N, 3, 30, 224, 224] in [-1, 1] -> [N, 1024, 4, 7, 7].

    Submodules carry the names of the published weights.
    """

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
    """I3D from arrays in flax's layout: kernels [T, H, W, in, out], batch normalisation without scale.

    Raises KeyError for an array that is absent and ValueError for one of another shape.
    """
    arrays = load_file(weights)
    trunk = I3D()
    for name, module in trunk.named_modules():
        if isinstance(module, nn.Conv3d):
            # "Mixed_3b.Branch_0.Conv3d_0a_1x1.0" is "Mixed_3b/Branch_0/Conv3d_0a_1x1" in the file.
            path = "/".join(part for part in name.split(".") if part != "0")
            norm = f"{path}/BatchNorm_0"
            mean = arrays[f"batch_stats/{norm}/mean"].reshape(-1)
            variance = arrays[f"batch_stats/{norm}/var"].reshape(-1)
            scale = 1 / np.sqrt(variance + BATCH_NORM_EPSILON)
            _copy(module.weight, (arrays[f"params/{path}/Conv_0/kernel"] * scale).transpose(4, 3, 0, 1, 2))
            _copy(module.bias, arrays[f"params/{norm}/bias"] - mean * scale)
    head = nn.Linear(FEATURES, CLASSES)
    _copy(head.weight, arrays["params/Logits/Conv3d_0c_1x1/Conv_0/kernel"].reshape(FEATURES, CLASSES).T)
    _copy(head.bias, arrays["params/Logits/Conv3d_0c_1x1/Conv_0/bias"])
    return Network(trunk, _mean_of_pairs, head, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), _kinetics_labels())


def _kinetics_labels() -> tuple[str, ...]:
    """Kinetics-400's class names, in the order that I3D and S3D were trained with."""
    from torchvision.models.video import S3D_Weights

    return tuple(S3D_Weights.KINETICS400_V1.meta["categories"])


def _copy(parameter: nn.Parameter, array: np.ndarray) -> None:
    """Copies the array into the parameter. Raises ValueError where their shapes differ."""
    if parameter.shape != array.shape:
        raise ValueError(f"an array has shape {list(array.shape)}: {list(parameter.shape)} is needed")
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def s3d(weights: Path) -> Network:
    """torchvision's S3D from its state dict."""
    from torchvision.models.video import s3d

    network = _load_state(s3d(weights=None), weights)
    for block in network.features.modules():
        for name, part in block.named_children():
            if isinstance(part, nn.MaxPool3d) and (part.kernel_size, part.stride, part.padding) == (3, 1, 1):
                setattr(block, name, MaxPool3x3x3())
    mean, std = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    head = _as_linear(network.classifier[1])
    return Network(network.features, _mean_of_pairs, head, mean, std, _kinetics_labels())


class PerFrame(nn.Module):
    """An image network run on every frame: [N, 3, T, H, W] -> [N, F, T, h, w]."""

    def __init__(self, images: nn.Module) -> None:
        super().__init__()
        self.images = images

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        size = x_NCTHW.shape[0], x_NCTHW.shape[2]
        x_BCHW = self.images(x_NCTHW.transpose(1, 2).flatten(0, 1))
        return x_BCHW.unflatten(0, size).transpose(1, 2)


# Mean and standard deviation of ImageNet's pixels, by channel.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def mobilenetv2(weights: Path) -> Network:
    """torchvision's MobileNetV2 from its state dict; a feature is the mean over frames of 1280 values."""
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

    network = _load_state(mobilenet_v2(weights=None), weights)
    labels = tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])
    return Network(
        PerFrame(network.features), _mean_over_time, _as_linear(network.classifier[1]), *_IMAGENET, labels
    )


def resnet50(weights: Path) -> Network:
    """torchvision's ResNet-50 from its state dict; a feature is the mean over frames of 2048 values."""
    from torchvision.models import ResNet50_Weights, resnet50

    network = _load_state(resnet50(weights=None), weights)
    trunk = nn.Sequential(*list(network.children())[:-2])
    labels = tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
    return Network(PerFrame(trunk), _mean_over_time, _as_linear(network.fc), *_IMAGENET, labels)


def _load_state(network: nn.Module, weights: Path) -> nn.Module:
    """The network with the state dict of the file, its batch normalisations fused. Only tensors are unpickled."""
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    _fuse_batch_norms(network.eval())
    return network


def _as_linear(layer: nn.Linear | nn.Conv3d) -> nn.Linear:
    """The last layer as a linear one; torchvision's S3D has a 1 x 1 x 1 convolution there."""
    head = nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
    _copy(head.weight, layer.weight.detach().flatten(1).numpy())
    _copy(head.bias, layer.bias.detach().numpy())
    return head


def _fuse_batch_norms(module: nn.Module) -> None:
    """Replaces each convolution and the batch normalisation after it by one convolution of the same function."""
    for child in module.children():
        _fuse_batch_norms(child)
    names = list(module._modules)
    for name, after in zip(names, names[1:], strict=False):
        convolution, norm = module._modules[name], module._modules[after]
        if isinstance(convolution, nn.Conv2d | nn.Conv3d) and isinstance(
            norm, nn.BatchNorm2d | nn.BatchNorm3d
        ):
            module._modules[name] = nn.utils.fusion.fuse_conv_bn_eval(convolution, norm)
            module._modules[after] = nn.Identity()


BUILDERS: dict[str, Callable[[Path], Network]] = {
    "i3d": i3d,
    "s3d": s3d,
    "mobilenetv2": mobilenetv2,
    "resnet50": resnet50,
}
"""`vision.backbones.BACKBONES` -> the function that makes the network from its weights file."""
