"""Owns exact vector search: every vector is compared, first in half precision, then those that could be best in full.

The first pass is a bf16 matrix product (where the processor has the instructions), whose error has a bound: what
rounding the vectors, the query and the result can change. All vectors within twice that bound of the k-th best are
compared again in fp32, so the answer is that of fp32. Shapes: N vectors, Q queries, D numbers a vector.
"""

from __future__ import annotations

import numpy as np
import torch

from multimodal.training.precision import fast_bf16

ROWS, GROUP = 8192, 64
"""Vectors in one product, and how many of them are judged together by their largest score."""
QUERIES, FEW = 256, 8
LARGEST_GRID = 1 << 25
"""Scores that are held at once where each vector is judged alone."""
WHOLE_ORDER = 4
"""Where more than a quarter of the vectors is wanted, a first pass saves nothing."""
BF16_ROUNDING = 2.0**-8
FP32_ROUNDING = 2.0**-24
SLACK = 1.01
"""On the bound, for the rounding of the bound itself."""


class Exact:
    """Vectors ``full`` [N, D] float32 and, for the first pass, ``halves`` [N, D] bfloat16 or ``None`` to make them.

    ``alive`` [N] bool leaves vectors out. ``error`` is the largest length of a vector less its half, ``None`` to find it.
    """

    def __init__(
        self,
        full: np.ndarray,
        halves: torch.Tensor | None = None,
        alive: np.ndarray | None = None,
        error: float | None = None,
    ):
        self.full = torch.from_numpy(full)
        self.dead = None if alive is None or alive.all() else torch.from_numpy(~alive)
        self.living = len(full) if self.dead is None else int(alive.sum())
        self.quick = self.full
        self.error = 0.0
        if fast_bf16(torch.device("cpu")) and len(full):
            self.quick = self.full.bfloat16() if halves is None else halves
            self.error = rounding_error(full) if error is None else error
        self.output_rounding = BF16_ROUNDING if self.quick.dtype == torch.bfloat16 else 0.0

    def __len__(self) -> int:
        return len(self.full)

    def after(self, row: int) -> Exact:
        """The search over the vectors from ``row`` on; its rows begin at 0."""
        alive = None if self.dead is None else ~self.dead[row:].numpy()
        halves = self.quick[row:] if self.quick is not self.full else None
        return Exact(self.full[row:].numpy(), halves, alive, self.error)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of each query [Q, D] by inner product, best first: products float32 [Q, k] and rows int64 [Q, k].

        ``k`` is cut to what is alive. The vectors must not be longer than 1 by more than rounding.
        """
        k = min(k, self.living)
        if not k:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        q_QD = torch.from_numpy(np.ascontiguousarray(queries, np.float32))
        if k * WHOLE_ORDER > len(self.full):
            return self._all_in_full(q_QD, k)
        by_group = k * GROUP <= len(self.full) and len(q_QD) > FEW
        step = QUERIES if by_group else max(1, LARGEST_GRID // len(self.full))
        found = [
            (self._by_group if by_group else self._one_by_one)(q_QD[first : first + step], k)
            for first in range(0, len(q_QD), step)
        ]
        return np.concatenate([p for p, _ in found]), np.concatenate([r for _, r in found])

    def _scores(self, first: int, q_QD: torch.Tensor) -> torch.Tensor:
        """First-pass products [rows, Q] of the block of vectors that begins at ``first``; minus infinity for dead ones."""
        s_RQ = self.quick[first : first + ROWS] @ q_QD.to(self.quick.dtype).T
        if self.dead is not None:
            s_RQ[self.dead[first : first + ROWS]] = -torch.inf
        return s_RQ

    def _margin(self, q_QD: torch.Tensor) -> torch.Tensor:
        """Twice what a first-pass product can be wrong by, [Q], for vectors of length 1 (Cauchy and Schwarz)."""
        rounded = q_QD.to(self.quick.dtype).float()
        length, off = rounded.norm(dim=1), (q_QD - rounded).norm(dim=1)
        summed = q_QD.shape[1] * FP32_ROUNDING
        wrong = length * self.error + off + (self.output_rounding + 2 * summed) * (length + off)
        return 2 * SLACK * wrong

    def _one_by_one(self, q_QD: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Each vector judged alone: for few vectors, few queries or many wanted."""
        s_QN = torch.cat([self._scores(first, q_QD) for first in range(0, len(self.full), ROWS)]).T.float()
        least_Q = s_QN.topk(k, dim=1).values[:, -1] - self._margin(q_QD)
        query, row = (s_QN >= least_Q[:, None]).nonzero(as_tuple=True)
        return self._in_full(q_QD, k, query, row)

    def _all_in_full(self, q_QD: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Every vector in fp32 at once; equals by row."""
        s_QN = q_QD @ self.full.T
        if self.dead is not None:
            s_QN[:, self.dead] = -torch.inf
        s_QN, order_QN = s_QN.sort(dim=1, descending=True, stable=True)
        return s_QN[:, :k].numpy(), order_QN[:, :k].numpy()

    def _by_group(self, q_QD: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Groups of vectors judged by their largest: the k-th best group never outdoes the k-th best vector."""
        margin_Q = self._margin(q_QD)
        best_kQ = torch.full((k, len(q_QD)), -torch.inf)
        queries, rows, scores = [], [], []
        for first in range(0, len(self.full), ROWS):
            s_RQ = self._scores(first, q_QD)
            lacking = -len(s_RQ) % GROUP
            if lacking:
                s_RQ = torch.nn.functional.pad(s_RQ, (0, 0, 0, lacking), value=-torch.inf)
            s_GgQ = s_RQ.view(-1, GROUP, len(q_QD))
            top_GQ = s_GgQ.amax(1).float()
            best_kQ = torch.cat([best_kQ, top_GQ]).topk(k, dim=0).values
            least_Q = (best_kQ[-1] - margin_Q).clamp_min(torch.finfo(torch.float32).min)
            group, query = (top_GQ >= least_Q).nonzero(as_tuple=True)
            s_Mg = s_GgQ[group, :, query].float()
            chosen, within = (s_Mg >= least_Q[query][:, None]).nonzero(as_tuple=True)
            queries.append(query[chosen])
            rows.append(first + group[chosen] * GROUP + within)
            scores.append(s_Mg[chosen, within])
        query, row = torch.cat(queries), torch.cat(rows)
        still = torch.cat(scores) >= (best_kQ[-1] - margin_Q)[query]
        return self._in_full(q_QD, k, query[still], row[still])

    def _in_full(
        self, q_QD: torch.Tensor, k: int, query: torch.Tensor, row: torch.Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best of each query among its candidates (pairs of query and row), by fp32 products; equals by row."""
        exact = torch.cat(
            [
                (self.full[r] * q_QD[q]).sum(1)
                for q, r in zip(query.split(LARGEST_GRID >> 9), row.split(LARGEST_GRID >> 9), strict=True)
            ]
        )
        order = torch.from_numpy(np.lexsort((row.numpy(), -exact.numpy(), query.numpy())))
        first = torch.searchsorted(query[order], torch.arange(len(q_QD)))
        taken = order[first[:, None] + torch.arange(k)]
        return exact[taken].numpy(), row[taken].numpy()


def rounding_error(full: np.ndarray) -> float:
    """The largest length of a vector less its bf16 rounding: ``full`` [N, D] float32."""
    largest = 0.0
    for first in range(0, len(full), ROWS):
        x = torch.from_numpy(full[first : first + ROWS])
        largest = max(largest, float((x - x.bfloat16().float()).norm(dim=1).max()))
    return largest
