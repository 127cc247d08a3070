"""The decoder: a transformer decoder that writes word pieces over the states of the joint encoder.

Shapes: N sequences, M places of the encoder's memory, L pieces of a text, H hidden, P pieces that can be written.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from multimodal.joint.heads import Transform
from multimodal.joint.layout import CONFIG, WEIGHTS
from multimodal.joint.model import JointBert

CLIP, BLANK, WORD = range(3)
"""Kinds of places in the memory: a clip, a blank of the template, a spoken word."""
FORMER_NAMES = {"enter.weight": "input_norm.weight", "enter.bias": "input_norm.bias"}
"""Tensors that captioners of version 0.1 hold under another name."""


@dataclasses.dataclass(frozen=True)
class DecoderShape:
    """The shape of a stored decoder. ``pieces`` are the word pieces that it can write."""

    layers: int
    dropout: float
    longest: int
    feature_width: int
    pieces: tuple[int, ...]

    @classmethod
    def load(cls, folder: Path) -> DecoderShape:
        """Read from a checkpoint's ``config.json``."""
        found = json.loads((folder / CONFIG).read_text())
        return cls(**found | {"pieces": tuple(found["pieces"])})


@dataclasses.dataclass(frozen=True)
class EncoderMemory:
    """What the decoder attends to: ``x_NMH`` encoder states, ``kind_NM`` of each place, ``present_NM`` where there is one,
    ``features_NMD`` of the clips (zero elsewhere; D is 0 without them)."""

    x_NMH: torch.Tensor
    kind_NM: torch.Tensor
    present_NM: torch.Tensor
    features_NMD: torch.Tensor

    def __len__(self) -> int:
        return len(self.x_NMH)

    def to(self, device: torch.device) -> EncoderMemory:
        return EncoderMemory(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))


