"""Transforms of Winograd's minimal filtering, compiled by Numba: a tile of input or output at a time.

F(4, 3) in the notation of Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks": four outputs of a
filter of three taps take six products, and F(4, 4) takes seven. Along several axes the transforms nest.
The matrices are Cook and Toom's for the points 0, 1, -1, 2, -2, (1/2) and infinity.
Shapes: T frames, H x W positions, C channels, R rows: a row holds a transformed tile, its products one after the other,
each with all channels. Rows may be longer than that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numba import njit

TILE = 4
"""Outputs of a tile along an axis."""
_CHUNK = 96
"""Channels of a tile that are transformed together: long loops, and scratch memory that fits the second cache."""


def _compiled(function: Callable) -> Callable:
    """Compiled at the first call, some seconds, and kept on disk where a folder can be written."""
    # Products with 0 may vanish, but no sum is reordered or fused: with all of `fastmath` the code that a process compiles
    # rounds otherwise than the code that it reads from the disk, and so a video's features would differ between runs.
    options = {"nogil": True, "fastmath": {"nnan", "ninf", "nsz"}, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither this package nor the user has a folder for it
        return njit(**options)(function)


def cook_toom(points: Sequence[float], taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices A^T [TILE, n], G [n, taps] and B^T [n, n] of F(TILE, taps), n = TILE + taps - 1, float64.

    `points` are n - 1 numbers; infinity is the last. A^T ((G g) * (B^T d)) is the correlation of d with g.
    """
    n = TILE + taps - 1

    def powers(degree: int) -> np.ndarray:
        finite = np.vander(np.array(points, float), degree, increasing=True)
        return np.vstack([finite, np.eye(degree)[-1]])

    # B^T times Lagrange's denominators has small numbers, many of them 0; G takes the denominators.
    scale = np.array([np.prod([a - b for b in points if b != a]) for a in points] + [1.0])[:, None]
    return powers(TILE).T, powers(taps) / scale, np.linalg.inv(powers(n)).T * scale


OUTPUT_6, FILTER_3, INPUT_6 = cook_toom((0, 1, -1, 2, -2), 3)
OUTPUT_7, FILTER_4, INPUT_7 = cook_toom((0, 1, -1, 2, -2, 0.5), 4)


def _multiplication(matrix: np.ndarray) -> Callable[[np.ndarray, np.ndarray], None]:
    """A compiled function of s [P, n, Q] and d [P, m, Q]: the middle axis of s times the matrix [m, n], into d."""
    m, n = matrix.shape

    @_compiled
    def multiply(s, d):
        for p in range(s.shape[0]):
            sp, dp = s[p], d[p]
            for q in range(s.shape[2]):
                for i in range(m):
                    total = np.float32(0)
                    for k in range(n):
                        total += matrix[i, k] * sp[k, q]
                    dp[i, q] = total

    return multiply


_output_6, _input_6, _output_7, _input_7 = (
    # Numba takes the matrix as a constant, so that products with 0 and 1 vanish.
    _multiplication(matrix.round(9).astype(np.float32))
    for matrix in (OUTPUT_6, INPUT_6, OUTPUT_7, INPUT_7)
)


@_compiled
def _copy(s, d):
    # Of an index that comes from `range` alone Numba knows that it is not negative: such a loop is vectorised.
    for q in range(d.shape[0]):
        d[q] = s[q]


@_compiled
def _biased(s, bias, low, d):
    for q in range(d.shape[0]):
        d[q] = max(s[q] + bias[q], low)


@_compiled
def input_6(x, V, first):
    """V [R, 216 * C]: the 6 x 6 x 6 tiles from tile `first` on of x [T, H, W, C], padded by 1, transformed."""
    T, H, W, C = x.shape
    high, wide = (H + 3) // 4, (W + 3) // 4
    a, b = np.empty(216 * _CHUNK, np.float32), np.empty(216 * _CHUNK, np.float32)
    for row in range(V.shape[0]):
        tile = first + row
        t0, h0, w0 = tile // (high * wide) * 4 - 1, tile // wide % high * 4 - 1, tile % wide * 4 - 1
        for c in range(0, C, _CHUNK):
            m = min(_CHUNK, C - c)
            x_tile, y_tile = a[: 216 * m], b[: 216 * m]
            pixels = x_tile.reshape(216, m)
            for f in range(216):
                t, h, w = t0 + f // 36, h0 + f // 6 % 6, w0 + f % 6
                if 0 <= t < T and 0 <= h < H and 0 <= w < W:
                    _copy(x[t, h, w, c : c + m], pixels[f])
                else:
                    pixels[f] = 0
            _input_6(x_tile.reshape(36, 6, m), y_tile.reshape(36, 6, m))
            _input_6(y_tile.reshape(6, 6, 6 * m), x_tile.reshape(6, 6, 6 * m))
            _input_6(x_tile.reshape(1, 6, 36 * m), y_tile.reshape(1, 6, 36 * m))
            products = y_tile.reshape(216, m)
            for f in range(216):
                _copy(products[f], V[row, f * C + c : f * C + c + m])


