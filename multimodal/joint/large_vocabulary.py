"""Large vocabulary: lookup, tied logits and cross entropy over the whole table, a block of rows at a time.

Blocks stay in a core's cache, and nothing as large as the table is made but its gradient.
Shapes: T tokens, M predicted positions, V vocabulary, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

BLOCK_VALUES = {"cpu": 1 << 20, "cuda": 1 << 27}
FEW_STATES, LARGE_TABLE = range(2, 65), 4 << 20
"""Numbers of states for which, and values of a table on a CPU from which, the product is made the other way round: MKL reads
the table once for it, and several times for ``states @ table.T``."""

Columns = slice | torch.Tensor
"""A part of the vocabulary: a range, or ascending ids [C]."""
ALL = slice(None)


def of_two_tables(columns: Columns, first: int, both: int) -> tuple[Columns, Columns]:
    """The columns of each of two tables side by side, of ``first`` rows and of ``both`` together."""
    if columns is ALL:
        return ALL, ALL
    if isinstance(columns, torch.Tensor):
        return columns[columns < first], columns[columns >= first] - first
    begin, end, _ = columns.indices(both)
    return slice(min(begin, first), min(end, first)), slice(max(begin - first, 0), max(end - first, 0))


def rows_of(table_VH: torch.Tensor, columns: Columns) -> torch.Tensor:
    """The table itself for all columns: a view of it would have a gradient of its own, which is copied."""
    return table_VH if columns is ALL else table_VH[columns]


class EmbeddingLookup(torch.autograd.Function):
    """``table_VH[ids_T]``, and the table for :class:`TiedLogits`: the gradient of the rows is added in place to that of the logits."""

    @staticmethod
    def forward(
        context: Any, table_VH: torch.Tensor, ids_T: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        context.save_for_backward(ids_T)
        return table_VH[ids_T], table_VH.view_as(table_VH)

    @staticmethod
    def backward(context: Any, rows_TH: torch.Tensor, table_VH: torch.Tensor) -> tuple[torch.Tensor, None]:
        (ids_T,) = context.saved_tensors
        return table_VH.index_add_(0, ids_T, rows_TH), None


class TiedLogits(torch.autograd.Function):
    """`F.linear(x_MH, table_VH, bias_V)` in the type of ``x_MH``; the gradients of table and bias have their own types."""

    @staticmethod
    def forward(
        context: Any, x_MH: torch.Tensor, table_VH: torch.Tensor, bias_V: torch.Tensor
    ) -> torch.Tensor:
        logits_MV = x_MH.new_empty(len(x_MH), len(table_VH))
        _logits(x_MH, table_VH, bias_V, logits_MV)
        context.save_for_backward(x_MH, table_VH, bias_V)
        return logits_MV

    @staticmethod
    def backward(context: Any, gradient_MV: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _gradients(*context.saved_tensors, gradient_MV, context.needs_input_grad)


class TiedLogitsOfTwo(torch.autograd.Function):
    """The logits of two tables side by side, each with states of its own: as those of :class:`TiedLogits`, put together."""

    @staticmethod
    def forward(context: Any, *given: torch.Tensor) -> torch.Tensor:
        """``given``: states, table and bias of the one, then of the other."""
        one, other = given[:3], given[3:]
        columns = len(one[1])
        logits_MV = one[0].new_empty(len(one[0]), columns + len(other[1]))
        _logits(*one, logits_MV[:, :columns])
        _logits(*other, logits_MV[:, columns:])
        context.save_for_backward(*given)
        return logits_MV

    @staticmethod
    def backward(context: Any, gradient_MV: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        given, wanted = context.saved_tensors, context.needs_input_grad
        columns = len(given[1])
        return (
            *_gradients(*given[:3], gradient_MV[:, :columns], wanted[:3]),
            *_gradients(*given[3:], gradient_MV[:, columns:], wanted[3:]),
        )


def _logits(
    x_MH: torch.Tensor, table_VH: torch.Tensor, bias_V: torch.Tensor, logits_MV: torch.Tensor
) -> None:
    """Puts the products and biases into ``logits_MV``."""
    turned = table_VH.device.type == "cpu" and len(x_MH) in FEW_STATES and table_VH.numel() >= LARGE_TABLE
    for rows in _blocks(table_VH):
        part_CH = table_VH[rows].to(x_MH.dtype)
        if turned:
            logits_MV[:, rows] = torch.mm(part_CH, x_MH.T).T
        else:
            torch.mm(x_MH, part_CH.T, out=logits_MV[:, rows])
        logits_MV[:, rows] += bias_V[rows]


def _gradients(
    x_MH: torch.Tensor,
    table_VH: torch.Tensor,
    bias_V: torch.Tensor,
    gradient_MV: torch.Tensor,
    wanted: Sequence[bool],
) -> tuple[torch.Tensor | None, ...]:
    """The gradients of states, table and bias, of those that are ``wanted``."""
    for_x, for_table, for_bias = wanted
    x_gradient = torch.zeros_like(x_MH, dtype=torch.float32) if for_x else None
    table_gradient = torch.empty_like(table_VH) if for_table else None
    bias_gradient = torch.empty_like(bias_V) if for_bias else None
    for rows in _blocks(table_VH):
        part = gradient_MV[:, rows]
        if for_x:
            x_gradient += part @ table_VH[rows].to(x_MH.dtype)
        if for_table and part.dtype == table_VH.dtype:
            torch.mm(part.T, x_MH, out=table_gradient[rows])
        elif for_table:
            table_gradient[rows] = part.T @ x_MH
        if for_bias:
            bias_gradient[rows] = part.sum(0, dtype=bias_V.dtype)
    return x_gradient.to(x_MH.dtype) if for_x else None, table_gradient, bias_gradient


class CrossEntropy(torch.autograd.Function):
    """`F.cross_entropy(logits_MV.float(), labels_M, reduction="none")`, [M] in float32; the gradient has the logits' type."""

    @staticmethod
    def forward(context: Any, logits_MV: torch.Tensor, labels_M: torch.Tensor) -> torch.Tensor:
        found_M = torch.empty(len(labels_M), device=logits_MV.device)
        for rows in _blocks(logits_MV):
            found_M[rows] = F.cross_entropy(logits_MV[rows].float(), labels_M[rows], reduction="none")
        context.save_for_backward(logits_MV, labels_M, found_M)
        return found_M

    @staticmethod
    def backward(context: Any, gradient_M: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits_MV, labels_M, found_M = context.saved_tensors
        gradient_MV = torch.empty_like(logits_MV)
        for rows in _blocks(logits_MV):
            labels, gradient = labels_M[rows, None], gradient_M[rows, None]
            part = logits_MV[rows].float()
            log_sum = part.gather(1, labels) + found_M[rows, None]
            part.sub_(log_sum).exp_().mul_(gradient).scatter_add_(1, labels, -gradient)
            gradient_MV[rows] = part
        return gradient_MV, None


def _blocks(rows: torch.Tensor) -> list[slice]:
    step = max(1, BLOCK_VALUES[rows.device.type] // rows.shape[1])
    return [slice(first, first + step) for first in range(0, len(rows), step)]
