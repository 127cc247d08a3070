"""k-means in one node of the tree: where it starts, Lloyd's iterations, and which centroid is nearest, exactly.

All rows have length 1 at most (`vision/tree.py` scales them), which is what the bound of rounding in `nearest`
rests on. Shapes: N rows, D their width, K centroids, R restarts at a time.

A node of up to `GRAM_ROWS` rows is worked out in its Gram matrix: with N < D that is the same k-means in less work, and
each further restart costs nothing to speak of. A larger one takes its restarts on a sample, with rows and
centroids rounded to bfloat16 around their mean where the CPU (or the GPU) multiplies it in hardware; then the best of them
goes once over all rows, exactly. The ids are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from vision.backbones import has_fast_bf16

RESTARTS = 2
TRIALS = 3
"""Iterations of all restarts, of two of them two; then the best goes on alone."""
CANDIDATES = 4
GRAM_ROWS = 768
SEED_ROWS = 256
"""Rows of a large node that its restarts are drawn from."""
SAMPLE_PER_CENTROID = 512
TOLERANCE = 5e-3
BLOCK = 1024
SMALL_BLOCK = 256
"""Rows whose float32 stay in the cache from one operation to the next."""
ROUNDING = 2.0**-24
UNDERFLOW = 2.0**-125
TINY = 1e-300


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
    x_ND: np.ndarray, k: int, iterations: int, seed: int, gpu: bool = False, restarts: int = RESTARTS
) -> tuple[np.ndarray, np.ndarray]:
    """k-means of float32 [n, d]: centroids float32 [m, d] with m <= k, all of them with points, and ids int64 [n].

    With at most k distinct rows each is a centroid. Else ``restarts`` draws by greedy k-means++ (Arthur and
    Vassilvitskii 2007; scikit-learn's `CANDIDATES` a step) each go up to `iterations` ways of Lloyd, and the one of least
    error is kept. A cluster that runs empty takes the row farthest from its centroid; one empty in the end is dropped.
    """
    centroids = few_distinct(x_ND, k)
    if centroids is None:
        generator = np.random.default_rng(seed)
        if len(x_ND) <= GRAM_ROWS:
            centroids = _by_gram(x_ND, k, iterations, generator, restarts)
        else:
            centroids = iterate(x_ND, _by_sample(x_ND, k, iterations, generator, gpu, restarts))
    live, ids_N = np.unique(nearest(x_ND, centroids), return_inverse=True)
    return centroids[live], ids_N


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
    ids_N = np.empty(len(x_ND), np.int64)
    for begin in range(0, len(x_ND), BLOCK):
        block = x_ND[begin : begin + BLOCK]
        scores_BK = block @ around_KD.T
        scores_BK -= offsets_K
        ids_B = scores_BK.argmax(1)
        near_BK = scores_BK >= (scores_BK.max(1) - bound)[:, None]
        doubtful = np.flatnonzero(np.count_nonzero(near_BK, 1) > 1)
        if len(doubtful):
            rows, candidates = np.nonzero(near_BK[doubtful])
            apart_BK = np.full((len(doubtful), len(centroids_KD)), np.inf)
            difference = block[doubtful[rows]].astype(np.float64) - exact_KD[candidates]
            apart_BK[rows, candidates] = (difference**2).sum(1)
            ids_B[doubtful] = apart_BK.argmin(1)
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


def _by_gram(
    x_ND: np.ndarray, k: int, iterations: int, generator: np.random.Generator, restarts: int
) -> np.ndarray:
    """float32 [k, d]: as `_fast`, all of it in the Gram matrix of the rows around their mean."""
    centred_ND = x_ND - x_ND.mean(0)
    gram_NN = centred_ND @ centred_ND.T
    norms_N = gram_NN.diagonal().copy()
    drawn_RK, every_N, total = (
        spread_out(gram_NN, k, restarts, generator),
        np.arange(len(x_ND))[:, None],
        norms_N.sum(),
    )
    products_NC, half_C = gram_NN[:, drawn_RK.ravel()], norms_N[drawn_RK.ravel()] / 2
    before, best = np.inf, 0
    for iteration in range(iterations):
        if iteration == min(TRIALS, restarts):
            products_NC, half_C = products_NC[:, best : best + k], half_C[best : best + k]
        scores_NC = products_NC - half_C
        ids_NR = scores_NC.reshape(len(x_ND), -1, k).argmax(2) + np.arange(0, scores_NC.shape[1], k)
        best_NR = scores_NC[every_N, ids_NR]
        errors_R = total - 2 * best_NR.sum(0)
        best = int(errors_R.argmin()) * k
        member_NC = np.zeros_like(scores_NC)
        member_NC[every_N, ids_NR] = 1
        counts_C = member_NC.sum(0)
        for empty in np.flatnonzero(counts_C == 0):
            apart_N = norms_N - 2 * best_NR[:, empty // k]
            row = int(apart_N.argmax())
            best_NR[row, empty // k] = norms_N[row] / 2
            member_NC[row, empty], counts_C[empty] = 1, 1
        member_NC /= counts_C
        if before - errors_R.min() <= TOLERANCE * errors_R.min():
            break
        before = errors_R.min()
        products_NC = gram_NN @ member_NC
        half_C = np.einsum("nc,nc->c", member_NC, products_NC) / 2
    return member_NC[:, best : best + k].T @ x_ND


def spread_out(gram_NN: np.ndarray, k: int, restarts: int, generator: np.random.Generator) -> np.ndarray:
    """int64 [restarts, k]: rows drawn by greedy k-means++, from the products of all rows with each other.

    Each is the best of `CANDIDATES` drawn with probability by their squared distance to those that were drawn before.
    """
    norms_N, n = gram_NN.diagonal(), len(gram_NN)
    drawn_RK = np.empty((restarts, k), np.int64)
    drawn_RK[:, 0] = generator.integers(n, size=restarts)
    each_R = np.arange(restarts)

    def apart(rows: np.ndarray) -> np.ndarray:
        return np.maximum(norms_N[rows][..., None] + norms_N - 2 * gram_NN[rows], 0)

    apart_RN = apart(drawn_RK[:, 0])
    for child in range(1, k):
        shares_RN = apart_RN.cumsum(1, dtype=np.float64)
        shares_RN /= np.maximum(shares_RN[:, -1:], TINY)
        shares_RN += each_R[:, None]
        marks_RC = generator.random((restarts, CANDIDATES)) + each_R[:, None]
        rows_RC = np.searchsorted(shares_RN.ravel(), marks_RC, side="right") - n * each_R[:, None]
        rows_RC = np.minimum(rows_RC, n - 1)
        left_RCN = np.minimum(apart_RN[:, None], apart(rows_RC))
        best_R = left_RCN.sum(2).argmin(1)
        drawn_RK[:, child] = rows_RC[each_R, best_R]
        apart_RN = left_RCN[each_R, best_R]
    return drawn_RK


def _by_sample(
    x_ND: np.ndarray, k: int, iterations: int, generator: np.random.Generator, gpu: bool, restarts: int
) -> np.ndarray:
    """float32 [k, d]: the best of the restarts over a sample of `SAMPLE_PER_CENTROID` rows a centroid."""
    order_N = generator.permutation(len(x_ND))
    size = k * SAMPLE_PER_CENTROID
    sample_SD = x_ND if len(x_ND) <= size else x_ND[np.sort(order_N[:size])]
    mean_D = sample_SD.mean(0)
    seeds_ND = x_ND[order_N[:SEED_ROWS]] - mean_D
    start_RKD = seeds_ND[spread_out(seeds_ND @ seeds_ND.T, k, restarts, generator)]
    rows_SD, total = _rounded(sample_SD, mean_D, gpu)
    return _fast(rows_SD, total, start_RKD, iterations) + mean_D


def _rounded(x_ND: np.ndarray, mean_D: np.ndarray, gpu: bool) -> tuple[torch.Tensor, float]:
    """The rows less ``mean_D``, in the precision and on the device that multiply them fastest; the sum of their squares."""
    out_ND = torch.empty(
        x_ND.shape, dtype=torch.bfloat16 if gpu else _fast_kind(), device="cuda" if gpu else "cpu"
    )
    total = 0.0
    for begin in range(0, len(x_ND), SMALL_BLOCK):
        block = x_ND[begin : begin + SMALL_BLOCK] - mean_D
        total += float(np.vdot(block, block))
        out_ND[begin : begin + SMALL_BLOCK] = torch.from_numpy(block)
    return out_ND, total


@cache
def _fast_kind() -> torch.dtype:
    return torch.bfloat16 if has_fast_bf16() else torch.float32


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
    for block in x_ND.split(BLOCK):
        best_BR, ids_BR = (block @ rounded_CD.T).float().sub_(half_C).view(len(block), restarts, k).max(2)
        scores_R += best_BR.sum(0)
        ids_BR += offsets_R
        member_BC = x_ND.new_zeros(len(block), restarts * k).scatter_(1, ids_BR, 1)
        sums_CD += member_BC.T @ block
        counts_C += ids_BR.view(-1).bincount(minlength=restarts * k)
    means_CD = sums_CD / counts_C.clamp(min=1)[:, None]
    for empty in torch.nonzero(counts_C == 0)[:, 0].tolist():
        means_CD[empty] = _farthest(x_ND, centroids_RKD[empty // k])
    return means_CD.view(restarts, k, width), total - 2 * scores_R


def _farthest(x_ND: torch.Tensor, centroids_KD: torch.Tensor) -> torch.Tensor:
    """float32 [d]: the row that is farthest from its nearest centroid."""
    parts = [torch.cdist(block.float(), centroids_KD).min(1).values for block in x_ND.split(BLOCK)]
    return x_ND[int(torch.cat(parts).argmax())].float()
