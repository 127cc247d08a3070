"""The objective of a head on a bidirectional LSTM: the logits of a fine-tuned teacher, learned by their squared distance.

Shapes: T tokens, M asked positions, K different targets, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint.bilstm import BiLstm
from multimodal.objectives.objective import Gather, Objective, Reading, Term, predictions
from multimodal.terms import LABEL, LOGITS

NETWORK = "lstm.safetensors"


class TaughtLogits(Term):
    """A hidden layer (ReLU) and a dense one on states of the LSTM (Tang et al. 2019, section 3.2), and the squared distance of
    their logits from the teacher's, the mean over the classes (equation 3). The label that a batch asks for is a row of
    ``teacher_KC``."""

    names = (LOGITS,)
    asked = LABEL

    def __init__(self, width: int, teacher_KC: torch.Tensor):
        super().__init__()
        self.hidden, self.classifier = nn.Linear(width, width), nn.Linear(width, teacher_KC.shape[1])
        self.register_buffer("teacher_KC", teacher_KC.float(), persistent=False)

    def counts(self, batch: Batch) -> list[int]:
        return [len(predictions(batch, LABEL))]

    def logits(self, reading: Reading, position_M: torch.Tensor) -> torch.Tensor:
        """float32 [M, C] at these positions."""
        x_MW = torch.relu(self.hidden(reading.x_TH.index_select(0, position_M)))
        return self.classifier(x_MW).float()

    def forward(self, reading: Reading, batch: Batch, gather: Gather) -> torch.Tensor:
        position_M, row_M = predictions(batch, LABEL).unbind(1)
        distance_MC = self.logits(reading, position_M) - self.teacher_KC[row_M]
        return distance_MC.square().mean(1).sum()[None]


class LstmObjective(Objective):
    """A BiLSTM and its head; the files are the LSTM's weights and the head's."""

    model: BiLstm

    def __init__(self, model: BiLstm, head: TaughtLogits):
        super().__init__(model, [head], {LOGITS: 1.0})

    @property
    def head(self) -> TaughtLogits:
        return next(iter(self.terms.values()))

    @property
    def layers(self) -> nn.ModuleList:
        return nn.ModuleList()

    def read(self, batch: Batch) -> Reading:
        x_TW = self.model.encode(batch)
        return Reading(self.model, x_TW, x_TW[:0])

    def save_model(self, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
        save_file({name: t.detach().cpu().contiguous() for name, t in state.items()}, folder / NETWORK)

    def load_model(self, folder: Path) -> None:
        self.model.load_state_dict(load_file(folder / NETWORK))
