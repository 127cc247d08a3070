"""k-means of many small nodes side by side, in the Gram matrices of their rows; and k-means++ initialisation.

In the Gram matrix G = X X^T a centroid is a vector of weights w over the rows (1/n for each member), its products with
the rows are G w, and its squared length is w^T G w. With fewer rows than they are wide that is the same k-means in less
work, and a further restart costs next to nothing.
Shapes: N rows of a node, M rows of P nodes side by side, D their width, K centroids, R restarts at a time, C candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GRAM_ROWS = 768
"""Nodes of up to so many rows are small."""
TRIAL_ITERATIONS = 3
"""After so many iterations, or as many as there are restarts if these are fewer, the best restart goes on alone."""
CANDIDATES = 4
"""Rows that a step of k-means++ chooses among; scikit-learn has 2 + log k, which is 4 for k = 12."""
TOLERANCE = 1e-3
"""Lloyd's iterations end where one takes away no more than this part of the error."""


@dataclass(frozen=True)
class LazyGram:
    """The Gram matrix of many rows; each line is computed when it is read."""

    x_ND: np.ndarray

    def __len__(self) -> int:
        return len(self.x_ND)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return (self.x_ND[rows.ravel()] @ self.x_ND.T).reshape(*rows.shape, -1)

    def diagonal(self) -> np.ndarray:
        return np.einsum("nd,nd->n", self.x_ND, self.x_ND)


def scratch_floats(rows: int, k: int, restarts: int) -> int:
    """float32 that a node of so many rows needs: its Gram matrix, and its rows' products with the centroids."""
    return rows * (rows + k * restarts)


def batched_lloyd(
    nodes: list[np.ndarray], k: int, iterations: int, generators: list[np.random.Generator], restarts: int
) -> list[np.ndarray]:
    """float32 [k, d] for each node's rows [n, d]: the centroids of the restart with the least error.

    The rows of all nodes stand side by side, so each operation is one call for all nodes. That takes a few times
    `scratch_floats` for each node. All nodes go on until the last has converged.
    """
    counts = np.array([len(x_ND) for x_ND in nodes])
    begins = np.cumsum(counts) - counts
    parts = [slice(begin, begin + n) for begin, n in zip(begins, counts, strict=True)]
    # Around the node's mean: distances are the same, and float32 products of shorter vectors round less.
    centred = [x_ND - x_ND.mean(0) for x_ND in nodes]
    grams = [x_ND @ x_ND.T for x_ND in centred]
    norms_M = np.concatenate([gram_NN.diagonal() for gram_NN in grams])
    totals_P = np.add.reduceat(norms_M, begins)
    # The first centroids are rows, so their products with all rows are lines of the Gram matrix.
    drawn_PRK = kmeanspp_init(grams, k, restarts, generators)
    products_RKM = np.empty((restarts, k, len(norms_M)), np.float32)
    for part, gram_NN, drawn_RK in zip(parts, grams, drawn_PRK, strict=True):
        products_RKM[:, :, part] = gram_NN[drawn_RK]
    half_norms_RKP = norms_M[begins[:, None, None] + drawn_PRK].transpose(1, 2, 0) / 2
    previous_P = np.full(len(nodes), np.inf)
    for iteration in range(iterations):
        # |x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2): the nearest centroid has the highest score.
        scores_RKM = products_RKM - half_norms_RKP.repeat(counts, 2)
        best_RM = scores_RKM.max(1)
        member_RKM = (scores_RKM == best_RM[:, None]).astype(np.float32)
        errors_RP = totals_P - 2 * np.add.reduceat(best_RM, begins, 1, dtype=np.float64)
        sizes_RKP = np.add.reduceat(member_RKM, begins, 2)
        # An empty cluster takes the row farthest from its centroid. That row's distance becomes 0, so that the next
        # empty cluster of the node takes another.
        for restart, child, node in np.argwhere(sizes_RKP == 0):
            distances_N = norms_M[parts[node]] - 2 * best_RM[restart, parts[node]]
            row = begins[node] + distances_N.argmax()
            best_RM[restart, row] = norms_M[row] / 2
            member_RKM[restart, child, row] = sizes_RKP[restart, child, node] = 1
        member_RKM /= sizes_RKP.repeat(counts, 2)  # now weights: centroid = weights @ rows
        errors_P = errors_RP.min(0)
        is_last = iteration + 1 == iterations
        converged = is_last or (previous_P - errors_P <= TOLERANCE * errors_P).all()
        if converged or iteration + 1 == min(TRIAL_ITERATIONS, restarts):
            # Each node goes on, or ends, with its best restart alone. The axis of restarts stays, of length 1.
            best_M = errors_RP.argmin(0).repeat(counts)
            member_RKM = np.take_along_axis(member_RKM, best_M[None, None], 0)
        if converged:
            break
        previous_P = errors_P
        products_RKM = np.empty_like(member_RKM)
        for part, gram_NN in zip(parts, grams, strict=True):
            np.matmul(member_RKM[:, :, part], gram_NN, out=products_RKM[:, :, part])
        half_norms_RKP = np.add.reduceat(member_RKM * products_RKM, begins, 2) / 2
    return [member_RKM[0, :, part] @ x_ND for part, x_ND in zip(parts, nodes, strict=True)]


