"""The pre-training objective of the joint BERT: cloze, alignment and contrast over packed words and visual tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import torch
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint import layout
from multimodal.joint.generator import GeneratorReader
from multimodal.joint.model import JointBert, init_weights
from multimodal.joint.options import ModelOptions
from multimodal.joint.trimming import ClozeReader, TrimmedRows
from multimodal.joint.writer import TargetReader
from multimodal.objectives.boundary import Boundary
from multimodal.objectives.cloze import Cloze
from multimodal.objectives.contrast import Contrast
from multimodal.objectives.objective import Objective, Reading, Term
from multimodal.objectives.pairs import Neighbour, PairTask
from multimodal.objectives.replaced import GENERATOR_BIAS, ReplacedTokens, generator_of
from multimodal.objectives.weights import LossWeights
from multimodal.objectives.written import WRITER_BIAS, Written, writer_of
from multimodal.systems import System
from multimodal.terms import (
    ALIGNMENT,
    BOUNDARY,
    CONTRAST,
    NEIGHBOUR,
    NEXT_SEGMENT,
    ORDER,
    REPLACED,
    SHUFFLED,
    TEXT,
)
from multimodal.vocabulary import Vocabulary

TERMS: dict[str, Callable[[ModelOptions, Vocabulary, System], Term]] = {
    TEXT: lambda options, vocabulary, system: Written(options) if system.has_decoder else Cloze(),
    ALIGNMENT: lambda options, vocabulary, system: PairTask(ALIGNMENT),
    NEXT_SEGMENT: lambda options, vocabulary, system: PairTask(NEXT_SEGMENT),
    ORDER: lambda options, vocabulary, system: PairTask(ORDER),
    NEIGHBOUR: lambda options, vocabulary, system: Neighbour(options),
    CONTRAST: lambda options, vocabulary, system: Contrast(),
    BOUNDARY: lambda options, vocabulary, system: Boundary(options),
    SHUFFLED: lambda options, vocabulary, system: Cloze((SHUFFLED,)),
    REPLACED: lambda options, vocabulary, system: ReplacedTokens(
        options, vocabulary, Fraction(system.generator)
    ),
}
"""How each term is made for a model, the vocabulary that it is trained with and the system, by its first name, in the order in which they
are added up."""

HEADS = ("bert.pooler.", "cls.")
"""The beginnings of the names of the model's heads."""


def pretraining_terms(
    model: JointBert, vocabulary: Vocabulary, system: System, seed: int = 0, by_width: bool = False
) -> list[Term]:
    """The terms of a system for a model that is trained with this vocabulary, as they begin."""
    terms = [make(model.options, vocabulary, system) for name, make in TERMS.items() if name in system.terms]
    for term in terms:
        init_weights(term, seed, by_width=by_width)
        term.begin(model)
    return terms


def train_read_heads(model: JointBert, terms: Sequence[Term]) -> None:
    """Gradients reach those of the model's heads that the terms read. One that no term reads gets none, which processes that
    train together must know beforehand."""
    heads = {head for term in terms for head in term.heads}
    read = tuple(heads.difference(*(term.superseded_heads for term in terms)))
    for name, parameter in model.named_parameters():
        if name.startswith(HEADS):
            parameter.requires_grad_(name.startswith(read))


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
        seed: int = 0,
        by_width: bool = False,
    ):
        """``vocabulary`` is that of the stored model; ``trimmed`` says which of its rows ``model`` holds, ``None``: all.
        ``seed`` and ``by_width``: of the
        initialization of what the terms own (:func:`multimodal.joint.model.init_weights`)."""
        trained_vocabulary = trimmed.vocabulary if trimmed else vocabulary
        terms = pretraining_terms(model, trained_vocabulary, system, seed, by_width)
        train_read_heads(model, terms)
        super().__init__(model, terms, dataclasses.asdict(weights))
        self.vocabulary, self.trimmed = vocabulary, trimmed

    @property
    def layers(self) -> nn.ModuleList:
        """None where layers share parameters: FSDP shards these once, with the whole."""
        shared = self.model.options.share_layers != "none"
        return nn.ModuleList() if shared else self.model.bert["encoder"]["layer"]

    def read(self, batch: Batch) -> Reading:
        for term in self.terms.values():
            if isinstance(term, (ReplacedTokens, Written)):
                return term.read(self.model, batch)
        rows_TH, table = self.model.bert["embeddings"].embedding_lookup(batch.ids_T)
        return Reading(self.model, self.model.encode(batch, rows_TH), table)

    def save_model(self, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
        """The model folder of `transformers.BertForPreTraining` with its tokenizer."""
        options = self.model.options
        tensors = layout.export_tensors(state, options)
        layout.write_beside(folder, state, options)
        options = options.written_out
        if self.trimmed:
            tensors, options = self.trimmed.restore(tensors, options), self.trimmed.whole_options(options)
        layout.write_model(folder, tensors, options)
        self.vocabulary.write(folder)

    def export_terms(
        self, terms: dict[str, torch.Tensor], model: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What answers cloze questions later answers them about the whole vocabulary: a generator, or a writer."""
        bias = bias_of(terms)
        if not self.trimmed or bias is None:
            return terms
        shared = JointBert(self.model.options).eval()
        shared.load_state_dict(model)
        reader: ClozeReader
        if bias == WRITER_BIAS:
            reader = TargetReader(shared, writer_of(self.model.options, terms))
        else:
            reader = GeneratorReader(shared, generator_of(self.model.options, terms))
        return terms | {bias: self.trimmed.restore_bias(terms[bias], reader)}

    def import_terms(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        bias = bias_of(tensors)
        if not self.trimmed or bias is None:
            return tensors
        return tensors | {bias: self.trimmed.trim_bias(tensors[bias])}

    def load_model(self, folder: Path) -> None:
        tensors = layout.read_tensors(folder)
        tensors = self.trimmed.trim(tensors) if self.trimmed else tensors
        self.model.load_tensors(tensors | layout.read_beside(folder))


def bias_of(terms: Mapping[str, torch.Tensor]) -> str | None:
    """The name of the parameter with a number for each entry of the vocabulary among those of the terms, if there is one."""
    return next((name for name in (GENERATOR_BIAS, WRITER_BIAS) if name in terms), None)
