"""Owns self-attention over packed sequences: sequences of like length share a grid, so that little of it is padding.

Shapes: T tokens, S sequences, L longest sequence of a grid, H hidden, N heads, D head size, R tokens of a grid.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint.dropout import Dropout

LEAST_FILLED = 0.75
"""A grid's shortest sequence against its longest."""


@dataclasses.dataclass(frozen=True)
class LengthBucket:
    """S sequences side by side as [S, L]. ``rows_R`` are the tokens' places in S · L and ``mask_S11L`` what to add to
    scores, -inf where there is no token; both ``None`` where no sequence is shorter than L."""

    sequences: int
    longest: int
    tokens: int
    rows_R: torch.Tensor | None
    mask_S11L: torch.Tensor | None

    def attend(self, qkv_R3H: torch.Tensor, heads: int, dropout: Dropout) -> torch.Tensor:
        """Scaled dot-product attention of queries, keys and values that lie side by side; [R, H]."""
        x = qkv_R3H
        if self.rows_R is not None:
            x = x.new_zeros(self.sequences * self.longest, x.shape[1]).index_copy(0, self.rows_R, x)
        x = x.view(self.sequences, self.longest, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = x.contiguous().unbind()
        mask = None if self.mask_S11L is None else self.mask_S11L.to(q.dtype)
        if q.device.type == "cpu":
            scores_SNLL = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
            if mask is not None:
                scores_SNLL = scores_SNLL + mask
            y_SNLD = dropout(scores_SNLL.softmax(-1)) @ v
        else:
            share = dropout.p if dropout.training else 0.0
            y_SNLD = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=share)
        y = y_SNLD.transpose(1, 2).reshape(self.sequences * self.longest, -1)
        return y if self.rows_R is None else y.index_select(0, self.rows_R)


@dataclasses.dataclass(frozen=True)
class LengthBuckets:
    """The grids of a batch. ``order_T`` puts its tokens in the order of the grids, ``back_T`` back again."""

    order_T: torch.Tensor
    back_T: torch.Tensor
    grids: tuple[LengthBucket, ...]

    @classmethod
    def of(cls, batch: Batch) -> LengthBuckets:
        """One grid for each range of lengths; on a GPU, to which attention's padding is little work, one for all."""
        device = batch.lengths_S.device
        lengths_S, by_length_S = batch.lengths_S.sort(descending=True, stable=True)
        rank_T = by_length_S.argsort()[batch.sequence_T]
        order_T = rank_T.argsort(stable=True)
        rank_T, position_T = rank_T[order_T], batch.positions_T[order_T]
        lengths, grids, first, begin = lengths_S.tolist(), [], 0, 0
        for last, longest, count in _alike(lengths, LEAST_FILLED if device.type == "cpu" else 0.0):
            tokens = slice(begin, begin + count)
            rows = mask = None
            if lengths[last - 1] < longest:
                rows = (rank_T[tokens] - first) * longest + position_T[tokens]
                beyond_SL = torch.arange(longest, device=device) >= lengths_S[first:last, None]
                mask = torch.zeros(beyond_SL.shape, device=device).masked_fill_(beyond_SL, -torch.inf)
                mask = mask[:, None, None]
            grids.append(LengthBucket(last - first, longest, count, rows, mask))
            first, begin = last, begin + count
        return cls(order_T, order_T.argsort(), tuple(grids))


def _alike(lengths: list[int], least: float) -> list[tuple[int, int, int]]:
    """Falling lengths cut into runs: where each ends, its longest, and its sum."""
    runs: list[tuple[int, int, int]] = []
    for n, length in enumerate(lengths, 1):
        if runs and length >= least * runs[-1][1]:
            runs[-1] = (n, runs[-1][1], runs[-1][2] + length)
        else:
            runs.append((n, length, length))
    return runs


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017) with BERT's parameter names; dropout on the weights."""

    def __init__(self, hidden: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x_TH: torch.Tensor, grids: LengthBuckets) -> torch.Tensor:
        if torch.is_autocast_enabled(x_TH.device.type):
            x_TH = x_TH.to(torch.get_autocast_dtype(x_TH.device.type))
        qkv_T3H = torch.cat([self.query(x_TH), self.key(x_TH), self.value(x_TH)], dim=1)
        parts = qkv_T3H.split([grid.tokens for grid in grids.grids])
        found = [
            grid.attend(part, self.heads, self.dropout) for grid, part in zip(grids.grids, parts, strict=True)
        ]
        return torch.cat(found)
