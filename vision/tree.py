"""Growth of the codebook's tree, by hierarchical k-means over features that need not fit into memory.

A node whose rows fit into the memory allowed is grown to its leaves from all of its rows. A larger node is grown from a
uniform sample of its rows as large as the memory, by one level, or by more while the sample has `SAMPLE_PER_CHILD` rows
per centroid. Then all of its rows are read once, in blocks, and sent down to the new children, each of which is grown in
the same way. So every row is read at most depth + 1 times, beside the samples. In memory a row of a larger node costs the
8 bytes of its number, twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from vision.assignment import READ_ROWS, Rows, descend, read_normalized
from vision.batched_lloyd import GRAM_ROWS
from vision.kmeans import RESTARTS, cluster

SMALL_DATA_ROWS, LARGE_NODE_ROWS, MORE_RESTARTS = 50_000, 6_000, 6
"""More restarts cost little where there are few rows in all, or in a large node, whose restarts run on a sample."""
SAMPLE_PER_CHILD, MAX_SAMPLE_PER_CHILD = 1024, 4096


@dataclass
class FitStatistics:
    """Sums over all rows.

    `counts`: int64 [k^depth], rows of each leaf. `error`: squared distances of the rows from their leaf's centroid.
    `squares` and `sums_D`: squared distances and differences of the rows from `origin_D`, any row of the data.
    """

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
            difference = block - centroids[leaves]
            self.error += float(np.vdot(difference, difference))
            difference = block - self.origin_D
            self.squares += float(np.vdot(difference, difference))
            self.sums_D += difference.sum(0)

    @property
    def quantisation_error(self) -> float:
        """`error` over the squared distances of all rows from their mean; 0 where all rows are equal to rounding."""
        # The mean is known only at the end: sum |x - mean|^2 = sum |x - o|^2 - |sum (x - o)|^2 / n for any origin o.
        spread = self.squares - float((self.sums_D**2).sum()) / max(int(self.counts.sum()), 1)
        return self.error / spread if spread > 1e-6 * self.squares else 0.0


def row_bytes(width: int, depth: int) -> int:
    """Bytes that a row in memory takes at most: float32 at each level, since a child may have nearly all its node's rows."""
    return 4 * width * max(depth, 2)


