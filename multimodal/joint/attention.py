"""Self-attention over packed sequences: sequences of like length share a bucket, so that little of it is padding.

One rule decides which tokens see each other (:func:`visible`). Without an order every token of a sequence sees every
other: BERT, and the fast path. An order by position is GPT's; ranks of a permutation with one query token for each
predicted position are XLNet's two streams.

Shapes: T tokens, S sequences, L longest sequence of a bucket, H hidden, N heads, D head size, R tokens of a bucket.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint.dropout import Dropout

MINIMUM_FILL = 0.75
"""The least length of a bucket's shortest sequence, as a share of its longest."""


def visible(order_SL: torch.Tensor) -> torch.Tensor:
    """Which tokens see which: [S, L, L], true where the token of the row sees that of the column.

    ``order_SL`` holds each token's rank; a query token holds the bitwise complement of its rank (so it is negative).
    A token sees those of lower rank, and of its own rank unless it is a query; nobody sees a query (XLNet, Yang et al.
    2019, section 2.3: the query stream knows the position that is predicted, not what stands there). A query of the
    lowest rank would see nothing, and its state would be no number.
    """
    query_SL = order_SL < 0
    rank_SL = torch.where(query_SL, ~order_SL, order_SL)
    row, column = rank_SL[:, :, None], rank_SL[:, None, :]
    return ((column < row) | ((column == row) & ~query_SL[:, :, None])) & ~query_SL[:, None, :]


