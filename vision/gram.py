"""k-means of small nodes of the tree, many side by side, in the Gram matrices of their rows; and where k-means starts.

With fewer rows than they are wide that is the same k-means in less work, and each further restart costs nothing to speak of.
Shapes: N rows of a node, M those of P nodes side by side, D their width, K centroids, R restarts at a time, C candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRIALS = 3
"""Iterations of all restarts, of two of them two; then the best goes on alone."""
CANDIDATES = 4
TOLERANCE = 1e-3
"""Lloyd ends where an iteration takes no more than this part of the error away."""


@dataclass(frozen=True)
class Products:
    """The Gram matrix of many rows, of which each line is worked out when it is asked for."""

    x_ND: np.ndarray

    def __len__(self) -> int:
        return len(self.x_ND)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return (self.x_ND[rows.ravel()] @ self.x_ND.T).reshape(*rows.shape, -1)

    def diagonal(self) -> np.ndarray:
        return np.einsum("nd,nd->n", self.x_ND, self.x_ND)


def by_gram(
    nodes: list[np.ndarray], k: int, iterations: int, generators: list[np.random.Generator], restarts: int
) -> list[np.ndarray]:
    """float32 [k, d] of each node: the best of the restarts, in the Gram matrices of the rows around their means.

    M rows of all nodes stand side by side, so that what is done to a node costs a call for all of them. That holds a few
    times `room` float32 for each node.
    """
    counts = np.array([len(x_ND) for x_ND in nodes])
    begins = np.cumsum(counts) - counts
    parts = [slice(begin, begin + n) for begin, n in zip(begins, counts, strict=True)]
    centred = [x_ND - x_ND.mean(0) for x_ND in nodes]
    grams = [x_ND @ x_ND.T for x_ND in centred]
    norms_M = np.concatenate([gram_NN.diagonal() for gram_NN in grams])
    totals_P = np.add.reduceat(norms_M, begins)
    drawn_PRK = spread_out(grams, k, restarts, generators)
    products_RKM = np.empty((restarts, k, len(norms_M)), np.float32)
    for part, gram_NN, drawn_RK in zip(parts, grams, drawn_PRK, strict=True):
        products_RKM[:, :, part] = gram_NN[drawn_RK]
    half_RKP = norms_M[begins[:, None, None] + drawn_PRK].transpose(1, 2, 0) / 2
    before_P = np.full(len(nodes), np.inf)
    for iteration in range(iterations):
        scores_RKM = products_RKM - half_RKP.repeat(counts, 2)
        best_RM = scores_RKM.max(1)
        member_RKM = (scores_RKM == best_RM[:, None]).astype(np.float32)
        errors_RP = totals_P - 2 * np.add.reduceat(best_RM, begins, 1, dtype=np.float64)
        sizes_RKP = np.add.reduceat(member_RKM, begins, 2)
        for restart, child, node in np.argwhere(sizes_RKP == 0):
            apart_N = norms_M[parts[node]] - 2 * best_RM[restart, parts[node]]
            row = begins[node] + apart_N.argmax()
            best_RM[restart, row] = norms_M[row] / 2
            member_RKM[restart, child, row] = sizes_RKP[restart, child, node] = 1
        member_RKM /= sizes_RKP.repeat(counts, 2)
        errors_P = errors_RP.min(0)
        settled = iteration + 1 == iterations or (before_P - errors_P <= TOLERANCE * errors_P).all()
        if settled or iteration + 1 == min(TRIALS, restarts):
            best_M = errors_RP.argmin(0).repeat(counts)
            member_RKM = np.take_along_axis(member_RKM, best_M[None, None], 0)
        if settled:
            break
        before_P = errors_P
        products_RKM = np.empty_like(member_RKM)
        for part, gram_NN in zip(parts, grams, strict=True):
            np.matmul(member_RKM[:, :, part], gram_NN, out=products_RKM[:, :, part])
        half_RKP = np.add.reduceat(member_RKM * products_RKM, begins, 2) / 2
    return [member_RKM[0, :, part] @ x_ND for part, x_ND in zip(parts, nodes, strict=True)]


def room(rows: int, k: int, restarts: int) -> int:
    """Numbers that a node of so many rows takes: its Gram matrix, and its rows' products with the centroids."""
    return rows * (rows + k * restarts)


def spread_out(
    grams: list[np.ndarray | Products], k: int, restarts: int, generators: list[np.random.Generator]
) -> np.ndarray:
    """int64 [nodes, restarts, k]: rows of each node drawn by greedy k-means++, from the products of all with each other.

    Each is the best of `CANDIDATES` drawn with probability by their squared distance to those that were drawn before.
    """
    counts = np.array([len(gram_NN) for gram_NN in grams])
    begins = np.cumsum(counts) - counts
    norms_M = np.concatenate([gram_NN.diagonal() for gram_NN in grams])
    first_PR = [g.integers(n, size=restarts) for g, n in zip(generators, counts, strict=True)]
    marks_PKRC = np.stack([g.random((k - 1, restarts, CANDIDATES)) for g in generators])
    drawn_PRK = np.empty((len(grams), restarts, k), np.int64)
    drawn_PRK[:, :, 0] = first_PR

    def apart(rows_PRC: np.ndarray) -> np.ndarray:
        out_RCM = np.empty((*rows_PRC.shape[1:], len(norms_M)), np.float32)
        for begin, n, gram_NN, rows_RC in zip(begins, counts, grams, rows_PRC, strict=True):
            out_RCM[:, :, begin : begin + n] = gram_NN[rows_RC]
        out_RCM *= -2
        out_RCM += norms_M
        out_RCM += norms_M[begins[:, None, None] + rows_PRC].transpose(1, 2, 0).repeat(counts, 2)
        return np.maximum(out_RCM, 0, out=out_RCM)

    left_RM = apart(drawn_PRK[:, :, :1])[:, 0]
    for child in range(1, k):
        shares_RM = left_RM.cumsum(1, dtype=np.float64)
        ends_RP = shares_RM[:, begins + counts - 1]
        starts_RP = np.pad(ends_RP[:, :-1], ((0, 0), (1, 0)))
        marks_RPC = starts_RP[..., None] + (ends_RP - starts_RP)[..., None] * marks_PKRC[
            :, child - 1
        ].swapaxes(0, 1)
        rows_RPC = np.stack(
            [np.searchsorted(s, m, "right") for s, m in zip(shares_RM, marks_RPC, strict=True)]
        )
        rows_PRC = np.clip(rows_RPC.swapaxes(0, 1) - begins[:, None, None], 0, counts[:, None, None] - 1)
        left_RCM = np.minimum(left_RM[:, None], apart(rows_PRC))
        best_RP = np.add.reduceat(left_RCM, begins, 2).argmin(1)
        drawn_PRK[:, :, child] = np.take_along_axis(rows_PRC, best_RP.T[..., None], 2)[..., 0]
        left_RM = np.take_along_axis(left_RCM, best_RP.repeat(counts, 1)[:, None], 1)[:, 0]
    return drawn_PRK