class Tree:
    """The tree of centroids, grown when it is made.

    `centroids` and `used`: per level 1..depth, float32 [k^level, d] and bool [k^level], as in `Codebook`.
    Raises ModelError for a row with NaN or infinity.
    """

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
        self.max_rows = max(memory // row_bytes(self.width, self.depth), self.k)
        # One buffer for each level, allocated once: the rows of a node lie in its parent's until its children are done.
        buffer_shape = (min(self.max_rows, rows.shape[0]), self.width)
        self._buffers = [np.empty(buffer_shape, np.float32) for _ in range(self.depth)]
        levels = range(1, self.depth + 1)
        self.centroids = [np.zeros((self.k**level, self.width), np.float32) for level in levels]
        self.used = [np.zeros(self.k**level, bool) for level in levels]
        counts = np.zeros(self.k**self.depth, np.int64)
        self.statistics = FitStatistics(counts, read_normalized(rows, np.arange(1))[0])
        self._grow(0, 0, np.arange(rows.shape[0]))

    def _grow(self, level: int, node: int, numbers_N: np.ndarray) -> None:
        """Grows all levels below `node` of `level` from the node's rows, given by their numbers."""
        n = len(numbers_N)
        if n <= self.max_rows:
            self._grow_in_memory({node: self._load(numbers_N)}, level, self.depth)
            return
        # Grow several levels from one sample where the children would not fit into memory either: that saves a reading
        # of all rows for each level, while the sample still has enough rows for each centroid.
        levels = 1
        while (
            level + levels < self.depth
            and n > self.max_rows * self.k**levels
            and self.max_rows >= SAMPLE_PER_CHILD * self.k ** (levels + 1)
        ):
            levels += 1
        size = min(self.max_rows, MAX_SAMPLE_PER_CHILD * self.k**levels)
        generator = np.random.default_rng([self.seed, level, node, 1])
        sample = np.sort(generator.choice(n, size, replace=False, shuffle=False))
        self._grow_in_memory({node: self._load(numbers_N[sample])}, level, level + levels, of_sample=True)
        child_N = np.empty(n, np.int32)
        for begin in range(0, n, READ_ROWS):
            x_ND = read_normalized(self.rows, numbers_N[begin : begin + READ_ROWS])
            ids = descend(x_ND, self.centroids, self.used, self.k, level, node, level + levels)
            child_N[begin : begin + len(x_ND)] = ids
            if level + levels == self.depth:
                self._count(x_ND, ids)
        if level + levels < self.depth:
            for child in np.unique(child_N):
                self._grow(level + levels, int(child), numbers_N[child_N == child])

    def _load(self, numbers_N: np.ndarray) -> np.ndarray:
        """float32 [n, d]: the rows of these numbers, read into the first buffer."""
        x_ND = self._buffers[0][: len(numbers_N)]
        for begin in range(0, len(numbers_N), READ_ROWS):
            part = numbers_N[begin : begin + READ_ROWS]
            read_normalized(self.rows, part, x_ND[begin : begin + len(part)])
        return x_ND

    def _grow_in_memory(
        self, nodes: dict[int, np.ndarray], level: int, last: int, of_sample: bool = False, buffer: int = 0
    ) -> None:
        """Grows the levels up to `last` below nodes of `level`: {node: its rows [n, d]}, which lie in buffer `buffer`.

        Rows of a sample are not counted; all rows of their node are, when they are sent down.
        """
        # Seeds by level and node: a node grows the same whatever is grown beside it or before it.
        seeds = [int(np.random.SeedSequence([self.seed, level, n]).generate_state(1)[0]) for n in nodes]
        largest = max(map(len, nodes.values()))
        restarts_are_cheap = self.rows.shape[0] <= SMALL_DATA_ROWS or largest >= LARGE_NODE_ROWS
        restarts = MORE_RESTARTS if restarts_are_cheap else RESTARTS
        clusters = cluster(list(nodes.values()), self.k, self.iterations, seeds, self.gpu, restarts)
        for (node, x_ND), (centroids_KD, ids_N) in zip(nodes.items(), clusters, strict=True):
            first = node * self.k
            self.centroids[level][first : first + len(centroids_KD)] = centroids_KD
            self.used[level][first : first + len(centroids_KD)] = True
            if level + 1 < last:
                for children in self._child_groups(x_ND, ids_N, first, buffer + 1):
                    self._grow_in_memory(children, level + 1, last, of_sample, buffer + 1)
            elif not of_sample:
                self._count(x_ND, first + ids_N)

    def _child_groups(
        self, x_ND: np.ndarray, ids_N: np.ndarray, first: int, buffer: int
    ) -> Iterator[dict[int, np.ndarray]]:
        """Yields the children's rows, {child: rows}, copied to `buffer`: each large child alone, then all small ones.

        Small nodes are clustered side by side (`vision/batched_lloyd.py`); large ones take turns in the buffer.
        """
        order_N, counts = np.argsort(ids_N, kind="stable"), np.bincount(ids_N)
        rows = np.split(order_N, np.cumsum(counts)[:-1])
        groups = [[child] for child in np.flatnonzero(counts > GRAM_ROWS).tolist()]
        small = np.flatnonzero(counts <= GRAM_ROWS).tolist()
        if small:
            groups.append(small)
        for group in groups:
            taken_N = np.concatenate([rows[child] for child in group])
            copy_ND = self._buffers[buffer][: len(taken_N)]
            # "clip" lets numpy write to `out` directly; the default buffers it, in case an index is out of range.
            np.take(x_ND, taken_N, 0, out=copy_ND, mode="clip")
            parts = np.split(copy_ND, np.cumsum(counts[group])[:-1])
            yield {first + child: part for child, part in zip(group, parts, strict=True)}

    def _count(self, x_ND: np.ndarray, leaves_N: np.ndarray) -> None:
        """Counts rows that have reached their leaves, and reports how many of all have."""
        self.statistics.add(x_ND, leaves_N, self.centroids[-1])
        self.on_rows(int(self.statistics.counts.sum()), self.rows.shape[0])
