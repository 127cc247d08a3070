"""The objective of distillation: a student under the terms of its pretraining and the distances from its teacher.

Each distance is 0 where teacher and student are the same. They are checked against PyTorch's own losses over the padded
tensors of `transformers` in ``tests/multimodal/test_distillation_oracles.py``.
Shapes: T tokens, M predicted positions, V vocabulary, H hidden, L layers, P pairs of tokens that see each other, N heads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint.attention import LengthBuckets
from multimodal.joint.model import JointBert, init_weights
from multimodal.joint.options import ModelOptions
from multimodal.joint.trimming import TrimmedRows
from multimodal.objectives.objective import Gather, Objective, Reading, Term, predictions
from multimodal.objectives.pretraining import PretrainingObjective, train_read_heads
from multimodal.terms import ATTENTION, COSINE, EMBEDDING, HIDDEN, JOINT, SOFT, TEXT, VIDEO
from multimodal.vocabulary import Vocabulary

CLOZE = (TEXT, VIDEO, JOINT)


@dataclasses.dataclass(frozen=True)
class TaughtReading(Reading):
    """What a student reads, and beside it what its ``teacher`` does. ``x_LTH`` and ``teacher_LTH`` are the states after the
    embeddings and after each layer, where the terms look at them; ``buckets`` are those of the batch."""

    teacher: Reading
    x_LTH: torch.Tensor | None
    teacher_LTH: torch.Tensor | None
    buckets: LengthBuckets


class SoftTargets(Term):
    """The teacher's probabilities of what is hidden, T² · KL(teacher ‖ student) at ``temperature`` T (Hinton et al. 2015,
    "Distilling the knowledge in a neural network", section 2). T² keeps the size of the gradients."""

    names = (SOFT,)
    heads = ("cls.predictions",)

    def __init__(self, temperature: float):
        super().__init__()
        self.temperature = temperature

    def counts(self, batch: Batch) -> list[int]:
        return [sum(len(predictions(batch, name)) for name in CLOZE)]

    def forward(self, reading: TaughtReading, batch: Batch, gather: Gather) -> torch.Tensor:
        position_M = torch.cat([predictions(batch, name)[:, 0] for name in CLOZE]).sort().values
        own_MV = reading.cloze(position_M).float() / self.temperature
        with torch.no_grad():
            teacher_MV = (reading.teacher.cloze(position_M).float() / self.temperature).log_softmax(-1)
        divergence = F.kl_div(own_MV.log_softmax(-1), teacher_MV, reduction="sum", log_target=True)
        return self.temperature**2 * divergence[None]


class OfTokens(Term):
    """A term over all tokens that are read."""

    def counts(self, batch: Batch) -> list[int]:
        return [batch.tokens]


class Cosine(OfTokens):
    """1 less the cosine of the last states of teacher and student (DistilBERT, Sanh et al. 2019, section 2)."""

    names = (COSINE,)

    def forward(self, reading: TaughtReading, batch: Batch, gather: Gather) -> torch.Tensor:
        same_T = torch.ones(batch.tokens, device=reading.x_TH.device)
        own_TH, teacher_TH = reading.x_TH.float(), reading.teacher.x_TH.float()
        return F.cosine_embedding_loss(own_TH, teacher_TH, same_T, reduction="sum")[None]


class StateDistance(OfTokens):
    """The squared distance of states, the mean over the teacher's width, summed over ``layers``: (student's, teacher's), 0
    being the embeddings (TinyBERT, Jiao et al. 2020, equations 8 and 9). A narrower student is compared through a learned
    projection."""

    def __init__(self, name: str, layers: Sequence[tuple[int, int]], student: int, teacher: int):
        super().__init__()
        self.names, self._layers = (name,), tuple(layers)
        self.projection: nn.Module = nn.Identity()
        if student != teacher:
            self.projection = nn.Linear(student, teacher, bias=False)

    def forward(self, reading: TaughtReading, batch: Batch, gather: Gather) -> torch.Tensor:
        distances = [
            (self.projection(reading.x_LTH[own]).float() - reading.teacher_LTH[theirs].float()).square()
            for own, theirs in self._layers
        ]
        return torch.stack([distance_TH.mean(1).sum() for distance_TH in distances]).sum()[None]


class AttentionDistance(Term):
    """The squared distance of the attention scores before the softmax, the mean over heads and pairs of tokens, summed over
    ``layers``: (student's, teacher's), from 0 (TinyBERT, equation 7)."""

    names = (ATTENTION,)

    def __init__(self, layers: Sequence[tuple[int, int]]):
        super().__init__()
        self._layers = tuple(layers)

    def counts(self, batch: Batch) -> list[int]:
        if batch.order_T is None:
            return [int((batch.lengths_S**2).sum())]
        return [sum(int(bucket.seen_SLL.sum()) for bucket in LengthBuckets.of(batch).buckets)]

    def forward(self, reading: TaughtReading, batch: Batch, gather: Gather) -> torch.Tensor:
        def scores_of(model: JointBert, x_LTH: torch.Tensor, layer: int) -> torch.Tensor:
            x_TH = x_LTH[layer].index_select(0, reading.buckets.bucket_order_T)
            attention = model.bert["encoder"]["layer"][layer].attention["self"]
            return attention.attention_scores(x_TH, reading.buckets).float()

        distances = []
        for own, theirs in self._layers:
            with torch.no_grad():
                teacher_PN = scores_of(reading.teacher.model, reading.teacher_LTH, theirs)
            own_PN = scores_of(reading.model, reading.x_LTH, own)
            distances.append((own_PN - teacher_PN).square().mean(1).sum())
        return torch.stack(distances).sum()[None]


def layer_terms(
    student: ModelOptions, teacher: ModelOptions, layers: Sequence[int], seed: int = 0
) -> list[Term]:
    """TinyBERT's distances of embeddings, hidden states and attention scores; layer i of the student is compared with layer
    ``layers[i]`` of the teacher."""
    widths = student.hidden_size, teacher.hidden_size
    hidden = [(own + 1, theirs + 1) for own, theirs in enumerate(layers)]
    found = [
        StateDistance(EMBEDDING, [(0, 0)], *widths),
        StateDistance(HIDDEN, hidden, *widths),
        AttentionDistance(list(enumerate(layers))),
    ]
    for term in found:
        init_weights(term, seed, by_width=True)
    return found


class DistillationObjective(PretrainingObjective):
    """A student beside its teacher, which learns nothing and is read without dropout. Its files are those of a pretrained
    model.

    ``terms`` are those of the student's pretraining that count, and the distances from its ``teacher``, each with its weight.
    Both networks have the rows that ``trimmed`` kept.
    """

    def __init__(
        self,
        model: JointBert,
        teacher: JointBert,
        terms: Sequence[Term],
        weights: Mapping[str, float],
        vocabulary: Vocabulary,
        trimmed: TrimmedRows | None = None,
    ):
        train_read_heads(model, terms)
        Objective.__init__(self, model, terms, weights)
        self.vocabulary, self.trimmed = vocabulary, trimmed
        self.teacher = teacher.requires_grad_(False).eval()
        self._all_layers = any(isinstance(term, (StateDistance, AttentionDistance)) for term in terms)

    def train(self, mode: bool = True) -> DistillationObjective:
        super().train(mode)
        self.teacher.train(False)
        return self

    def read(self, batch: Batch) -> TaughtReading:
        own, x_LTH = self._read(self.model, batch)
        with torch.no_grad():
            teacher, teacher_LTH = self._read(self.teacher, batch)
        return TaughtReading(
            own.model, own.x_TH, own.table, teacher, x_LTH, teacher_LTH, LengthBuckets.of(batch)
        )

    def _read(self, model: JointBert, batch: Batch) -> tuple[Reading, torch.Tensor | None]:
        rows_TH, table = model.bert["embeddings"].embedding_lookup(batch.ids_T)
        if not self._all_layers:
            return Reading(model, model.encode(batch, rows_TH), table), None
        x_LTH = model.encode_layers(batch, rows_TH)
        return Reading(model, x_LTH[-1], table), x_LTH
