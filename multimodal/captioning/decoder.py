"""Owns the captioner's network: a transformer decoder over what the joint encoder makes of a moment.

Shapes: N moments, M places of a memory, L pieces of a caption, H hidden, P pieces that the captioner can write.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from multimodal.inference.cloze import TEMPLATE
from multimodal.joint.model import JointBert, Transform

SEEN, ASKED, HEARD = range(3)
"""What a place of the memory is: a clip, a blank of the template, a word that was heard."""


@dataclasses.dataclass(frozen=True)
class CaptionerOptions:
    """``layers`` of the encoder's own width. The decoder reads the encoder's outputs for the visual tokens and, as in
    VideoBERT (section 4.4), for the blanks of ``template`` (empty: without). ``features``: the clips' features too,
    projected and added. ``words``: the words heard beside the moment join the encoder's input.

    ``epochs`` passes over the corpus' own sentences, of at least ``least_steps`` and at most ``most_steps`` steps of
    ``items``; then ``reference_epochs`` over the reference captions, at ``reference_rate`` times the learning rate.
    AdamW, linear warm-up and decay as in pretraining. ``longest``: word pieces of a caption at most.
    """

    layers: int = 2
    template: str = TEMPLATE
    features: bool = False
    words: bool = False
    longest: int = 40
    dropout: float = 0.1
    smoothing: float = 0.1
    items: int = 32
    epochs: int = 30
    least_steps: int = 150
    most_steps: int = 20_000
    reference_epochs: int = 10
    reference_rate: float = 0.3
    learning_rate: float = 5e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    precision: str = "auto"
    checkpoint_seconds: float = 60.0


@dataclasses.dataclass(frozen=True)
class CaptionerShape:
    """What a stored captioner needs to be built again: ``pieces`` are the word pieces that it can write."""

    layers: int
    dropout: float
    longest: int
    feature_width: int
    pieces: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Memory:
    """What the decoder looks at: ``x_NMH`` encoder outputs, ``kind_NM`` of each place, ``there_NM`` where there is one,
    ``features_NMD`` of the clips (zero elsewhere; D is 0 without them)."""

    x_NMH: torch.Tensor
    kind_NM: torch.Tensor
    there_NM: torch.Tensor
    features_NMD: torch.Tensor

    def __len__(self) -> int:
        return len(self.x_NMH)

    def to(self, device: torch.device) -> Memory:
        return Memory(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))

    def repeated(self, times: int) -> Memory:
        """Each moment ``times`` times in a row."""
        return Memory(*(getattr(self, f.name).repeat_interleave(times, 0) for f in dataclasses.fields(self)))


class Captioner(nn.Module):
    """Writes a sentence piece by piece. Its words are the joint model's own rows, which stay as they are: tied, frozen.

    The layers start as the encoder's (self-attention, also for the look at the memory, and feed-forward; the first and
    the last where there are two), the head as its cloze head: Rothe, Narayan, Severyn 2020, "Leveraging pre-trained
    checkpoints for sequence generation".
    """

    def __init__(self, joint: JointBert, shape: CaptionerShape):
        super().__init__()
        o = joint.options
        self.shape = shape
        embeddings = joint.bert["embeddings"]
        pieces = torch.tensor(shape.pieces)
        self.register_buffer("words_PH", embeddings.word_embeddings.weight.detach()[pieces].clone(), False)
        self.register_buffer(
            "places_LH",
            (
                embeddings.position_embeddings.weight.detach()[: shape.longest + 1]
                + embeddings.token_type_embeddings.weight.detach()[0]
            ).clone(),
            False,
        )
        self.enter = nn.LayerNorm(o.hidden_size, eps=o.layer_norm_eps)
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

    def begin(self, joint: JointBert, seed: int) -> Captioner:
        """The start of training: the encoder's weights, and for what it lacks a function of ``seed``."""
        generator = torch.Generator().manual_seed(seed)
        self.kinds.weight.data.normal_(0.0, 0.02, generator=generator)
        if self.features is not None:
            self.features.weight.data.normal_(0.0, 0.02, generator=generator)
        self.enter.load_state_dict(joint.bert["embeddings"].LayerNorm.state_dict())
        encoder = joint.bert["encoder"]["layer"]
        for i, layer in zip(np.linspace(0, len(encoder) - 1, self.shape.layers), self.layers, strict=True):
            _start_layer(layer, encoder[round(i)])
        head = joint.cls["predictions"]
        self.transform.load_state_dict(head.transform.state_dict())
        self.bias_P.data = head.bias.detach()[torch.tensor(self.shape.pieces)].float().cpu().clone()
        return self

    def look(self, memory: Memory) -> torch.Tensor:
        """What the layers attend to, [N, M, H]."""
        x_NMH = memory.x_NMH.to(self.kinds.weight.dtype) + self.kinds(memory.kind_NM)
        if self.features is not None:
            x_NMH = x_NMH + self.features(memory.features_NMD.to(x_NMH.dtype))
        return x_NMH

    def forward(
        self, written_NL: torch.Tensor, look_NMH: torch.Tensor, there_NM: torch.Tensor
    ) -> torch.Tensor:
        """Logits [N, L, P] of the piece after each of ``written_NL`` (places in ``pieces``), from those before it."""
        length = written_NL.shape[1]
        x_NLH = self.dropout(self.enter(self.words_PH[written_NL] + self.places_LH[:length]))
        ahead_LL = torch.triu(torch.ones(length, length, dtype=torch.bool, device=x_NLH.device), 1)
        for layer in self.layers:
            x_NLH = layer(x_NLH, look_NMH, tgt_mask=ahead_LL, memory_key_padding_mask=~there_NM)
        return F.linear(self.transform(x_NLH), self.words_PH.to(x_NLH.dtype), self.bias_P)

    def save(self, folder: Path) -> None:
        """``model.safetensors`` and ``config.json``; the words' rows are the joint model's and not kept twice."""
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in self.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(dataclasses.asdict(self.shape)))

    def put(self, tensors: dict[str, torch.Tensor]) -> None:
        self.load_state_dict(tensors)

    @classmethod
    def load(cls, folder: Path, joint: JointBert) -> Captioner:
        shape = json.loads((folder / "config.json").read_text())
        found = cls(joint, CaptionerShape(**shape | {"pieces": tuple(shape["pieces"])}))
        found.load_state_dict(load_file(folder / "model.safetensors"))
        return found.to(joint.device).eval()


def _start_layer(layer: nn.TransformerDecoderLayer, encoder: nn.Module) -> None:
    """Copies a BERT layer into a decoder layer, its attention also into the one that looks at the memory."""
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
