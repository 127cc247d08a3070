"""k-means in one node of the tree: where it starts, Lloyd's iterations, and which centroid is nearest, exactly.

All rows have length 1 at most (`vision/tree.py` scales them), which is what the bound of rounding in `nearest`
rests on. Shapes: N rows, D their width, K centroids, R restarts at a time.

Nodes of up to `GRAM_ROWS` rows are worked out side by side in `vision/gram.py`. A larger one takes its restarts on a sample,
with rows and centroids rounded to bfloat16 around their mean where the CPU (or the GPU) multiplies it in hardware; then the
best of them goes once over all rows, exactly. The ids are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from vision.backbones import has_fast_bf16
from vision.gram import TOLERANCE, TRIALS, Products, by_gram, room, spread_out

RESTARTS = 2
GRAM_ROWS = 768
MOST_ROOM = 1 << 23
"""Numbers that small nodes side by side may take: twelve of them never take more, many children in a node would."""
SEED_ROWS, SEEDS_PER_CENTROID = 256, 4
"""Rows of a large node that its restarts are drawn from: at least so many, and so many a centroid."""
SAMPLE_PER_CENTROID = 512
SAMPLE_STEP = 128
"""Samples are whole steps: for each new shape of a product oneDNN compiles a kernel, and keeps a quarter of a megabyte."""
BLOCK = 1024
SMALL_BLOCK = 256
"""Rows whose float32 stay in the cache from one operation to the next."""
MOST_SCORES = 1 << 22
"""Products of rows and centroids that are held at a time: with more than 4096 centroids the blocks are smaller."""
ROUNDING = 2.0**-24
UNDERFLOW = 2.0**-125


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread in all that multiplies: the order of its sums, and so each bit, is then the same on any number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def cluster(
    nodes: list[np.ndarray],
    k: int,
    iterations: int,
    seeds: list[int],
    gpu: bool = False,
    restarts: int = RESTARTS,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """k-means of each node's float32 [n, d]: centroids float32 [m, d] with m <= k, all with points, and ids int64 [n].

    With at most k distinct rows each is a centroid. Else ``restarts`` draws by greedy k-means++ (Arthur and
    Vassilvitskii 2007; four candidates a step, as scikit-learn has for twelve) each go up to `iterations` ways of Lloyd,
    and the one of least error is kept. A cluster that runs empty takes the row farthest from its centroid; one empty in the
    end is dropped.
    Nodes of up to `GRAM_ROWS` rows are worked out side by side, as many as `MOST_ROOM` holds, until all of those have
    settled.
    """
    found = [few_distinct(x_ND, k) for x_ND in nodes]
    small = [at for at, x_ND in enumerate(nodes) if found[at] is None and len(x_ND) <= GRAM_ROWS]
    for together in _groups(small, [room(len(nodes[at]), k, restarts) for at in small]):
        generators = [np.random.default_rng(seeds[at]) for at in together]
        each = by_gram([nodes[at] for at in together], k, iterations, generators, restarts)
        for at, centroids_KD in zip(together, each, strict=True):
            found[at] = centroids_KD
    for at, x_ND in enumerate(nodes):
        if found[at] is None:
            generator = np.random.default_rng(seeds[at])
            found[at] = iterate(x_ND, _by_sample(x_ND, k, iterations, generator, gpu, restarts))
    clusters = []
    for x_ND, centroids_KD in zip(nodes, found, strict=True):
        live, ids_N = np.unique(nearest(x_ND, centroids_KD), return_inverse=True)
        clusters.append((centroids_KD[live], ids_N))
    return clusters


def _groups(small: list[int], rooms: list[int]) -> Iterator[list[int]]:
    """The small nodes in groups, in order, of which each takes about `MOST_ROOM`."""
    group_N = np.cumsum(rooms) // MOST_ROOM
    for _, group in groupby(zip(group_N, small, strict=True), key=itemgetter(0)):
        yield [at for _, at in group]


def few_distinct(x_ND: np.ndarray, k: int) -> np.ndarray | None:
    """The distinct rows in their order where they are k at most, else None."""
    seen: dict[bytes, int] = {}
    for row, values in enumerate(x_ND):
        seen.setdefault(values.tobytes(), row)
        if len(seen) > k:
            return None
    return x_ND[list(seen.values())]


def nearest(x_ND: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    """int64 [n]: the nearest centroid of each row as float64 differences tell, the first of equals.

    Products in float32 with the centroids around their mean decide where the best two are farther apart than rounding can
    move them, whatever the order of the sums (Higham, Accuracy and Stability, section 3.1: d u / (1 - d u) of the lengths);
    the few others are worked out.
    """
    exact_KD = centroids_KD.astype(np.float64)
    middle_D = exact_KD.mean(0)
    around_KD = exact_KD - middle_D
    squares_K = (around_KD**2).sum(1)
    offsets_K = (around_KD @ middle_D + squares_K / 2).astype(np.float32)
    around_KD = around_KD.astype(np.float32)
    terms = (x_ND.shape[1] + 8) * ROUNDING
    bound = 2 * terms / (1 - terms) * float(np.sqrt(squares_K.max())) + x_ND.shape[1] * UNDERFLOW
    numbers_K = np.arange(len(centroids_KD), dtype=np.float32)
    count_2K = np.stack([np.ones_like(numbers_K), numbers_K])
    ids_N = np.empty(len(x_ND), np.int64)
    size = _block(len(centroids_KD))
    for begin in range(0, len(x_ND), size):
        block = x_ND[begin : begin + size]
        scores_KB = around_KD @ block.T
        scores_KB -= offsets_K[:, None]
        near_KB = scores_KB >= scores_KB.max(0) - np.float32(bound)
        near_B, ids_B = count_2K @ near_KB.astype(np.float32)
        doubtful = np.flatnonzero(near_B != 1)
        if len(doubtful):
            candidates, rows = np.nonzero(near_KB[:, doubtful])
            apart_KB = np.full((len(centroids_KD), len(doubtful)), np.inf)
            difference = block[doubtful[rows]].astype(np.float64) - exact_KD[candidates]
            apart_KB[candidates, rows] = (difference**2).sum(1)
            ids_B[doubtful] = apart_KB.argmin(0)
        ids_N[begin : begin + len(block)] = ids_B
    return ids_N


def iterate(x_ND: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    """float32 [k, d]: one iteration of Lloyd from these centroids over all rows, to rounding.

    A centroid that no row is nearest to becomes the row farthest from its own.
    """
    ids_N = nearest(x_ND, centroids_KD)
    sums_KD = np.zeros(centroids_KD.shape, np.float64)
    for begin in range(0, len(x_ND), BLOCK):
        block, ids_B = x_ND[begin : begin + BLOCK], ids_N[begin : begin + BLOCK]
        part_KD = torch.zeros(centroids_KD.shape)
        sums_KD += part_KD.index_add_(0, torch.from_numpy(ids_B), torch.from_numpy(block)).numpy()
    counts_K = np.bincount(ids_N, minlength=len(centroids_KD))
    means_KD = (sums_KD / np.maximum(counts_K, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(counts_K == 0)
    if len(empty):
        parts = range(0, len(x_ND), BLOCK)
        gaps = [x_ND[b : b + BLOCK] - centroids_KD[ids_N[b : b + BLOCK]] for b in parts]
        apart_N = np.concatenate([np.einsum("nd,nd->n", gap, gap) for gap in gaps])
        means_KD[empty] = x_ND[np.argsort(-apart_N, kind="stable")[: len(empty)]]
    return means_KD


def _by_sample(
    x_ND: np.ndarray, k: int, iterations: int, generator: np.random.Generator, gpu: bool, restarts: int
) -> np.ndarray:
    """float32 [k, d]: the best of the restarts over a sample of `SAMPLE_PER_CENTROID` rows a centroid."""
    order_N = generator.permutation(len(x_ND))
    seeds_ND = x_ND[order_N[: max(SEED_ROWS, SEEDS_PER_CENTROID * k)]]
    middle_D = seeds_ND.mean(0)
    seeds_ND -= middle_D
    start_RKD = seeds_ND[spread_out([Products(seeds_ND)], k, restarts, [generator])[0]]
    size = min(len(x_ND), k * SAMPLE_PER_CENTROID) // SAMPLE_STEP * SAMPLE_STEP
    rows_SD, total = _rounded(x_ND, np.sort(order_N[:size]), middle_D, gpu)
    return _fast(rows_SD, total, start_RKD, iterations) + middle_D


def _rounded(
    x_ND: np.ndarray, rows_S: np.ndarray, middle_D: np.ndarray, gpu: bool
) -> tuple[torch.Tensor, float]:
    """These rows less ``middle_D``, in the precision and on the device that multiply them fastest; the sum of their squares."""
    out_SD = torch.empty(
        (len(rows_S), len(middle_D)),
        dtype=torch.bfloat16 if gpu else _fast_kind(),
        device="cuda" if gpu else "cpu",
    )
    total = 0.0
    for begin in range(0, len(rows_S), SMALL_BLOCK):
        block = x_ND[rows_S[begin : begin + SMALL_BLOCK]] - middle_D
        total += float(np.vdot(block, block))
        out_SD[begin : begin + SMALL_BLOCK] = torch.from_numpy(block)
    return out_SD, total


@cache
def _fast_kind() -> torch.dtype:
    return torch.bfloat16 if has_fast_bf16() else torch.float32


def arithmetic(gpu: bool) -> str:
    """What the products of large nodes are worked out in: ``cuda``, ``bfloat16`` or ``float32``. It decides the last bits."""
    return "cuda" if gpu else str(_fast_kind()).removeprefix("torch.")


def _fast(x_ND: torch.Tensor, total: float, start_RKD: np.ndarray, iterations: int) -> np.ndarray:
    """float32 [k, d]: Lloyd from R starts at a time, in the rows' precision; after `TRIALS` iterations the best goes on."""
    centroids_RKD = torch.from_numpy(start_RKD).to(x_ND.device, torch.float32)
    before, best = torch.inf, 0
    for iteration in range(iterations):
        if iteration == min(TRIALS, len(start_RKD)):
            centroids_RKD = centroids_RKD[best][None]
        centroids_RKD, errors_R = _sweep(x_ND, total, centroids_RKD)
        best = int(errors_R.argmin())
        error = float(errors_R[best])
        if before - error <= TOLERANCE * error:
            break
        before = error
    return centroids_RKD[best].cpu().numpy()


