"""The captioning objective: each word piece of a sentence given those before it and the states of a frozen encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.joint.caption_decoder import CaptionDecoder, EncoderMemory
from multimodal.objectives.objective import Gather, Objective, Term
from multimodal.terms import CAPTION

PAD = -100


@dataclasses.dataclass(frozen=True)
class CaptionBatch:
    """N moments: the encoder's ``memory``, the pieces ``written_NL`` before each place, and ``label_NL`` (padded by PAD)."""

    memory: EncoderMemory
    written_NL: torch.Tensor
    label_NL: torch.Tensor

    @property
    def tokens(self) -> int:
        return int((self.label_NL != PAD).sum())

    def to(self, device: torch.device) -> CaptionBatch:
        return CaptionBatch(self.memory.to(device), self.written_NL.to(device), self.label_NL.to(device))


class Caption(Term):
    """Cross entropy of each piece, with smoothed labels (Szegedy et al. 2016)."""

    names = (CAPTION,)

    def __init__(self, smoothing: float):
        super().__init__()
        self.smoothing = smoothing

    def counts(self, batch: CaptionBatch) -> list[int]:
        return [batch.tokens]

    def forward(self, reading: torch.Tensor, batch: CaptionBatch, gather: Gather) -> torch.Tensor:
        return F.cross_entropy(
            reading.float().flatten(0, 1), batch.label_NL.flatten(), ignore_index=PAD,
            label_smoothing=self.smoothing, reduction="sum",
        )[None]  # fmt: skip


class CaptioningObjective(Objective):
    """A decoder that learns to write; the encoder's states come with the batch and are not trained."""

    model: CaptionDecoder

    def __init__(self, decoder: CaptionDecoder, smoothing: float):
        super().__init__(decoder, [Caption(smoothing)], {CAPTION: 1.0})

    @property
    def layers(self) -> nn.ModuleList:
        return self.model.layers

    def read(self, batch: CaptionBatch) -> torch.Tensor:
        """Logits [N, L, P] of the next piece."""
        return self.model(batch.written_NL, self.model.attended(batch.memory), batch.memory.present_NM)

    def save_model(self, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
        self.model.write(folder, state)

    def load_model(self, folder: Path) -> None:
        self.model.read(folder)
