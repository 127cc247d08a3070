"""Reading left to right piece by piece: the keys and values of what was read are kept, so a new token costs one token.

Shapes: N sequences, L new tokens of each, M tokens read so far, H hidden, A heads, D head size.
"""

from __future__ import annotations

import dataclasses

import torch

from multimodal.examples.packing import Batch
from multimodal.joint.dropout import Dropout
from multimodal.joint.model import JointBert


class CachedReader:
    """A joint model that reads N sequences from left to right (:func:`multimodal.examples.orders.left_to_right`).

    It gives the states that :meth:`~multimodal.joint.model.JointBert.encode` gives under an order by position.
    """

    def __init__(self, model: JointBert):
        self.model = model
        layers = model.bert["encoder"]["layer"]
        self._key_value: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(layers)
        self._present_NM = torch.zeros(0, 0, dtype=torch.bool, device=model.device)
        self._next_N = torch.zeros(0, dtype=torch.long, device=model.device)

    def read(self, ids_NL: torch.Tensor, types_NL: torch.Tensor, lengths_N: torch.Tensor) -> torch.Tensor:
        """The states [N, H] of the last of the new tokens; a row has ``lengths_N`` of them, and padding behind."""
        count, longest = ids_NL.shape
        if not len(self._next_N):
            self._next_N = torch.zeros_like(lengths_N)
            self._present_NM = self._present_NM.new_zeros(count, 0)
        column_L = torch.arange(longest, device=ids_NL.device)
        present_NL = column_L < lengths_N[:, None]
        # Padding takes the last position; nobody sees it.
        limit = self.model.options.max_position_embeddings - 1
        positions_NL = (self._next_N[:, None] + column_L).clamp_max(limit)
        self._present_NM = torch.cat([self._present_NM, present_NL], 1)
        seen_LM = torch.ones(longest, self._present_NM.shape[1], dtype=torch.bool, device=ids_NL.device)
        seen_LM = seen_LM.tril(self._present_NM.shape[1] - longest)
        # A row of padding sees itself: a softmax over nothing would be no number.
        own_LM = torch.eye(longest, device=ids_NL.device).bool()
        own_LM = torch.nn.functional.pad(own_LM, (seen_LM.shape[1] - longest, 0))
        hidden_NLM = ~(seen_LM & self._present_NM[:, None] | own_LM)
        mask = torch.zeros(hidden_NLM.shape, device=ids_NL.device).masked_fill_(hidden_NLM, -torch.inf)

        batch = Batch(ids_NL.flatten(), types_NL.flatten(), positions_NL.flatten(), lengths_N)
        embeddings = self.model.bert["embeddings"]
        x_RH = embeddings(batch, embeddings.embedding_lookup(batch.ids_T)[0])
        for number, layer in enumerate(self.model.bert["encoder"]["layer"]):
            attended = _Attended(count, longest, mask[:, None], self._key_value[number])
            x_RH = layer(x_RH, attended)
            self._key_value[number] = attended.key_value
        self._next_N = self._next_N + lengths_N
        return x_RH.view(count, longest, -1)[torch.arange(count, device=x_RH.device), lengths_N - 1]

    def select(self, rows_N: torch.Tensor) -> None:
        """Goes on with these of the sequences; one may be taken several times."""
        self._present_NM, self._next_N = self._present_NM[rows_N], self._next_N[rows_N]
        self._key_value = [(key[rows_N], value[rows_N]) for key, value in filter(None, self._key_value)]


@dataclasses.dataclass
class _Attended:
    """The attention of a layer to what was read so far and to the new tokens; in the place of the length buckets."""

    sequences: int
    longest: int
    mask: torch.Tensor
    key_value: tuple[torch.Tensor, torch.Tensor] | None

    @property
    def buckets(self) -> tuple[_Attended]:
        return (self,)

    @property
    def tokens(self) -> int:
        return self.sequences * self.longest

    def attend(self, qkv_R3H: torch.Tensor, heads: int, dropout: Dropout) -> torch.Tensor:
        """Scaled dot-product attention; [R, H]. The keys and values [N, A, M, D] of the new tokens join those before."""
        x = qkv_R3H.view(self.sequences, self.longest, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = x.unbind()
        if self.key_value is not None:
            k, v = (torch.cat([before, new], 2) for before, new in zip(self.key_value, (k, v), strict=True))
        self.key_value = k, v
        scores_NALM = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + self.mask.to(q.dtype)
        y_NALD = dropout(scores_NALM.softmax(-1)) @ v
        return y_NALD.transpose(1, 2).reshape(self.tokens, -1)
