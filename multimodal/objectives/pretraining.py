"""The pre-training objective of the joint BERT: cloze, alignment and contrast over packed words and visual tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint import layout
from multimodal.joint.model import JointBert
from multimodal.joint.trimming import TrimmedRows
from multimodal.objectives.cloze import Cloze
from multimodal.objectives.contrast import Contrast
from multimodal.objectives.objective import Objective, Reading, Term
from multimodal.objectives.pairs import PairTask
from multimodal.objectives.weights import LossWeights
from multimodal.systems import System
from multimodal.terms import ALIGNMENT, CONTRAST, NEXT_SEGMENT, ORDER, TEXT
from multimodal.vocabulary import Vocabulary

TERMS: dict[str, Callable[[JointBert], Term]] = {
    TEXT: lambda model: Cloze(),
    ALIGNMENT: lambda model: PairTask(ALIGNMENT),
    NEXT_SEGMENT: lambda model: PairTask(NEXT_SEGMENT),
    ORDER: lambda model: PairTask(ORDER),
    CONTRAST: lambda model: Contrast(),
}
"""How each term is made for a model, by its first name, in the order in which they are added up."""


class PretrainingObjective(Objective):
    """The terms of a system (VideoBERT, section 3.3, where none is given). A checkpoint opens in `transformers`."""

    model: JointBert
    trimmed: TrimmedRows | None = None

    def __init__(
        self,
        model: JointBert,
        vocabulary: Vocabulary,
        weights: LossWeights = LossWeights(),  # noqa: B008
        trimmed: TrimmedRows | None = None,
        system: System = System(),  # noqa: B008
    ):
        """``vocabulary`` is that of the stored model; ``trimmed`` says which of its rows ``model`` holds, ``None``: all."""
        terms = [make(model) for name, make in TERMS.items() if name in system.terms]
        super().__init__(model, terms, dataclasses.asdict(weights))
        self.vocabulary, self.trimmed = vocabulary, trimmed

    @property
    def layers(self) -> nn.ModuleList:
        return self.model.bert["encoder"]["layer"]

    def read(self, batch: Batch) -> Reading:
        rows_TH, table = self.model.bert["embeddings"].embedding_lookup(batch.ids_T)
        return Reading(self.model, self.model.encode(batch, rows_TH), table)

    def save_model(self, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
        """The model folder of `transformers.BertForPreTraining` with its tokenizer."""
        options = self.model.options
        tensors = layout.export_tensors(state, options)
        if self.trimmed:
            tensors, options = self.trimmed.restore(tensors, options), self.trimmed.whole_options(options)
        layout.write_model(folder, tensors, options)
        self.vocabulary.write(folder)

    def load_model(self, folder: Path) -> None:
        tensors = layout.read_tensors(folder)
        self.model.load_tensors(self.trimmed.trim(tensors) if self.trimmed else tensors)
