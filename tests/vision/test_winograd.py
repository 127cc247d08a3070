"""The convolutions of fewer products are PyTorch's, on sides that tiles fit and on sides that they do not."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from vision import winograd, winograd_kernels
from vision.networks import I3D, SameConv3d
from vision.winograd import Pointwise, WinogradConv3d, WinogradStem, replace_convolutions

TOLERANCE = 3e-5
"""Of the largest value: float32 sums of some thousand products in another order differ by about 1e-6."""


def difference(ours, direct, x_NCTHW):
    """The largest difference from the direct convolution in float64, as a share of its largest value."""
    with torch.inference_mode():
        exact = direct.double()(x_NCTHW.double()).relu()
        direct.float()
        got = ours(x_NCTHW)
    assert got.shape == exact.shape and got.dtype == torch.float32
    return ((got - exact).abs().max() / exact.abs().max()).item()


def channels_last(*shape):
    torch.manual_seed(0)
    return torch.rand(shape).contiguous(memory_format=torch.channels_last_3d)


def frozen(convolution):
    return convolution.eval().requires_grad_(False)


@pytest.mark.parametrize("points, taps", [((0, 1, -1, 2, -2), 3), ((0, 1, -1, 2, -2, 0.5), 4)])
def test_the_matrices_filter_a_line(points, taps):
    output, filters, inputs = winograd_kernels.cook_toom(points, taps)
    rng = np.random.default_rng(0)
    line, taps_of_filter = rng.standard_normal(len(points) + 1), rng.standard_normal(taps)
    got = output @ ((filters @ taps_of_filter) * (inputs @ line))
    np.testing.assert_allclose(got, np.correlate(line, taps_of_filter), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(15, 28, 28), (8, 14, 14), (5, 13, 17), (1, 30, 9), (16, 8, 3)])
@pytest.mark.parametrize("channels", [(16, 32), (100, 40), (3, 7)])
def test_3x3x3_is_pytorchs(size, channels):
    direct = frozen(nn.Conv3d(*channels, 3, padding=1))
    assert difference(WinogradConv3d(direct), direct, channels_last(1, channels[0], *size)) < TOLERANCE


def test_blocks_end_where_tiles_end(monkeypatch):
    """In blocks of few rows, the last of them shorter, and of clips one after the other."""
    direct = frozen(nn.Conv3d(5, 6, 3, padding=1))
    monkeypatch.setattr(winograd, "LEAST_ROWS", 5)
    assert difference(WinogradConv3d(direct), direct, channels_last(2, 5, 6, 15, 14)) < TOLERANCE


@pytest.mark.parametrize(
    "name, taken, made", [("_input_6", 6, 6), ("_output_6", 6, 4), ("_input_7", 7, 7), ("_output_7", 7, 4)]
)
def test_compiled_code_rounds_as_python_does(name, taken, made):
    """To the last bit: nothing is fused or reordered, so features do not depend on which process compiled the code."""
    compiled = getattr(winograd_kernels, name)
    rows = np.random.default_rng(0).standard_normal((3, taken, 37)).astype(np.float32)
    got, expected = (np.empty((3, made, 37), np.float32) for _ in range(2))
    compiled(rows, got)
    compiled.py_func(rows, expected)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.long
def test_a_process_that_compiles_gives_the_bits_of_one_that_reads_the_compiled_code(tmp_path):
    script = (
        "import hashlib, torch; from torch import nn; from vision.winograd import WinogradConv3d;"
        "torch.manual_seed(0); x = torch.rand(1, 64, 8, 14, 14).contiguous(memory_format=torch.channels_last_3d);"
        "conv = WinogradConv3d(nn.Conv3d(64, 32, 3, padding=1).requires_grad_(False));"
        "print(hashlib.sha256(conv(x).contiguous().numpy().tobytes()).hexdigest())"
    )
    run = partial(subprocess.run, [sys.executable, "-c", script], check=True, capture_output=True)
    compiles, reads = (run(env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}) for _ in range(2))
    assert list(tmp_path.rglob("*.nbc")) and compiles.stdout == reads.stdout


def test_few_tiles_go_the_direct_way():
    direct = frozen(nn.Conv3d(8, 8, 3, padding=1))
    ours = WinogradConv3d(direct)
    assert difference(ours, direct, channels_last(1, 8, 4, 7, 7)) < TOLERANCE
    assert "filters" not in vars(ours)


@pytest.mark.parametrize("size", [(30, 32, 32), (4, 24, 40), (7, 21, 18), (1, 9, 10)])
def test_the_first_convolution_is_pytorchs(size):
    direct = frozen(SameConv3d(3, 64, 7, 2))
    assert difference(WinogradStem(direct), direct, channels_last(2, 3, *size)) < TOLERANCE


def test_another_memory_layout_gives_the_same():
    for kind, kernel, stride in ((WinogradConv3d, 3, 1), (WinogradStem, 7, 2), (Pointwise, 1, 1)):
        make = (
            SameConv3d(3, 8, kernel, stride) if stride > 1 else nn.Conv3d(3, 8, kernel, padding=kernel // 2)
        )
        ours, x = kind(frozen(make)), channels_last(1, 3, 8, 20, 20)
        torch.testing.assert_close(ours(x), ours(x.contiguous()), rtol=0, atol=0)


def test_all_of_i3d_is_replaced_and_gives_the_same():
    torch.manual_seed(0)
    network = frozen(I3D())
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight)
    x = torch.rand(1, 3, 30, 64, 64) * 2 - 1
    with torch.inference_mode():
        exact = network.double()(x.double())
        network.float()
        replace_convolutions(network)
        got = network(x)
    kinds = {type(module) for module in network.modules() if hasattr(module, "direct")}
    assert kinds == {WinogradConv3d, WinogradStem, Pointwise}
    assert not any(isinstance(module, nn.ReLU) for module in network.modules())
    relative = torch.linalg.vector_norm(got - exact) / torch.linalg.vector_norm(exact)
    assert relative < 1e-5
    # A control: the mistake of one tap is seen.
    with torch.inference_mode():
        careless = functional.conv3d(x, network[0].direct.weight.roll(1, 4), stride=2, padding=3)
        right = functional.conv3d(x, network[0].direct.weight, stride=2, padding=3)
    assert (careless - right).abs().max() > 1000 * TOLERANCE * right.abs().max()
