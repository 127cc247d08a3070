"""The decoder: the one network that writes, for the captioner and for the systems that are encoder and decoder.

A layer of `transformers.BertLMHeadModel` with cross-attention: attention to what is written, attention to the encoder's states,
the feed-forward part, each with a residual and LayerNorm after it. It knows no vocabulary: rows come in, states go out.
Shapes: N sequences, B beams of each, L pieces written, S pieces kept of all beams, M places of the encoder's memory, H hidden,
A heads, D head size.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from multimodal.joint.heads import Transform
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions

ROOM = 64
"""Pieces of all beams for which a cache has room at first, and by which it grows."""


class Decoder(nn.Module):
    """``layers`` layers of the shape of ``options``. ``transform`` makes a state what is compared with the rows of pieces."""

    def __init__(self, options: ModelOptions, layers: int, dropout: float):
        super().__init__()
        o = options
        self.input_norm = nn.LayerNorm(o.hidden_size, eps=o.layer_norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            DecoderLayer(
                o.hidden_size, o.num_attention_heads, o.intermediate_size, dropout, F.gelu, o.layer_norm_eps, batch_first=True
            )
            for _ in range(layers)
        )  # fmt: skip
        self.transform = Transform(o)

    def init_from(self, joint: JointBert) -> None:
        """The encoder's weights: self-attention, also for the attention to the memory, and feed-forward of layers from the first
        to the last, and the cloze head's transform (Rothe, Narayan, Severyn 2020, "Leveraging pre-trained checkpoints for
        sequence generation")."""
        self.input_norm.load_state_dict(joint.bert["embeddings"].LayerNorm.state_dict())
        encoder = joint.bert["encoder"]["layer"]
        for i, layer in zip(np.linspace(0, len(encoder) - 1, len(self.layers)), self.layers, strict=True):
            layer.init_from(encoder[round(i)])
        self.transform.load_state_dict(joint.cls["predictions"].transform.state_dict())

    def states(
        self, rows_NLH: torch.Tensor, attended_NMH: torch.Tensor, present_NM: torch.Tensor
    ) -> torch.Tensor:
        """The states [N, L, H] after each written piece, from the ``rows`` (embedding and position) of it and those before."""
        length = rows_NLH.shape[1]
        x_NLH = self.dropout(self.input_norm(rows_NLH))
        later_LL = torch.triu(torch.ones(length, length, dtype=torch.bool, device=x_NLH.device), 1)
        for layer in self.layers:
            x_NLH = layer(x_NLH, attended_NMH, tgt_mask=later_LL, memory_key_padding_mask=~present_NM)
        return x_NLH

    def attention(
        self, rows_NLH: torch.Tensor, attended_NMH: torch.Tensor, present_NM: torch.Tensor
    ) -> torch.Tensor:
        """The share of its attention to the memory that each written piece pays to each place [N, L, M], the mean over heads and
        layers, as :meth:`states` reads them."""
        weights: list[torch.Tensor] = []

        def keep(attention: nn.MultiheadAttention, given: tuple, options: dict) -> None:
            weights.append(attention.forward(*given, **options | {"need_weights": True})[1])

        hooks = [
            layer.multihead_attn.register_forward_pre_hook(keep, with_kwargs=True) for layer in self.layers
        ]
        try:
            self.states(rows_NLH, attended_NMH, present_NM)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(weights).mean(0)

    def begin(self, attended_NMH: torch.Tensor, present_NM: torch.Tensor) -> Cache:
        """The keys and values of a memory, worked out once."""
        mask = torch.zeros(present_NM.shape, device=present_NM.device).masked_fill_(~present_NM, -torch.inf)
        memory = tuple(layer.memory(attended_NMH) for layer in self.layers)
        before = mask.new_zeros(len(mask), 1, 0)
        return Cache(memory, mask[:, None, None], tuple([] for _ in self.layers), before)

    def step(self, rows_NBH: torch.Tensor, cache: Cache) -> torch.Tensor:
        """The state [N, B, H] after one more piece of each beam: that of :meth:`states`, without reading again what was read."""
        x_NBH = self.input_norm(rows_NBH)
        cache.begin_piece(x_NBH.shape[1])
        for n, layer in enumerate(self.layers):
            x_NBH = layer.step(x_NBH, cache, n)
        cache.length += 1
        return x_NBH


