"""How the codebook's tree grows over features that need not fit into memory.

A node whose rows fit into the memory allowed is grown with all that lies below it from all of its rows. A larger one is
grown from a uniform sample of its rows as large as the memory, by one level, or by more while the sample has
`SAMPLE_PER_CHILD` rows a centroid; then all of its rows are read once, in blocks, and sent down to the new children, each of
which goes the same way. So every row is read once for each step of a large node on its way, once at its end, and held no
longer: at most depth + 1 times, beside the samples. What a row costs in memory all the same is its number, 8 bytes, twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from vision.kmeans import GRAM_ROWS, RESTARTS, cluster, nearest

READ_ROWS = 4096
FEW_ROWS, MANY_ROWS, MORE_RESTARTS = 50_000, 6_000, 6
"""Where a tree has few rows in all, or a node many (of which a sample is tried), more restarts cost little."""
SAMPLE_PER_CHILD, MOST_PER_CHILD = 1024, 4096


class CodebookError(ValueError):
    """Features or options that no codebook can be made of; the message is one line."""


class Rows(Protocol):
    """Features in a place that is not memory. `shape` is (n, d); `read` gives the rows of ascending numbers, [len, d]."""

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
            return self.array_ND[rows_N[0] : rows_N[-1] + 1]
        return self.array_ND[rows_N]


@dataclass
class Totals:
    """What is summed over all rows: counts int64 [k^depth], and squared distances from their leaf and from their mean."""

    counts: np.ndarray
    origin_D: np.ndarray
    error: float = 0.0
    squares: float = 0.0
    sums_D: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.sums_D = np.zeros(len(self.origin_D))

    def add(self, x_ND: np.ndarray, leaves_N: np.ndarray, centroids: np.ndarray) -> None:
        np.add.at(self.counts, leaves_N, 1)
        for begin in range(0, len(x_ND), 256):
            block, leaves = x_ND[begin : begin + 256], leaves_N[begin : begin + 256]
            gap = block - centroids[leaves]
            self.error += float(np.vdot(gap, gap))
            gap = block - self.origin_D
            self.squares += float(np.vdot(gap, gap))
            self.sums_D += gap.sum(0)

    @property
    def quantisation_error(self) -> float:
        spread = self.squares - float((self.sums_D**2).sum()) / max(int(self.counts.sum()), 1)
        return self.error / spread if spread > 1e-6 * self.squares else 0.0


def row_bytes(width: int, depth: int) -> int:
    """What a row that is held takes at most: float32 at each level, as a child may have nearly all rows of its node."""
    return 4 * width * max(depth, 2)


class Tree:
    """The centroids while they grow: per level float32 [k^level, d] and bool [k^level], as `Codebook` keeps them."""

    def __init__(
        self,
        rows: Rows,
        shape: tuple[int, int],
        iterations: int,
        seed: int,
        memory: int,
        gpu: bool,
        on_rows: Callable[[int, int], None],
    ) -> None:
        (self.k, self.depth), self.width = shape, rows.shape[1]
        self.rows, self.iterations, self.seed, self.gpu, self.on_rows = rows, iterations, seed, gpu, on_rows
        self.most = max(memory // row_bytes(self.width, self.depth), self.k)
        held = (min(self.most, rows.shape[0]), self.width)
        self._places = [np.empty(held, np.float32) for _ in range(self.depth)]
        levels = range(1, self.depth + 1)
        self.centroids = [np.zeros((self.k**level, self.width), np.float32) for level in levels]
        self.used = [np.zeros(self.k**level, bool) for level in levels]
        self.totals = Totals(np.zeros(self.k**self.depth, np.int64), read_directions(rows, np.arange(1))[0])
        self.grow(0, 0, np.arange(rows.shape[0]))

    def grow(self, level: int, node: int, numbers_N: np.ndarray) -> None:
        """All below ``node`` (of ``level``), from its rows of these numbers."""
        n = len(numbers_N)
        if n <= self.most:
            self._grow_held({node: self._held(numbers_N)}, level, self.depth)
            return
        down = 1
        while (
            level + down < self.depth
            and n > self.most * self.k**down
            and self.most >= SAMPLE_PER_CHILD * self.k ** (down + 1)
        ):
            down += 1
        size = min(self.most, MOST_PER_CHILD * self.k**down)
        generator = np.random.default_rng([self.seed, level, node, 1])
        sample = np.sort(generator.choice(n, size, replace=False, shuffle=False))
        self._grow_held({node: self._held(numbers_N[sample])}, level, level + down, of_sample=True)
        below_N = np.empty(n, np.int32)
        for begin in range(0, n, READ_ROWS):
            x_ND = read_directions(self.rows, numbers_N[begin : begin + READ_ROWS])
            ids = descend(x_ND, self.centroids, self.used, self.k, level, node, level + down)
            below_N[begin : begin + len(x_ND)] = ids
            if level + down == self.depth:
                self._finish(x_ND, ids)
        if level + down < self.depth:
            for child in np.unique(below_N):
                self.grow(level + down, int(child), numbers_N[below_N == child])

    def _held(self, numbers_N: np.ndarray) -> np.ndarray:
        """float32 [n, d]: the rows of these numbers, in the place that is kept for them."""
        held_ND = self._places[0][: len(numbers_N)]
        for begin in range(0, len(numbers_N), READ_ROWS):
            part = numbers_N[begin : begin + READ_ROWS]
            read_directions(self.rows, part, held_ND[begin : begin + len(part)])
        return held_ND

    def _grow_held(
        self, nodes: dict[int, np.ndarray], level: int, last: int, of_sample: bool = False, place: int = 0
    ) -> None:
        """The levels up to ``last`` below nodes of ``level``, from their rows, which lie in memory at ``place``."""
        seeds = [int(np.random.SeedSequence([self.seed, level, n]).generate_state(1)[0]) for n in nodes]
        many = self.rows.shape[0] <= FEW_ROWS or max(map(len, nodes.values())) >= MANY_ROWS
        restarts = MORE_RESTARTS if many else RESTARTS
        clusters = cluster(list(nodes.values()), self.k, self.iterations, seeds, self.gpu, restarts)
        for (node, x_ND), (centroids_KD, own_N) in zip(nodes.items(), clusters, strict=True):
            first = node * self.k
            self.centroids[level][first : first + len(centroids_KD)] = centroids_KD
            self.used[level][first : first + len(centroids_KD)] = True
            if level + 1 < last:
                for children in self._children(x_ND, own_N, first, place + 1):
                    self._grow_held(children, level + 1, last, of_sample, place + 1)
            elif not of_sample:
                self._finish(x_ND, first + own_N)

    def _children(
        self, x_ND: np.ndarray, own_N: np.ndarray, first: int, place: int
    ) -> Iterator[dict[int, np.ndarray]]:
        """The rows of each child, copied to ``place``: the large ones one at a time, then the small ones side by side."""
        order_N, counts = np.argsort(own_N, kind="stable"), np.bincount(own_N)
        rows = np.split(order_N, np.cumsum(counts)[:-1])
        small = np.flatnonzero(counts <= GRAM_ROWS).tolist()
        large = [[child] for child in np.flatnonzero(counts > GRAM_ROWS).tolist()]
        for together in [*large, small] if small else large:
            taken_N = np.concatenate([rows[child] for child in together])
            to_ND = self._places[place][: len(taken_N)]
            np.take(x_ND, taken_N, 0, out=to_ND, mode="clip")
            yield dict(
                zip(
                    (first + child for child in together),
                    np.split(to_ND, np.cumsum(counts[together])[:-1]),
                    strict=True,
                )
            )

    def _finish(self, x_ND: np.ndarray, leaves_N: np.ndarray) -> None:
        self.totals.add(x_ND, leaves_N, self.centroids[-1])
        self.on_rows(int(self.totals.counts.sum()), self.rows.shape[0])


def descend(
    x_ND: np.ndarray,
    centroids: list[np.ndarray],
    used: list[np.ndarray],
    k: int,
    level: int = 0,
    node: int = 0,
    last: int | None = None,
) -> np.ndarray:
    """int64 [n]: the node of level ``last`` (the leaf) that rows of ``node`` reach, each time to the nearest used child."""
    ids_N = np.full(len(x_ND), node, np.int64)
    for at in range(level, len(centroids) if last is None else last):
        order_N = np.argsort(ids_N, kind="stable")
        parents, begins = np.unique(ids_N[order_N], return_index=True)
        for parent, rows in zip(parents, np.split(order_N, begins[1:]), strict=True):
            live = parent * k + np.flatnonzero(used[at][parent * k : parent * k + k])
            part_ND = x_ND if len(rows) == len(x_ND) else x_ND[rows]
            ids_N[rows] = live[nearest(part_ND, centroids[at][live])]
    return ids_N


def blocks(rows: Rows, size: int = READ_ROWS) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, directions float32 [<= size, d]) through all rows, in order."""
    for begin in range(0, rows.shape[0], size):
        yield begin, read_directions(rows, np.arange(begin, min(begin + size, rows.shape[0])))


