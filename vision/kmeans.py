"""k-means of a node of the tree: initialisation, restarts and Lloyd's iterations, on a CPU or a GPU.

All rows have length 1 at most, which `vision.assignment.nearest` relies on. Small nodes are clustered side by side in
their Gram matrices (`vision/batched_lloyd.py`). A larger node runs its restarts on a sample, with rows and centroids in
bfloat16 where the processor multiplies it in hardware; then the best of them takes one exact step over all rows.
Shapes: N rows, S rows of a sample, B rows of a block, D their width, K centroids, R restarts at a time, C = R K.
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

from vision.assignment import BLOCK_ROWS, BLOCK_STEP, block_rows, nearest
from vision.backbones import has_fast_bf16
from vision.batched_lloyd import (
    GRAM_ROWS,
    TOLERANCE,
    TRIAL_ITERATIONS,
    LazyGram,
    batched_lloyd,
    kmeanspp_init,
    scratch_floats,
)

RESTARTS = 2
MAX_SCRATCH_FLOATS = 1 << 23
"""float32 that small nodes side by side may need. Twelve children never need more; many children in a node would."""
MIN_INIT_ROWS, INIT_ROWS_PER_CENTROID = 256, 4
"""Rows of a large node among which k-means++ draws: at least so many, and so many per centroid."""
SAMPLE_PER_CENTROID = 512
CACHED_ROWS = 256
"""Rows whose float32 stay in the cache from one operation to the next."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits PyTorch, BLAS and OpenMP to one thread, so that sums have the same order, and the same bits, on any machine."""
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
    """k-means of each node's rows, float32 [n, d]: centroids float32 [m, d], m <= k, none empty, and ids int64 [n].

    With at most k distinct rows each of them is a centroid. Else `restarts` initialisations by greedy k-means++ each take
    up to `iterations` iterations of Lloyd, and the one of least error is kept. A cluster that runs empty takes the row
    farthest from its centroid; one that is empty in the end is dropped. A node's result does not depend on the nodes
    beside it, except that small nodes in one group iterate until all of them have converged.
    """
    centroids = [distinct_rows(x_ND, k) for x_ND in nodes]
    small = [at for at, x_ND in enumerate(nodes) if centroids[at] is None and len(x_ND) <= GRAM_ROWS]
    for group in _groups(small, [scratch_floats(len(nodes[at]), k, restarts) for at in small]):
        generators = [np.random.default_rng(seeds[at]) for at in group]
        found = batched_lloyd([nodes[at] for at in group], k, iterations, generators, restarts)
        for at, centroids_KD in zip(group, found, strict=True):
            centroids[at] = centroids_KD
    for at, x_ND in enumerate(nodes):
        if centroids[at] is None:
            generator = np.random.default_rng(seeds[at])
            of_sample_KD = _lloyd_on_sample(x_ND, k, iterations, generator, gpu, restarts)
            centroids[at] = lloyd_step(x_ND, of_sample_KD)
    clusters = []
    for x_ND, centroids_KD in zip(nodes, centroids, strict=True):
        used, ids_N = np.unique(nearest(x_ND, centroids_KD), return_inverse=True)
        clusters.append((centroids_KD[used], ids_N))
    return clusters


def _groups(nodes: list[int], floats: list[int]) -> Iterator[list[int]]:
    """The nodes in groups, in order, each of which needs about `MAX_SCRATCH_FLOATS`."""
    group_N = np.cumsum(floats) // MAX_SCRATCH_FLOATS
    for _, members in groupby(zip(group_N, nodes, strict=True), key=itemgetter(0)):
        yield [node for _, node in members]


def distinct_rows(x_ND: np.ndarray, k: int) -> np.ndarray | None:
    """The distinct rows in order of appearance where there are at most k, else None."""
    first_seen: dict[bytes, int] = {}
    for row, values in enumerate(x_ND):
        first_seen.setdefault(values.tobytes(), row)
        if len(first_seen) > k:  # most nodes: seen after about k rows
            return None
    return x_ND[list(first_seen.values())]


