"""The captioner's decoder: it writes word pieces over the states of a frozen joint encoder.

Shapes: N sequences, M places of the encoder's memory, L pieces of a text, H hidden, P pieces that can be written.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from multimodal.joint.decoder import Decoder
from multimodal.joint.layout import CONFIG, WEIGHTS
from multimodal.joint.model import JointBert

CLIP, BLANK, WORD = range(3)
"""Kinds of places in the memory: a clip, a blank of the template, a spoken word."""
FORMER_NAMES = {"enter.weight": "input_norm.weight", "enter.bias": "input_norm.bias"}
"""Tensors that captioners of version 0.1 hold under another name."""
NextLogP = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Log-probabilities [N, B, P] of the next piece: of what B beams of each of N sequences have written, int64 [N, B, L]; of the
places of the N among the sequences of the last call, and of each beam's parent among the beams of that call."""


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


class CaptionDecoder(Decoder):
    """Writes a text piece by piece. Its word rows are the joint model's own, tied and frozen.

    It begins as the encoder's layers and cloze head (:meth:`Decoder.init_from`).
    """

    def __init__(self, joint: JointBert, shape: DecoderShape):
        o = joint.options
        super().__init__(o, shape.layers, shape.dropout)
        self.shape = shape
        embeddings = joint.bert["embeddings"]
        pieces = torch.tensor(shape.pieces, device=joint.device)
        positions_LH = embeddings.position_embeddings.weight.detach()[: shape.longest + 1]
        text_type_H = embeddings.token_type_embeddings.weight.detach()[0]
        self.register_buffer("words_PH", embeddings.word_embeddings.weight.detach()[pieces].clone(), False)
        self.register_buffer("positions_LH", positions_LH + text_type_H, False)
        self.kinds = nn.Embedding(3, o.hidden_size)
        self.features = (
            nn.Linear(shape.feature_width, o.hidden_size, bias=False) if shape.feature_width else None
        )
        self.bias_P = nn.Parameter(torch.zeros(len(pieces)))

    def init_weights(self, joint: JointBert, seed: int) -> CaptionDecoder:
        """The encoder's weights, and a function of ``seed`` for what it lacks."""
        generator = torch.Generator().manual_seed(seed)
        self.kinds.weight.data.normal_(0.0, 0.02, generator=generator)
        if self.features is not None:
            self.features.weight.data.normal_(0.0, 0.02, generator=generator)
        self.init_from(joint)
        self.bias_P.data = (
            joint.cls["predictions"].bias.detach().cpu()[torch.tensor(self.shape.pieces)].float().clone()
        )
        return self

    def init_from_captioner(self, other: CaptionDecoder) -> CaptionDecoder:
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
        return self.logits(self.states(self.rows(written_NL), attended_NMH, present_NM))

    def rows(self, written_NL: torch.Tensor) -> torch.Tensor:
        """The rows [N, L, H] of written pieces at their positions."""
        return self.words_PH[written_NL] + self.positions_LH[: written_NL.shape[1]]

    def logits(self, x_H: torch.Tensor) -> torch.Tensor:
        """Logits [..., P] of the piece after a state [..., H]."""
        return F.linear(self.transform(x_H), self.words_PH.to(x_H.dtype), self.bias_P)

    def next_pieces(self, attended_NMH: torch.Tensor, present_NM: torch.Tensor) -> NextLogP:
        """What beam search asks: log-probabilities of the piece that follows, with a cache of what was read."""
        cache = self.begin(attended_NMH, present_NM)

        def next_log_p(
            written_NBL: torch.Tensor, kept_N: torch.Tensor, parent_NB: torch.Tensor
        ) -> torch.Tensor:
            if cache.length:
                cache.keep(kept_N, parent_NB)
            rows_NBH = self.words_PH[written_NBL[..., -1]] + self.positions_LH[cache.length]
            return torch.log_softmax(self.logits(self.step(rows_NBH, cache)).float(), -1)

        return next_log_p

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
    def load(cls, folder: Path, joint: JointBert) -> CaptionDecoder:
        """The decoder of a folder, ready for inference over the joint model that it was trained on."""
        decoder = cls(joint, DecoderShape.load(folder))
        decoder.read(folder)
        return decoder.to(joint.device).eval()