@dataclasses.dataclass(frozen=True)
class LengthBucket:
    """S sequences side by side as [S, L]. ``rows_R`` are the tokens' places in S · L. ``mask`` is added to the attention
    scores, -inf where nothing is to be seen: [S, 1, 1, L], or [S, 1, L, L] under an order. Both are ``None`` where
    no sequence is shorter than L and all see all."""

    sequences: int
    longest: int
    tokens: int
    rows_R: torch.Tensor | None
    mask: torch.Tensor | None

    @property
    def seen_SLL(self) -> torch.Tensor:
        """Which tokens see which, true for the pairs of a row that sees a column; padding is in none."""
        shape = self.sequences, self.longest
        if self.rows_R is None:
            return torch.ones(*shape, self.longest, dtype=torch.bool)
        there_SL = torch.zeros(shape, dtype=torch.bool, device=self.rows_R.device)
        there_SL.view(-1)[self.rows_R] = True
        seen_SLL = there_SL[:, :, None] & there_SL[:, None, :]
        return seen_SLL if self.mask is None else seen_SLL & (self.mask[:, 0] == 0)

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        """Rows of tokens [R, ...] as those of the sequences side by side [S · L, ...]; 0 where there is no token."""
        if self.rows_R is None:
            return x
        return x.new_zeros(self.sequences * self.longest, x.shape[1]).index_copy(0, self.rows_R, x)

    def products(self, q_RH: torch.Tensor, k_RH: torch.Tensor, heads: int) -> torch.Tensor:
        """The scaled products of queries and keys, before the softmax, of the pairs that see each other: [P, N]."""

        shape = self.sequences, self.longest, heads, -1
        q, k = (self._padded(x).view(shape).transpose(1, 2) for x in (q_RH, k_RH))
        scores_SNLL = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return scores_SNLL.permute(0, 2, 3, 1)[self.seen_SLL.to(q.device)]

    def attend(self, qkv_R3H: torch.Tensor, heads: int, dropout: Dropout) -> torch.Tensor:
        """Scaled dot-product attention of queries, keys and values that lie side by side; [R, H]."""
        x = self._padded(qkv_R3H).view(self.sequences, self.longest, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = x.contiguous().unbind()
        mask = None if self.mask is None else self.mask.to(q.dtype)
        if q.device.type == "cpu":
            # PyTorch's fused kernel drops weights with its own, slower draw: written out, ours is used.
            scores_SNLL = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
            if mask is not None:
                scores_SNLL = scores_SNLL + mask
            y_SNLD = dropout(scores_SNLL.softmax(-1)) @ v
        else:
            p = dropout.p if dropout.training else 0.0
            y_SNLD = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        y = y_SNLD.transpose(1, 2).reshape(self.sequences * self.longest, -1)
        return y if self.rows_R is None else y.index_select(0, self.rows_R)


@dataclasses.dataclass(frozen=True)
class LengthBuckets:
    """The buckets of a batch. ``bucket_order_T`` puts its tokens into the order of the buckets, ``inverse_order_T`` back."""

    bucket_order_T: torch.Tensor
    inverse_order_T: torch.Tensor
    buckets: tuple[LengthBucket, ...]

    @classmethod
    def of(cls, batch: Batch) -> LengthBuckets:
        """One bucket for each range of lengths. A GPU, to which attention's padding is little work, has one for all."""
        device = batch.lengths_S.device
        # A token's column is its place in its sequence, not its position: a query shares that of the token it predicts.
        sequence_T, first_S = batch.sequence_T, batch.lengths_S.cumsum(0) - batch.lengths_S
        column_T = torch.arange(batch.tokens, device=device) - first_S[sequence_T]
        # Sequences by falling length; within a sequence, tokens keep their order.
        lengths_S, by_length_S = batch.lengths_S.sort(descending=True, stable=True)
        rank_T = by_length_S.argsort()[sequence_T]
        bucket_order_T = rank_T.argsort(stable=True)
        rank_T, column_T = rank_T[bucket_order_T], column_T[bucket_order_T]
        order_T = None if batch.order_T is None else batch.order_T[bucket_order_T]
        lengths, buckets, first, begin = lengths_S.tolist(), [], 0, 0
        for last, longest, count in _by_length(lengths, MINIMUM_FILL if device.type == "cpu" else 0.0):
            tokens = slice(begin, begin + count)
            rows = mask = None
            if lengths[last - 1] < longest or order_T is not None:
                rows = (rank_T[tokens] - first) * longest + column_T[tokens]
                beyond_SL = torch.arange(longest, device=device) >= lengths_S[first:last, None]
                hidden = beyond_SL[:, None, None]
                if order_T is not None:
                    order_SL = order_T.new_zeros(beyond_SL.numel()).index_copy(0, rows, order_T[tokens])
                    hidden = hidden | ~visible(order_SL.view(beyond_SL.shape))[:, None]
                    # A row of padding would see nothing, and its softmax would be no number.
                    hidden = hidden & ~beyond_SL[:, None, :, None]
                mask = torch.zeros(hidden.shape, device=device).masked_fill_(hidden, -torch.inf)
            buckets.append(LengthBucket(last - first, longest, count, rows, mask))
            first, begin = last, begin + count
        return cls(bucket_order_T, bucket_order_T.argsort(), tuple(buckets))


def _by_length(lengths: list[int], minimum_fill: float) -> list[tuple[int, int, int]]:
    """Falling lengths cut into ranges: where each ends, its longest, and its sum."""
    ranges: list[tuple[int, int, int]] = []
    for n, length in enumerate(lengths, 1):
        if ranges and length >= minimum_fill * ranges[-1][1]:
            ranges[-1] = (n, ranges[-1][1], ranges[-1][2] + length)
        else:
            ranges.append((n, length, length))
    return ranges


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017) with BERT's parameter names; dropout on the weights."""

    def __init__(self, hidden: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x_TH: torch.Tensor, buckets: LengthBuckets) -> torch.Tensor:
        """[T, H] in the order of the buckets, to the same."""
        if torch.is_autocast_enabled(x_TH.device.type):
            x_TH = x_TH.to(torch.get_autocast_dtype(x_TH.device.type))
        qkv_T3H = torch.cat([self.query(x_TH), self.key(x_TH), self.value(x_TH)], dim=1)
        parts = qkv_T3H.split([bucket.tokens for bucket in buckets.buckets])
        attended = [
            bucket.attend(part, self.heads, self.dropout)
            for bucket, part in zip(buckets.buckets, parts, strict=True)
        ]
        return torch.cat(attended)

    def attention_scores(self, x_TH: torch.Tensor, buckets: LengthBuckets) -> torch.Tensor:
        """The attention scores of all pairs of tokens that see each other [P, N], from states in the order of the buckets."""
        sizes = [bucket.tokens for bucket in buckets.buckets]
        parts = zip(buckets.buckets, self.query(x_TH).split(sizes), self.key(x_TH).split(sizes), strict=True)
        return torch.cat([bucket.products(q, k, self.heads) for bucket, q, k in parts])