def _sweep(
    x_ND: torch.Tensor, total: float, centroids_RKD: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One iteration of each restart: its new centroids [R, k, d], and the error [R] of those that it was given."""
    restarts, k, width = centroids_RKD.shape
    rounded_CD = centroids_RKD.reshape(-1, width).to(x_ND.dtype)
    half_C = (rounded_CD.float() ** 2).sum(1) / 2
    offsets_R = torch.arange(restarts, device=x_ND.device) * k
    sums_CD = torch.zeros(rounded_CD.shape, device=x_ND.device)
    counts_C = torch.zeros(restarts * k, dtype=torch.long, device=x_ND.device)
    scores_R = torch.zeros(restarts, device=x_ND.device)
    for block in x_ND.split(_block(restarts * k)):
        best_BR, ids_BR = (block @ rounded_CD.T).float().sub_(half_C).view(len(block), restarts, k).max(2)
        scores_R += best_BR.sum(0)
        ids_BR += offsets_R
        member_BC = x_ND.new_zeros(len(block), restarts * k).scatter_(1, ids_BR, 1)
        sums_CD += member_BC.T @ block
        counts_C += ids_BR.view(-1).bincount(minlength=restarts * k)
    means_CD = sums_CD / counts_C.clamp(min=1)[:, None]
    means_RKD, empty_RK = means_CD.view(restarts, k, width), counts_C.view(restarts, k) == 0
    for restart in torch.nonzero(empty_RK.any(1))[:, 0].tolist():
        empty_K = empty_RK[restart]
        means_RKD[restart, empty_K] = _farthest(x_ND, centroids_RKD[restart], int(empty_K.sum()))
    return means_RKD, total - 2 * scores_R


def _farthest(x_ND: torch.Tensor, centroids_KD: torch.Tensor, count: int) -> torch.Tensor:
    """float32 [count, d]: the rows that are farthest from their nearest centroid, the farthest first."""
    blocks = x_ND.split(_block(len(centroids_KD)))
    apart_N = torch.cat([torch.cdist(block.float(), centroids_KD).min(1).values for block in blocks])
    return x_ND[apart_N.topk(count).indices].float()


def _block(centroids: int) -> int:
    """Rows that are multiplied with so many centroids at a time."""
    return max(min(BLOCK, MOST_SCORES // centroids // SAMPLE_STEP * SAMPLE_STEP), SAMPLE_STEP)
