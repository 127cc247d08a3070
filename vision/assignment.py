"""Assignment of features to centroids: rows of features scaled to length 1, the exact nearest centroid, the tree's descent.

A feature counts by its direction alone; this module scales it, and nothing else does. numpy suffices here: encoding
needs no PyTorch.
Shapes: N rows, D their width, K centroids, B rows of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vision.errors import ModelError

READ_ROWS = 4096
"""Rows that are read from disk at a time."""
BLOCK_ROWS = 1024
BLOCK_STEP = 128
"""Blocks are multiples of this: oneDNN compiles a kernel for each new shape of a product, and keeps 0.25 MB for it."""
MAX_SCORES = 1 << 22
"""Products of rows and centroids that are held at a time. More than 4096 centroids make the blocks smaller."""
UNIT_ROUNDOFF = 2.0**-24
UNDERFLOW = 2.0**-125
"""Of float32: the relative error of one operation; below this its numbers lose precision."""


class Rows(Protocol):
    """Features that need not be in memory. `shape` is (n, d); `read` gives the rows of ascending numbers, [len, d]."""

    shape: tuple[int, int]

    def read(self, rows_N: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class ArrayRows:
    """An array, in memory or mapped from a file, as `Rows`."""

    array_ND: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.array_ND.shape

    def read(self, rows_N: np.ndarray) -> np.ndarray:
        if len(rows_N) and rows_N[-1] - rows_N[0] == len(rows_N) - 1:
            return self.array_ND[rows_N[0] : rows_N[-1] + 1]  # a run of rows is a view, not a copy
        return self.array_ND[rows_N]


def read_blocks(rows: Rows, size: int = READ_ROWS) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (number of the first row, float32 [<= size, d] of length 1) through all rows, in order."""
    for begin in range(0, rows.shape[0], size):
        yield begin, read_normalized(rows, np.arange(begin, min(begin + size, rows.shape[0])))


def read_normalized(rows: Rows, numbers_N: np.ndarray, out_ND: np.ndarray | None = None) -> np.ndarray:
    """float32 [n, d]: the rows of these numbers, scaled to length 1. Raises ModelError for a row with NaN or infinity."""
    x_ND = np.asarray(rows.read(numbers_N))
    out_ND = np.empty(x_ND.shape, np.float32) if out_ND is None else out_ND
    bad = np.flatnonzero(~_normalize_into(x_ND, out_ND))
    if len(bad):
        raise ModelError(
            f"features hold NaN or infinity, the first in row {numbers_N[bad[0]]}: leave such rows out"
        )
    return out_ND


def l2_normalize(x_ND: np.ndarray) -> np.ndarray:
    """float32 [n, d]: every row scaled to length 1; a row of zeros stays as it is."""
    out_ND = np.empty(x_ND.shape, np.float32)
    _normalize_into(x_ND, out_ND)
    return out_ND


def _normalize_into(x_ND: np.ndarray, out_ND: np.ndarray) -> np.ndarray:
    """Writes every row, scaled to length 1, into `out_ND` float32. Returns bool [n]: whether the row is finite.

    A row of zeros stays as it is. Equal rows have equal bytes.
    """
    finite_N = np.empty(len(x_ND), bool)
    for begin in range(0, len(x_ND), 128):  # small blocks, whose float64 copy stays in the cache
        block = x_ND[begin : begin + 128].astype(np.float64)
        lengths_N = np.sqrt(np.einsum("nd,nd->n", block, block))
        finite_N[begin : begin + 128] = np.isfinite(lengths_N)
        with np.errstate(invalid="ignore"):
            block /= np.where(lengths_N > 0, lengths_N, 1)[:, None]
        block += 0.0  # -0.0 becomes 0.0: distinct rows are told apart by their bytes
        out_ND[begin : begin + 128] = block
    return finite_N