def kmeanspp_init(
    grams: list[np.ndarray | LazyGram], k: int, restarts: int, generators: list[np.random.Generator]
) -> np.ndarray:
    """int64 [nodes, restarts, k]: rows of each node drawn by greedy k-means++, given the rows' Gram matrices.

    Arthur and Vassilvitskii 2007, "k-means++: The Advantages of Careful Seeding", with several candidates a step:
    candidates are drawn with probability proportional to the squared distance from the nearest row drawn before, and the
    one that leaves the least sum of these distances is kept.
    """
    counts = np.array([len(gram_NN) for gram_NN in grams])
    begins = np.cumsum(counts) - counts
    norms_M = np.concatenate([gram_NN.diagonal() for gram_NN in grams])
    # All random numbers are drawn first, from each node's own generator: a node's draws depend on no other node.
    first_PR = [g.integers(n, size=restarts) for g, n in zip(generators, counts, strict=True)]
    uniform_PKRC = np.stack([g.random((k - 1, restarts, CANDIDATES)) for g in generators])
    drawn_PRK = np.empty((len(grams), restarts, k), np.int64)
    drawn_PRK[:, :, 0] = first_PR

    def squared_distances(rows_PRC: np.ndarray) -> np.ndarray:
        """float32 [R, C, M]: of all rows from the given rows of their node."""
        out_RCM = np.empty((*rows_PRC.shape[1:], len(norms_M)), np.float32)
        for begin, n, gram_NN, rows_RC in zip(begins, counts, grams, rows_PRC, strict=True):
            out_RCM[:, :, begin : begin + n] = gram_NN[rows_RC]
        out_RCM *= -2
        out_RCM += norms_M
        out_RCM += norms_M[begins[:, None, None] + rows_PRC].transpose(1, 2, 0).repeat(counts, 2)
        return np.maximum(out_RCM, 0, out=out_RCM)

    least_RM = squared_distances(drawn_PRK[:, :, :1])[:, 0]  # from the nearest row drawn so far
    for child in range(1, k):
        # Drawing by inverse transform: one cumulative sum runs over all nodes, and each node's uniform numbers are
        # mapped to its own part of it.
        cumulative_RM = least_RM.cumsum(1, dtype=np.float64)
        ends_RP = cumulative_RM[:, begins + counts - 1]
        starts_RP = np.pad(ends_RP[:, :-1], ((0, 0), (1, 0)))
        uniform_RPC = uniform_PKRC[:, child - 1].swapaxes(0, 1)
        marks_RPC = starts_RP[..., None] + (ends_RP - starts_RP)[..., None] * uniform_RPC
        places_RPC = np.stack(
            [np.searchsorted(c, marks, "right") for c, marks in zip(cumulative_RM, marks_RPC, strict=True)]
        )
        # Rounding, or a node whose rows are all drawn, may point just outside the node.
        rows_PRC = np.clip(places_RPC.swapaxes(0, 1) - begins[:, None, None], 0, counts[:, None, None] - 1)
        # Each candidate's distances, were it drawn; the candidate with the least sum is.
        least_RCM = np.minimum(least_RM[:, None], squared_distances(rows_PRC))
        best_RP = np.add.reduceat(least_RCM, begins, 2).argmin(1)
        drawn_PRK[:, :, child] = np.take_along_axis(rows_PRC, best_RP.T[..., None], 2)[..., 0]
        least_RM = np.take_along_axis(least_RCM, best_RP.repeat(counts, 1)[:, None], 1)[:, 0]
    return drawn_PRK