def read_directions(rows: Rows, numbers_N: np.ndarray, out_ND: np.ndarray | None = None) -> np.ndarray:
    """The rows of these numbers, scaled to length 1. Raises CodebookError where one holds what is no number."""
    x_ND = np.asarray(rows.read(numbers_N))
    out_ND = np.empty(x_ND.shape, np.float32) if out_ND is None else out_ND
    bad = np.flatnonzero(~_scale(x_ND, out_ND))
    if len(bad):
        raise CodebookError(
            f"features hold NaN or infinity, the first in row {numbers_N[bad[0]]}: leave such rows out"
        )
    return out_ND


def directions(x_ND: np.ndarray) -> np.ndarray:
    """float32 [n, d]: every row scaled to length 1; a row of zeros stays as it is."""
    out_ND = np.empty(x_ND.shape, np.float32)
    _scale(x_ND, out_ND)
    return out_ND


def _scale(x_ND: np.ndarray, out_ND: np.ndarray) -> np.ndarray:
    """Puts every row, scaled to length 1, into ``out_ND`` float32; bool [n], whether it holds nothing but numbers.

    A row of zeros stays as it is. Equal rows have equal bytes: no -0.0.
    """
    fine_N = np.empty(len(x_ND), bool)
    for begin in range(0, len(x_ND), 128):
        block = x_ND[begin : begin + 128].astype(np.float64)
        lengths_N = np.sqrt(np.einsum("nd,nd->n", block, block))
        fine_N[begin : begin + 128] = np.isfinite(lengths_N)
        with np.errstate(invalid="ignore"):
            block /= np.where(lengths_N > 0, lengths_N, 1)[:, None]
        block += 0.0
        out_ND[begin : begin + 128] = block
    return fine_N
