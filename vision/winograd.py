"""Convolutions of fewer products, for processors that multiply no bfloat16: float32, a clip at a time.

Winograd's minimal filtering (Lavin and Gray 2016): tiles of the input are transformed, multiplied by the transformed
filters, and transformed back. A 3 x 3 x 3 convolution takes an eighth of the products, I3D's first one of 7 x 7 x 7 a
quarter. The result differs from the direct convolution by rounding alone, about 1e-5 of the largest value.
Shapes: N clips, C channels, O channels of the output, T frames, H x W positions, F products of a tile, R tiles.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vision import winograd_kernels as kernels
from vision.networks import SameConv3d

BLOCK = 2
"""Transformed input and output that are held at a time, as a multiple of the transformed filters: so that reading the
filters anew for each block is the smaller part of the traffic."""
LEAST_ROWS = 64
"""Rows of a block: with fewer, the matrix products are slow."""
LEAST_TILES = 16
"""With fewer tiles, reading the transformed filters takes longer than the direct convolution."""


class WinogradConv3d(nn.Module):
    """A 3 x 3 x 3 convolution of stride 1 and padding 1, followed by ReLU."""

    def __init__(self, direct: nn.Conv3d) -> None:
        super().__init__()
        self.direct = direct

    @cached_property
    def filters(self) -> torch.Tensor:
        """[216, C, O], made where they are first needed: eight times the memory of the weights."""
        G = kernels.FILTER_3
        return _transformed(np.kron(np.kron(G, G), G), self.direct.weight.permute(2, 3, 4, 1, 0))

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        tiles = np.prod([-(-side // kernels.TILE) for side in x_NCTHW.shape[2:]])
        if tiles < LEAST_TILES:
            return self.direct(x_NCTHW).relu_()
        y_NTHWC = torch.empty(len(x_NCTHW), *x_NCTHW.shape[2:], self.direct.out_channels)
        bias, low = self.direct.bias.numpy(), np.float32(0)
        for x, y in zip(_channels_last(x_NCTHW).numpy(), y_NTHWC.numpy(), strict=True):
            for first, V, M in _blocks(self.filters, tiles):
                kernels.input_6(x, V.rows, first)
                torch.bmm(V.by_product, self.filters, out=M.by_product)
                kernels.output_6(M.rows, bias, low, y, first)
        return y_NTHWC.permute(0, 4, 1, 2, 3)


class WinogradStem(nn.Module):
    """A 7 x 7 x 7 convolution of stride 2 with "SAME" padding, followed by ReLU.

    Blocks of 2 x 2 pixels become channels, so the stride becomes 1 and 7 x 7 taps become 4 x 4. Of the frames, seven in a
    row are channels too.
    """

    def __init__(self, direct: SameConv3d) -> None:
        super().__init__()
        self.direct = direct

    @cached_property
    def filters(self) -> torch.Tensor:
        """[49, 7 * 4 * C, O]."""
        weight = functional.pad(self.direct.weight, (0, 1, 0, 1)).unflatten(4, (4, 2)).unflatten(3, (4, 2))
        # [O, C, 7, 4, 2, 4, 2] -> [4, 4, 7, 2, 2, C, O]; the last but one are the channels of a row of frames.
        weight = weight.permute(3, 5, 2, 4, 6, 1, 0)
        return _transformed(np.kron(kernels.FILTER_4, kernels.FILTER_4), weight.flatten(2, 5))

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        # The total padding is 5 where a side is even and 6 where it is odd, and half of it lies before: 2 or 3. Of an odd
        # side one row is padded here, so that a block of 2 is padding as a whole.
        odd_h, odd_w = (side % 2 for side in x_NCTHW.shape[3:])
        x_NCTHW = functional.pad(x_NCTHW, (odd_w, 0, odd_h, 0))
        N, C, T, H, W = x_NCTHW.shape
        blocks = _channels_last(x_NCTHW).reshape(-1, 2, W // 2, 2 * C).numpy().swapaxes(1, 2)
        blocks = np.ascontiguousarray(blocks).reshape(N, T, H // 2, W // 2, 4 * C)
        frames = -(-T // 2)
        y_NTHWC = torch.empty(N, frames, H // 2, W // 2, self.direct.out_channels)
        tiles = -(-(H // 2) // kernels.TILE) * -(-(W // 2) // kernels.TILE)
        bias, low = self.direct.bias.numpy(), np.float32(0)
        for x, y in zip(blocks, y_NTHWC.numpy(), strict=True):
            for first, V, M in _blocks(self.filters, tiles, frames):
                kernels.input_7(x, V.rows, first, frames, 2, 2 + T % 2)
                torch.bmm(V.by_product, self.filters, out=M.by_product)
                kernels.output_7(M.rows, bias, low, y, first)
        return y_NTHWC.permute(0, 4, 1, 2, 3)


class Pointwise(nn.Module):
    """A 1 x 1 x 1 convolution followed by ReLU, as one matrix product."""

    def __init__(self, direct: nn.Conv3d) -> None:
        super().__init__()
        self.direct = direct

    def forward(self, x_NCTHW: torch.Tensor) -> torch.Tensor:
        x_NTHWC = _channels_last(x_NCTHW)
        y_NTHWC = functional.linear(x_NTHWC, self.direct.weight.flatten(1), self.direct.bias).relu_()
        return y_NTHWC.permute(0, 4, 1, 2, 3)


def _channels_last(x_NCTHW: torch.Tensor) -> torch.Tensor:
    """[N, T, H, W, C] in memory."""
    return x_NCTHW.permute(0, 2, 3, 4, 1).contiguous()


def _transformed(matrix: np.ndarray, weight: torch.Tensor) -> torch.Tensor:
    """[F, C, O] of the filters [.., C, O], whose taps are the columns of the matrix."""
    flat = weight.reshape(matrix.shape[1], -1).double()
    return (torch.from_numpy(matrix) @ flat).float().unflatten(1, weight.shape[-2:])


class _Rows:
    """A block of transformed tiles. `rows`: [R, > F * C], `by_product`: [F, R, C] of the same memory.

    A row is longer than its values, since the same place of rows a power of two apart would lie in one set of a cache.
    """

    SPARE = 16

    def __init__(self, memory: np.ndarray, products: int) -> None:
        self.rows = memory
        values = torch.from_numpy(memory)[:, : -self.SPARE]
        self.by_product = values.unflatten(1, (products, -1)).transpose(0, 1)


_of_thread = threading.local()


def _memory(size: int) -> np.ndarray:
    """float32 [size], kept for the next call of this thread: fresh memory costs more than what is done in it."""
    if len(getattr(_of_thread, "memory", ())) < size:
        _of_thread.memory = np.empty(size, np.float32)
    return _of_thread.memory[:size]


def _blocks(
    filters_FCO: torch.Tensor, tiles: int, rows_per_tile: int = 1
) -> Iterator[tuple[int, _Rows, _Rows]]:
    """The first tile of each block, with memory for its transformed input and output."""
    products, channels, outputs = filters_FCO.shape
    rows = max(LEAST_ROWS, BLOCK * channels * outputs // (channels + outputs))
    count = -(-tiles * rows_per_tile // rows)  # blocks, and tiles of a block: about as many in each
    size = -(-tiles // count)
    widths = [products * width + _Rows.SPARE for width in (channels, outputs)]
    memory = _memory(size * rows_per_tile * sum(widths))
    for first in range(0, tiles, size):
        here = min(size, tiles - first) * rows_per_tile
        inputs, products_of_them = np.split(memory[: here * sum(widths)], [here * widths[0]])
        yield (
            first,
            _Rows(inputs.reshape(here, -1), products),
            _Rows(products_of_them.reshape(here, -1), products),
        )


def replace_convolutions(module: nn.Module) -> None:
    """Replaces each pair of a convolution and ReLU by one of this file, where there is one for its kernel and stride."""
    kinds = {(1, 1): Pointwise, (3, 1): WinogradConv3d, (7, 2): WinogradStem}
    for name, child in module.named_children():
        if [type(part) for part in child.children()] in ([nn.Conv3d, nn.ReLU], [SameConv3d, nn.ReLU]):
            kernel, stride = set(child[0].kernel_size), set(child[0].stride)
            setattr(module, name, kinds[*kernel, *stride](child[0]))
        else:
            replace_convolutions(child)