@_compiled
def output_6(M, bias, low, y, first):
    """y [T, H, W, C]: the outputs of the tiles from `first` on, of their products M [R, 216 * C], `low` at least."""
    T, H, W, C = y.shape
    high, wide = (H + 3) // 4, (W + 3) // 4
    a, b = np.empty(216 * _CHUNK, np.float32), np.empty(144 * _CHUNK, np.float32)
    for row in range(M.shape[0]):
        tile = first + row
        t0, h0, w0 = tile // (high * wide) * 4, tile // wide % high * 4, tile % wide * 4
        for c in range(0, C, _CHUNK):
            m = min(_CHUNK, C - c)
            products = a[: 216 * m].reshape(216, m)
            for f in range(216):
                _copy(M[row, f * C + c : f * C + c + m], products[f])
            _output_6(a[: 216 * m].reshape(1, 6, 36 * m), b[: 144 * m].reshape(1, 4, 36 * m))
            _output_6(b[: 144 * m].reshape(4, 6, 6 * m), a[: 96 * m].reshape(4, 4, 6 * m))
            _output_6(a[: 96 * m].reshape(16, 6, m), b[: 64 * m].reshape(16, 4, m))
            pixels = b[: 64 * m].reshape(64, m)
            for f in range(64):
                t, h, w = t0 + f // 16, h0 + f // 4 % 4, w0 + f % 4
                if t < T and h < H and w < W:
                    _biased(pixels[f], bias[c : c + m], low, y[t, h, w, c : c + m])


@_compiled
def input_7(x, V, first, outputs, stride, before):
    """V [R, 49 * 7 * C]: the 7 x 7 tiles of x [T, H, W, C], padded by 1, transformed, seven frames side by side.

    A row is a tile at one of `outputs` frames; output o reads the seven frames from o * stride - before on.
    The rows of a tile follow one another, and `first` is the first tile.
    """
    T, H, W, C = x.shape
    wide = (W + 3) // 4
    line = ((outputs - 1) * stride + 7) * C  # of all frames, so that none is transformed twice
    a, b = np.zeros((49, line), np.float32), np.empty((49, line), np.float32)
    products = np.empty((49, line), np.float32)
    for part in range(V.shape[0] // outputs):
        h0, w0 = (first + part) // wide * 4 - 1, (first + part) % wide * 4 - 1
        for t in range(min(T, line // C - before)):
            q = (t + before) * C
            for f in range(49):
                h, w = h0 + f // 7, w0 + f % 7
                if 0 <= h < H and 0 <= w < W:
                    _copy(x[t, h, w], a[f, q : q + C])
                else:
                    a[f, q : q + C] = 0
        _input_7(a.reshape(7, 7, line), b.reshape(7, 7, line))
        _input_7(b.reshape(1, 7, 7 * line), products.reshape(1, 7, 7 * line))
        for o in range(outputs):
            q = o * stride * C
            for f in range(49):
                to = V[part * outputs + o, f * 7 * C : (f + 1) * 7 * C]
                _copy(products[f, q : q + 7 * C], to)


@_compiled
def output_7(M, bias, low, y, first):
    """y [T, H, W, C]: the outputs of the products M [R, 49 * C], rows as `input_7` has them, `low` at least."""
    T, H, W, C = y.shape
    wide = (W + 3) // 4
    a, b = np.empty((4, 7 * C), np.float32), np.empty((16, C), np.float32)
    for row in range(M.shape[0]):
        tile, t = first + row // T, row % T
        h0, w0 = tile // wide * 4, tile % wide * 4
        _output_7(M[row, : 49 * C].reshape(1, 7, 7 * C), a.reshape(1, 4, 7 * C))
        _output_7(a.reshape(4, 7, C), b.reshape(4, 4, C))
        for f in range(16):
            h, w = h0 + f // 4, w0 + f % 4
            if h < H and w < W:
                _biased(b[f], bias, low, y[t, h, w])