def lloyd_step(x_ND: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    """float32 [k, d]: one iteration of Lloyd over all rows, exact to the rounding of the sums.

    A centroid that is nearest to no row becomes the row farthest from its own centroid.
    """
    ids_N = nearest(x_ND, centroids_KD)
    # float32 sums within a block, float64 across blocks: fast, and the error does not grow with the number of rows.
    sums_KD = np.zeros(centroids_KD.shape, np.float64)
    for begin in range(0, len(x_ND), BLOCK_ROWS):
        block, ids_B = x_ND[begin : begin + BLOCK_ROWS], ids_N[begin : begin + BLOCK_ROWS]
        block_sums_KD = torch.zeros(centroids_KD.shape)
        sums_KD += block_sums_KD.index_add_(0, torch.from_numpy(ids_B), torch.from_numpy(block)).numpy()
    counts_K = np.bincount(ids_N, minlength=len(centroids_KD))
    means_KD = (sums_KD / np.maximum(counts_K, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(counts_K == 0)
    if len(empty):
        distances = []
        for begin in range(0, len(x_ND), BLOCK_ROWS):
            own_BD = centroids_KD[ids_N[begin : begin + BLOCK_ROWS]]
            difference = x_ND[begin : begin + BLOCK_ROWS] - own_BD
            distances.append(np.einsum("nd,nd->n", difference, difference))
        farthest = np.argsort(-np.concatenate(distances), kind="stable")
        means_KD[empty] = x_ND[farthest[: len(empty)]]
    return means_KD


def compute_dtype(gpu: bool) -> str:
    """The arithmetic of large nodes' products: `cuda`, `bfloat16` or `float32`. It decides the last bits of centroids."""
    return "cuda" if gpu else str(_cpu_dtype()).removeprefix("torch.")


@cache
def _cpu_dtype() -> torch.dtype:
    return torch.bfloat16 if has_fast_bf16() else torch.float32


def _lloyd_on_sample(
    x_ND: np.ndarray, k: int, iterations: int, generator: np.random.Generator, gpu: bool, restarts: int
) -> np.ndarray:
    """float32 [k, d]: centroids of a sample of `SAMPLE_PER_CENTROID` rows per centroid, the best of the restarts."""
    order_N = generator.permutation(len(x_ND))
    # k-means++ among a few rows: its cost grows with their number, and the iterations after it move the centroids anyway.
    init_ND = x_ND[order_N[: max(MIN_INIT_ROWS, INIT_ROWS_PER_CENTROID * k)]]
    # Around a mean of the data, so that bfloat16's 8 bits are spent on how rows differ, not on what they share.
    mean_D = init_ND.mean(0)
    init_ND -= mean_D
    init_RKD = init_ND[kmeanspp_init([LazyGram(init_ND)], k, restarts, [generator])[0]]
    size = min(len(x_ND), k * SAMPLE_PER_CENTROID) // BLOCK_STEP * BLOCK_STEP
    sample = np.sort(order_N[:size])  # in ascending order, which reads memory forward
    sample_SD, squares = _centred_sample(x_ND, sample, mean_D, gpu)
    return _lloyd(sample_SD, squares, init_RKD, iterations) + mean_D


def _centred_sample(
    x_ND: np.ndarray, rows_S: np.ndarray, mean_D: np.ndarray, gpu: bool
) -> tuple[torch.Tensor, float]:
    """These rows less `mean_D` [s, d], in the dtype and on the device that multiply fastest; the sum of their squares."""
    dtype, device = (torch.bfloat16, "cuda") if gpu else (_cpu_dtype(), "cpu")
    out_SD = torch.empty((len(rows_S), len(mean_D)), dtype=dtype, device=device)
    squares = 0.0
    for begin in range(0, len(rows_S), CACHED_ROWS):
        block = x_ND[rows_S[begin : begin + CACHED_ROWS]] - mean_D
        squares += float(np.vdot(block, block))
        out_SD[begin : begin + CACHED_ROWS] = torch.from_numpy(block)
    return out_SD, squares


def _lloyd(x_ND: torch.Tensor, squares: float, init_RKD: np.ndarray, iterations: int) -> np.ndarray:
    """float32 [k, d]: Lloyd from R initialisations at a time. After `TRIAL_ITERATIONS` the best goes on alone.

    `squares` is the sum of the rows' squared lengths.
    """
    centroids_RKD = torch.from_numpy(init_RKD).to(x_ND.device, torch.float32)
    previous, best = torch.inf, 0
    for iteration in range(iterations):
        if iteration == min(TRIAL_ITERATIONS, len(init_RKD)):
            centroids_RKD = centroids_RKD[best][None]
        # The errors are those of the centroids given, so the centroids returned are one step better.
        centroids_RKD, errors_R = _lloyd_restarts_step(x_ND, squares, centroids_RKD)
        best = int(errors_R.argmin())
        error = float(errors_R[best])
        if previous - error <= TOLERANCE * error:
            break
        previous = error
    return centroids_RKD[best].cpu().numpy()


def _lloyd_restarts_step(
    x_ND: torch.Tensor, squares: float, centroids_RKD: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One iteration of each restart in the rows' dtype: the new centroids [R, k, d], and the errors [R] of the old ones."""
    restarts, k, width = centroids_RKD.shape
    rounded_CD = centroids_RKD.reshape(-1, width).to(x_ND.dtype)
    # Half the squared lengths of the rounded centroids, so that scores compare true distances from these.
    half_norms_C = (rounded_CD.float() ** 2).sum(1) / 2
    offsets_R = torch.arange(restarts, device=x_ND.device) * k
    sums_CD = torch.zeros(rounded_CD.shape, device=x_ND.device)
    counts_C = torch.zeros(restarts * k, dtype=torch.long, device=x_ND.device)
    best_scores_R = torch.zeros(restarts, device=x_ND.device)
    for block in x_ND.split(block_rows(restarts * k)):
        # All restarts' centroids in one product; the nearest has the highest score x.c - |c|^2 / 2.
        scores_BRK = (block @ rounded_CD.T).float().sub_(half_norms_C).view(len(block), restarts, k)
        best_BR, ids_BR = scores_BRK.max(2)
        best_scores_R += best_BR.sum(0)
        ids_BR += offsets_R
        # The sums of the members are a second product, with a 0/1 matrix: matrix products are what is fast here.
        member_BC = x_ND.new_zeros(len(block), restarts * k).scatter_(1, ids_BR, 1)
        sums_CD += member_BC.T @ block
        counts_C += ids_BR.view(-1).bincount(minlength=restarts * k)
    means_RKD = (sums_CD / counts_C.clamp(min=1)[:, None]).view(restarts, k, width)
    empty_RK = counts_C.view(restarts, k) == 0
    for restart in torch.nonzero(empty_RK.any(1))[:, 0].tolist():
        empty_K = empty_RK[restart]
        means_RKD[restart, empty_K] = _farthest(x_ND, centroids_RKD[restart], int(empty_K.sum()))
    # sum |x - c|^2 = sum |x|^2 - 2 sum (x.c - |c|^2 / 2)
    return means_RKD, squares - 2 * best_scores_R


def _farthest(x_ND: torch.Tensor, centroids_KD: torch.Tensor, count: int) -> torch.Tensor:
    """float32 [count, d]: the rows farthest from their nearest centroid, the farthest first."""
    blocks = x_ND.split(block_rows(len(centroids_KD)))
    distances_N = torch.cat([torch.cdist(block.float(), centroids_KD).min(1).values for block in blocks])
    return x_ND[distances_N.topk(count).indices].float()