def block_rows(centroids: int) -> int:
    """Rows that are multiplied with so many centroids at a time."""
    return max(min(BLOCK_ROWS, MAX_SCORES // centroids // BLOCK_STEP * BLOCK_STEP), BLOCK_STEP)


def nearest(x_ND: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    """int64 [n]: the centroid nearest to each row by float64 differences, the first of equals. Rows have length <= 1.

    |x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2), so the nearest centroid has the highest score x.c - |c|^2 / 2. Float32 scores
    decide where the best two are farther apart than rounding can move them; the few other rows are computed exactly.
    The bound on the rounding of a product of length d holds for any order of its sums: d u / (1 - d u) times the lengths
    of the two vectors (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1).
    """
    exact_KD = centroids_KD.astype(np.float64)
    # Scores around the centroids' mean: shorter vectors have a smaller bound, so fewer rows are ambiguous. The mean's
    # own product with a row is the same for all centroids and drops out.
    mean_D = exact_KD.mean(0)
    around_KD = exact_KD - mean_D
    squares_K = (around_KD**2).sum(1)
    offsets_K = (around_KD @ mean_D + squares_K / 2).astype(np.float32)
    around_KD = around_KD.astype(np.float32)
    operations = (x_ND.shape[1] + 8) * UNIT_ROUNDOFF
    longest = float(np.sqrt(squares_K.max()))
    bound = 2 * operations / (1 - operations) * longest + x_ND.shape[1] * UNDERFLOW
    # One product of this with the mask of near centroids counts them and, where there is one, gives its number: faster
    # than argmax along the strided axis.
    numbers_K = np.arange(len(centroids_KD), dtype=np.float32)
    count_and_number_2K = np.stack([np.ones_like(numbers_K), numbers_K])
    ids_N = np.empty(len(x_ND), np.int64)
    size = block_rows(len(centroids_KD))
    for begin in range(0, len(x_ND), size):
        block = x_ND[begin : begin + size]
        scores_KB = around_KD @ block.T
        scores_KB -= offsets_K[:, None]
        near_KB = scores_KB >= scores_KB.max(0) - np.float32(bound)
        counts_B, ids_B = count_and_number_2K @ near_KB.astype(np.float32)
        ambiguous = np.flatnonzero(counts_B != 1)
        if len(ambiguous):
            candidates, rows = np.nonzero(near_KB[:, ambiguous])
            difference = block[ambiguous[rows]].astype(np.float64) - exact_KD[candidates]
            distances_KB = np.full((len(centroids_KD), len(ambiguous)), np.inf)
            distances_KB[candidates, rows] = (difference**2).sum(1)
            ids_B[ambiguous] = distances_KB.argmin(0)
        ids_N[begin : begin + len(block)] = ids_B
    return ids_N


def descend(
    x_ND: np.ndarray,
    centroids: list[np.ndarray],
    used: list[np.ndarray],
    k: int,
    level: int = 0,
    node: int = 0,
    last: int | None = None,
) -> np.ndarray:
    """int64 [n]: the node of level `last` (the leaf) that rows of `node` reach, each time by the nearest used child.

    `centroids` and `used`: per level 1..depth, float32 [k^level, d] and bool [k^level]. The children of node i are the
    nodes k i to k i + k - 1 of the next level.
    """
    ids_N = np.full(len(x_ND), node, np.int64)
    for at in range(level, len(centroids) if last is None else last):
        # Rows are grouped by their node, so that each node's children are compared in one product.
        order_N = np.argsort(ids_N, kind="stable")
        parents, begins = np.unique(ids_N[order_N], return_index=True)
        for parent, rows in zip(parents, np.split(order_N, begins[1:]), strict=True):
            children = parent * k + np.flatnonzero(used[at][parent * k : parent * k + k])
            part_ND = x_ND if len(rows) == len(x_ND) else x_ND[rows]
            ids_N[rows] = children[nearest(part_ND, centroids[at][children])]
    return ids_N