@dataclasses.dataclass
class Cache:
    """What a decoder keeps between two pieces: keys and values. The B beams of a sequence share them.

    ``memory``: of each layer, keys and values [N, A, M, D]; ``mask`` [N, 1, 1, M] is added to their scores. ``written``: of each
    layer, keys and values [N, A, room, D] of the pieces of all beams, of which the first S are there; ``own`` [N, B, S] is added
    to their scores: 0 for the pieces of a beam, -inf for those of others. A beam that goes on from another moves no key.
    ``length``: the pieces of each beam.
    """

    memory: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    mask: torch.Tensor
    written: tuple[list[torch.Tensor], ...]
    own: torch.Tensor
    length: int = 0

    def keep(self, kept_N: torch.Tensor, parent_NB: torch.Tensor) -> None:
        """The sequences ``kept_N`` alone, with the beams that each goes on with."""
        if len(kept_N) != len(self.mask):
            self.memory = tuple(tuple(part[kept_N] for part in layer) for layer in self.memory)
            self.mask = self.mask[kept_N]
            for layer in self.written:
                layer[:] = [part[kept_N] for part in layer]
        self.own = self.own[kept_N[:, None], parent_NB]

    def begin_piece(self, beams: int) -> None:
        """One piece more of each of ``beams`` beams, which no other beam has."""
        new_BB = self.own.new_full((beams, beams), -torch.inf).fill_diagonal_(0.0)
        self.own = torch.cat([self.own, new_BB.expand(len(self.own), -1, -1)], -1)

    def add(self, number: int, new: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
        """The keys and values [N, A, S, D] of layer ``number``, with the ``new`` ones [N, A, B, D] behind."""
        written, end = self.written[number], self.own.shape[-1]
        if not written:
            written += [part.new_empty(*part.shape[:2], 0, part.shape[3]) for part in new]
        if end > written[0].shape[2]:
            written[:] = [F.pad(part, (0, 0, 0, max(ROOM, end - part.shape[2]))) for part in written]
        for kept, part in zip(written, new, strict=True):
            kept[:, :, end - part.shape[2] : end] = part
        return [kept[:, :, :end] for kept in written]


class DecoderLayer(nn.TransformerDecoderLayer):
    """The layer of `torch`, which also writes one piece at a time."""

    def init_from(self, encoder: nn.Module) -> None:
        """The weights of a BERT layer, its attention also for the attention to the memory."""
        own, after = encoder.attention["self"], encoder.attention["output"]
        for attention, norm in ((self.self_attn, self.norm1), (self.multihead_attn, self.norm2)):
            for name in ("weight", "bias"):
                packed = [getattr(part, name).detach() for part in (own.query, own.key, own.value)]
                getattr(attention, f"in_proj_{name}").data.copy_(torch.cat(packed))
            attention.out_proj.load_state_dict(after.dense.state_dict())
            norm.load_state_dict(after.LayerNorm.state_dict())
        self.linear1.load_state_dict(encoder.intermediate["dense"].state_dict())
        self.linear2.load_state_dict(encoder.output.dense.state_dict())
        self.norm3.load_state_dict(encoder.output.LayerNorm.state_dict())

    def memory(self, attended_NMH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values [N, A, M, D] of what is attended to."""
        attention, width = self.multihead_attn, attended_NMH.shape[-1]
        both = F.linear(attended_NMH, attention.in_proj_weight[width:], attention.in_proj_bias[width:])
        key, value = both.unflatten(-1, (2, attention.num_heads, -1)).unbind(2)
        return key.transpose(1, 2).contiguous(), value.transpose(1, 2).contiguous()

    def step(self, x_NBH: torch.Tensor, cache: Cache, number: int) -> torch.Tensor:
        """One piece more of each beam; what later ones need of it goes into the ``cache`` of layer ``number``."""
        own, width = self.self_attn, x_NBH.shape[-1]
        qkv = F.linear(x_NBH, own.in_proj_weight, own.in_proj_bias)
        query, key, value = qkv.unflatten(-1, (3, own.num_heads, -1)).permute(2, 0, 3, 1, 4)
        keys, values = cache.add(number, (key, value))
        y = F.scaled_dot_product_attention(query, keys, values, cache.own[:, None]).transpose(1, 2)
        x_NBH = self.norm1(x_NBH + own.out_proj(y.reshape(x_NBH.shape)))
        # All beams of a sequence ask the same memory, as the pieces of one text would.
        other = self.multihead_attn
        query = F.linear(x_NBH, other.in_proj_weight[:width], other.in_proj_bias[:width])
        query = query.unflatten(-1, (other.num_heads, -1)).transpose(1, 2)
        y = F.scaled_dot_product_attention(query, *cache.memory[number], cache.mask).transpose(1, 2)
        x_NBH = self.norm2(x_NBH + other.out_proj(y.reshape(x_NBH.shape)))
        return self.norm3(x_NBH + self.linear2(F.gelu(self.linear1(x_NBH))))