class Decoder(nn.Module):
    """Writes a text piece by piece. Its word rows are the joint model's own, tied and frozen.

    The layers begin as the encoder's (self-attention, also for the attention to the memory, and feed-forward; the first
    and the last where there are two), the head as its cloze head: Rothe, Narayan, Severyn 2020, "Leveraging pre-trained
    checkpoints for sequence generation".
    """

    def __init__(self, joint: JointBert, shape: DecoderShape):
        super().__init__()
        o = joint.options
        self.shape = shape
        embeddings = joint.bert["embeddings"]
        pieces = torch.tensor(shape.pieces, device=joint.device)
        positions_LH = embeddings.position_embeddings.weight.detach()[: shape.longest + 1]
        text_type_H = embeddings.token_type_embeddings.weight.detach()[0]
        self.register_buffer("words_PH", embeddings.word_embeddings.weight.detach()[pieces].clone(), False)
        self.register_buffer("positions_LH", positions_LH + text_type_H, False)
        self.input_norm = nn.LayerNorm(o.hidden_size, eps=o.layer_norm_eps)
        self.dropout = nn.Dropout(shape.dropout)
        self.kinds = nn.Embedding(3, o.hidden_size)
        self.features = (
            nn.Linear(shape.feature_width, o.hidden_size, bias=False) if shape.feature_width else None
        )
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                o.hidden_size, o.num_attention_heads, o.intermediate_size, shape.dropout, F.gelu,
                o.layer_norm_eps, batch_first=True,
            )
            for _ in range(shape.layers)
        )  # fmt: skip
        self.transform = Transform(o)
        self.bias_P = nn.Parameter(torch.zeros(len(pieces)))

    def init_weights(self, joint: JointBert, seed: int) -> Decoder:
        """The encoder's weights, and a function of ``seed`` for what it lacks."""
        generator = torch.Generator().manual_seed(seed)
        self.kinds.weight.data.normal_(0.0, 0.02, generator=generator)
        if self.features is not None:
            self.features.weight.data.normal_(0.0, 0.02, generator=generator)
        self.input_norm.load_state_dict(joint.bert["embeddings"].LayerNorm.state_dict())
        encoder = joint.bert["encoder"]["layer"]
        for i, layer in zip(np.linspace(0, len(encoder) - 1, self.shape.layers), self.layers, strict=True):
            _init_layer(layer, encoder[round(i)])
        head = joint.cls["predictions"]
        self.transform.load_state_dict(head.transform.state_dict())
        self.bias_P.data = head.bias.detach().cpu()[torch.tensor(self.shape.pieces)].float().clone()
        return self

    def init_from(self, other: Decoder) -> Decoder:
        """The weights of another decoder; pieces that it could not write keep the bias that they have here."""
        state = other.state_dict()
        state["bias_P"] = self.bias_P.data.clone()
        place = {piece: i for i, piece in enumerate(self.shape.pieces)}
        for piece, bias in zip(other.shape.pieces, other.bias_P.data, strict=True):
            if piece in place:
                state["bias_P"][place[piece]] = bias
        self.load_state_dict(state)
        return self

    def attended(self, memory: EncoderMemory) -> torch.Tensor:
        """The states that the layers attend to, [N, M, H]."""
        x_NMH = memory.x_NMH.to(self.kinds.weight.dtype) + self.kinds(memory.kind_NM)
        if self.features is not None:
            x_NMH = x_NMH + self.features(memory.features_NMD.to(x_NMH.dtype))
        return x_NMH

    def forward(
        self, written_NL: torch.Tensor, attended_NMH: torch.Tensor, present_NM: torch.Tensor
    ) -> torch.Tensor:
        """Logits [N, L, P] of the piece after each of ``written_NL`` (places in ``pieces``), from those before it."""
        length = written_NL.shape[1]
        x_NLH = self.dropout(self.input_norm(self.words_PH[written_NL] + self.positions_LH[:length]))
        later_LL = torch.triu(torch.ones(length, length, dtype=torch.bool, device=x_NLH.device), 1)
        for layer in self.layers:
            x_NLH = layer(x_NLH, attended_NMH, tgt_mask=later_LL, memory_key_padding_mask=~present_NM)
        return F.linear(self.transform(x_NLH), self.words_PH.to(x_NLH.dtype), self.bias_P)

    def write(self, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
        """``model.safetensors`` and ``config.json``; the word rows are the joint model's and not kept twice."""
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in state.items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(dataclasses.asdict(self.shape)))

    def read(self, folder: Path) -> None:
        """Puts the weights of a folder in place."""
        tensors = load_file(folder / WEIGHTS)
        self.load_state_dict({FORMER_NAMES.get(name, name): tensor for name, tensor in tensors.items()})

    @classmethod
    def load(cls, folder: Path, joint: JointBert) -> Decoder:
        """The decoder of a folder, ready for inference over the joint model that it was trained on."""
        decoder = cls(joint, DecoderShape.load(folder))
        decoder.read(folder)
        return decoder.to(joint.device).eval()


def _init_layer(layer: nn.TransformerDecoderLayer, encoder: nn.Module) -> None:
    """Copies a BERT layer into a decoder layer, its attention also into the one that attends to the memory."""
    own, after = encoder.attention["self"], encoder.attention["output"]
    for attention, norm in ((layer.self_attn, layer.norm1), (layer.multihead_attn, layer.norm2)):
        for name in ("weight", "bias"):
            packed = [getattr(part, name).detach() for part in (own.query, own.key, own.value)]
            getattr(attention, f"in_proj_{name}").data.copy_(torch.cat(packed))
        attention.out_proj.load_state_dict(after.dense.state_dict())
        norm.load_state_dict(after.LayerNorm.state_dict())
    layer.linear1.load_state_dict(encoder.intermediate["dense"].state_dict())
    layer.linear2.load_state_dict(encoder.output.dense.state_dict())
    layer.norm3.load_state_dict(encoder.output.LayerNorm.state_dict())
