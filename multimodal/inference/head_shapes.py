"""Shapes of heads: what a head is asked, on which network it stands, and how it is made again from its card."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from multimodal.examples.moments import moment_sequence, summary_position
from multimodal.examples.options import DOCUMENT, LAST, MIX, PAIR, SCORE, SPAN, STRIDE, TOKEN, WINDOW
from multimodal.examples.packing import Example
from multimodal.inference.trained import Trained
from multimodal.joint.adapters import adapt
from multimodal.joint.bilstm import BiLstm
from multimodal.joint.model import init_weights
from multimodal.objectives.finetuning import (
    Choice,
    FineTuningObjective,
    Labels,
    LayerMix,
    Rates,
    Span,
    TaskHead,
)
from multimodal.objectives.lstm_heads import LstmObjective, TaughtLogits
from multimodal.segments import Segment
from multimodal.terms import CHOICE

SLOT = "{label}"


@dataclasses.dataclass(frozen=True)
class HeadShape:
    """What a head is asked and how it was put on: the fields of ``card.json`` that make it again.

    ``kind`` of task, ``read``: what of a moment it reads. ``classes``; ``several``: a moment may have any number of them.
    ``mean`` and ``deviation``: of the scores that it learned from. ``adapt``, ``width``, ``rank``: see
    :func:`multimodal.joint.adapters.adapt`. ``sentence``: of a class, with {label} in it, where the classes are read
    as sentences beside a moment. ``layers``: the head reads the last one, or a ``mix`` of all. ``averaged``: the mean
    over all steps answers. ``window`` and ``stride``: of windows over a whole video, in clips.
    """

    kind: str
    read: str
    classes: tuple[str, ...] = ()
    several: bool = False
    mean: float = 0.0
    deviation: float = 1.0
    adapt: str = "full"
    width: int = 64
    rank: int = 8
    window: int = WINDOW
    stride: int = STRIDE
    sentence: str = ""
    layers: str = LAST
    averaged: bool = False
    seed: int = 0

    @property
    def loss(self) -> str:
        """That of :class:`~multimodal.objectives.finetuning.Labels`."""
        return "number" if self.kind == SCORE else "several" if self.several else "one"

    @property
    def reads_text(self) -> bool:
        """Whether a text is given with what is read: one that may fit, or a question."""
        return self.kind in (PAIR, SPAN)

    @property
    def is_of_whole_videos(self) -> bool:
        """Whether it is asked about a whole video and no moment of it."""
        return self.kind in (SPAN, DOCUMENT)

    def make(
        self,
        trained: Trained,
        target_KC: torch.Tensor | None = None,
        weight_C: torch.Tensor | None = None,
        rates: Rates = Rates(),  # noqa: B008
        distilled: float = 0.0,
    ) -> FineTuningObjective:
        """The head on a copy of the model, before any training. ``target_KC`` and ``weight_C``: what it is to learn; ``rates``
        and ``distilled``: how."""
        model, outputs = copy.deepcopy(trained.model), len(self.classes) or 1
        pooled = self.kind not in (TOKEN, SPAN)
        adapt(model, self.adapt, self.width, self.rank, pooled=pooled, seed=self.seed)
        if target_KC is None:
            target_KC = torch.zeros(1, outputs)
        term: TaskHead = Span(model.options)
        if self.kind != SPAN:
            term = Labels(model.options, target_KC, self.loss, pooled=pooled, weight_C=weight_C)
        if self.sentence:
            term = Choice(model.options, len(self.classes))
        init_weights(term, self.seed)
        term.begin(model)
        if self.layers == MIX:
            term.mix = LayerMix(model.options.num_hidden_layers + 1)
        return FineTuningObjective(model, term, rates=rates, averaged=self.averaged, distilled=distilled)

    def opened(self, trained: Trained) -> FineTuningObjective | LstmObjective:
        """The network whose stored weights are put in place."""
        return self.make(trained)

    def choices(self, trained: Trained, moment: Segment, right: int = 0) -> list[Example]:
        """A moment beside the sentence of each class; that of class ``right`` is the one to choose."""
        found = []
        for number, name in enumerate(self.classes):
            text = self.sentence.replace(SLOT, name)
            ids, types = moment_sequence(trained.vocabulary, moment, self.read, text)
            asked = (summary_position(ids, trained.attention), int(number == right))
            found.append(Example(ids, types, {CHOICE: [asked]}))
        return found


@dataclasses.dataclass(frozen=True)
class LstmShape(HeadShape):
    """A head on a bidirectional LSTM of ``lstm`` numbers in each direction, in place of the encoder
    (:mod:`multimodal.joint.bilstm`)."""

    lstm: int = 150

    def make_lstm(self, trained: Trained, teacher_KC: torch.Tensor | None = None) -> LstmObjective:
        """The network before any training; ``teacher_KC``: the logits that it is to learn."""
        if teacher_KC is None:
            teacher_KC = torch.zeros(1, len(self.classes) or 1)
        head = TaughtLogits(2 * self.lstm, teacher_KC)
        network = BiLstm(trained.model, self.lstm)
        generator = torch.Generator().manual_seed(self.seed)
        for parameter in network.lstm.parameters():
            bound = self.lstm**-0.5
            parameter.data.uniform_(-bound, bound, generator=generator)
        init_weights(head, self.seed, by_width=True)
        return LstmObjective(network, head)

    def opened(self, trained: Trained) -> LstmObjective:
        return self.make_lstm(trained)


def shape_of(card: Mapping[str, Any]) -> HeadShape:
    """The shape that a head's ``card.json`` tells."""
    fields = dict(card["shape"])
    fields["classes"] = tuple(fields["classes"])
    return LstmShape(**fields) if "lstm" in fields else HeadShape(**fields)
