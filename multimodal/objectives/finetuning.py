"""The objective of fine-tuning: a head of BERT's over the encoder, of which all or a part is trained with it.

Checked against `transformers`' BertForSequenceClassification, …TokenClassification, …QuestionAnswering and …MultipleChoice
in ``tests/multimodal/test_finetuning_oracles.py``. Shapes: T tokens, M asked positions, S sequences, C classes, H hidden.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from multimodal.examples.packing import ALIGNED, MISALIGNED, Batch
from multimodal.joint.adapters import moved_parameters
from multimodal.joint.dropout import Dropout
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.objectives.objective import Gather, Objective, Reading, Term, predictions
from multimodal.terms import CHOICE, DISTILLED, LABEL, SPAN

MOVED = "moved.safetensors"
"""The weights of the encoder that fine-tuning moves, adapters among them."""
AVERAGE, STEPS = "average.safetensors", "steps"
"""The mean of these and of the head's over all steps so far, and how many there were."""


class LayerMix(nn.Module):
    """The states of all layers as one, γ · Σ softmax(w)_l · h_l (ELMo, Peters et al. 2018, section 3.2); at the start their mean."""

    def __init__(self, layers: int):
        super().__init__()
        self.weight_L = nn.Parameter(torch.zeros(layers))
        self.scale = nn.Parameter(torch.ones(()))

    @property
    def shares_L(self) -> torch.Tensor:
        return self.weight_L.softmax(0)

    def forward(self, x_LTH: torch.Tensor) -> torch.Tensor:
        return self.scale * torch.einsum("l,lth->th", self.shares_L.to(x_LTH.dtype), x_LTH)


class TaskHead(Term):
    """A dense layer on states of the encoder. ``pooled``: on BERT's pooler of them, as for ``[CLS]``. ``mix``: of the layers
    that it reads in place of the last one."""

    pooled = False

    @property
    def asked(self) -> str:
        """The name by which examples ask it."""
        return self.names[0]

    def __init__(self, options: ModelOptions, classes: int):
        super().__init__()
        self.mix: LayerMix | None = None
        self.dropout = Dropout(options.hidden_dropout_prob)
        self.classifier = nn.Linear(options.hidden_size, classes)

    def logits(self, reading: Reading, position_M: torch.Tensor) -> torch.Tensor:
        """float32 [M, C] at these positions."""
        x_MH = reading.x_TH.index_select(0, position_M)
        if self.pooled:
            x_MH = torch.tanh(reading.model.bert["pooler"]["dense"](x_MH))
        return self.classifier(self.dropout(x_MH)).float()


class Labels(TaskHead):
    """Labels of sequences or of single tokens. The label that a batch asks for is a row of ``target_KC``.

    ``loss``: ``one``, cross entropy with a class in each row; ``several``, binary cross entropy, the mean over the classes;
    ``number``, squared error. ``weight_C`` weighs the classes of ``one``.
    """

    names = (LABEL,)

    def __init__(
        self,
        options: ModelOptions,
        target_KC: torch.Tensor,
        loss: str,
        *,
        pooled: bool,
        weight_C: torch.Tensor | None = None,
    ):
        super().__init__(options, target_KC.shape[1])
        self.loss, self.pooled = loss, pooled
        self.register_buffer("target_KC", target_KC.float(), persistent=False)
        self.register_buffer("weight_C", weight_C, persistent=False)

    def forward(self, reading: Reading, batch: Batch, gather: Gather) -> torch.Tensor:
        position_M, row_M = predictions(batch, LABEL).unbind(1)
        logits_MC, target_MC = self.logits(reading, position_M), self.target_KC[row_M]
        if self.loss == "one":
            class_M = target_MC.argmax(1)
            loss_M = F.cross_entropy(logits_MC, class_M, reduction="none")
            if self.weight_C is not None:
                loss_M = loss_M * self.weight_C[class_M]
            return loss_M.sum()[None]
        if self.loss == "several":
            each_MC = F.binary_cross_entropy_with_logits(logits_MC, target_MC, reduction="none")
        else:
            each_MC = (logits_MC - target_MC) ** 2
        return each_MC.mean(1).sum()[None]


class Span(TaskHead):
    """Start and end of an answer among the tokens of each sequence; both at ``[CLS]`` where it holds none (Devlin et al.
    2019, section 4.3). A batch asks for (start, end, 0)."""

    names = (SPAN,)

    def __init__(self, options: ModelOptions):
        super().__init__(options, 2)
        self.dropout = nn.Identity()  # BERT has none there

    def forward(self, reading: Reading, batch: Batch, gather: Gather) -> torch.Tensor:
        asked = batch.asks[SPAN]
        every_T = torch.arange(batch.tokens, device=batch.ids_T.device)
        log_p_T2 = log_softmax_of_sequences(self.logits(reading, every_T), batch)
        return -((log_p_T2[asked[:, 0], 0] + log_p_T2[asked[:, 1], 1]) / 2).sum()[None]


def log_softmax_of_sequences(logits_T2: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The log-softmax over the tokens of each sequence, column by column."""
    sequence_T2 = batch.sequence_T[:, None].expand_as(logits_T2)
    shape = (len(batch.lengths_S), logits_T2.shape[1])
    most_S2 = logits_T2.detach().new_full(shape, -torch.inf)
    most_S2 = most_S2.scatter_reduce(0, sequence_T2, logits_T2.detach(), "amax")
    shifted_T2 = logits_T2 - most_S2.gather(0, sequence_T2)
    sums_S2 = logits_T2.new_zeros(shape).scatter_add(0, sequence_T2, shifted_T2.exp())
    return shifted_T2 - sums_S2.log().gather(0, sequence_T2)


class Choice(TaskHead):
    """The right one of ``choices`` sequences that are read one by one: each class as a sentence beside the same clips (Sun et
    al. 2019, "Utilizing BERT … via constructing auxiliary sentence"). It begins as the alignment head.

    A batch asks for (position, 1 or 0) of each sequence, the choices of a question one after the other.
    """

    names = (CHOICE,)
    pooled = True

    def __init__(self, options: ModelOptions, choices: int):
        super().__init__(options, 1)
        self.choices = choices

    def begin(self, model: JointBert) -> None:
        pair = model.cls["seq_relationship"]
        self.classifier.weight.data.copy_((pair.weight[ALIGNED] - pair.weight[MISALIGNED])[None])
        self.classifier.bias.data.copy_((pair.bias[ALIGNED] - pair.bias[MISALIGNED])[None])

    def counts(self, batch: Batch) -> list[int]:
        return [len(predictions(batch, CHOICE)) // self.choices]

    def forward(self, reading: Reading, batch: Batch, gather: Gather) -> torch.Tensor:
        position_S, right_S = predictions(batch, CHOICE).unbind(1)
        logits_NC = self.logits(reading, position_S).view(-1, self.choices)
        return F.cross_entropy(logits_NC, right_S.view(-1, self.choices).argmax(1), reduction="sum")[None]


class SelfDistillation(Term):
    """Squared distance of the head's logits from those of the average of all steps before (Xu et al. 2020, "Improving BERT
    fine-tuning via self-ensemble and self-distillation", section 3.2), the mean over the classes, at all that is asked."""

    names = (DISTILLED,)

    def counts(self, batch: Batch) -> list[int]:
        return [len(asked) for asked in batch.asks.values()]

    def forward(self, reading: Readings, batch: Batch, gather: Gather) -> torch.Tensor:
        (asked,) = batch.asks.values()
        own_MC = reading.head.logits(reading, asked[:, 0])
        with torch.no_grad():
            average_MC = reading.average_head.logits(reading.average, asked[:, 0])
        return ((own_MC - average_MC) ** 2).mean(1).sum()[None]


@dataclasses.dataclass(frozen=True)
class Readings(Reading):
    """What the model reads, and what the ``average`` of its steps does."""

    head: TaskHead
    average: Reading
    average_head: TaskHead


@dataclasses.dataclass(frozen=True)
class Rates:
    """Learning rates by layer, as shares of that of the head. ``encoder``: of the encoder's layers and embeddings. ``decay``: the
    rate of a layer as a share of that of the layer above it (Sun et al. 2019, "How to fine-tune BERT for text classification",
    section 5.3.2). ``unfreezing``: the share of the steps over which the layers begin to move one after the other from the top
    (ULMFiT, Howard and Ruder 2018, section 3.3); 0: all from the first step."""

    encoder: float = 1.0
    decay: float = 1.0
    unfreezing: float = 0.0


class FineTuningObjective(Objective):
    """A joint model, as :func:`~multimodal.joint.adapters.adapt` left it, under the loss of one task.

    Its files are what is moved: a head belongs to the model that it was trained on. ``averaged``: the mean of what is moved over
    all steps is kept beside it (self-ensemble). ``distilled``: the weight of :class:`SelfDistillation`; at 0 there is none.
    """

    model: JointBert

    def __init__(
        self,
        model: JointBert,
        head: TaskHead,
        *,
        rates: Rates = Rates(),  # noqa: B008
        averaged: bool = False,
        distilled: float = 0.0,
    ):
        weights = dict.fromkeys(head.names, 1.0) | {DISTILLED: distilled}
        super().__init__(model, [head, SelfDistillation()] if distilled else [head], weights)
        moved = moved_parameters(model)
        encoder = [name for name in moved if not name.startswith("bert.pooler.")]
        self._encoder_moves, self._rates = bool(encoder), rates
        self.average: nn.ModuleDict | None = None
        if averaged or distilled:
            # What does not move is shared, not copied.
            still = {id(p): p for name, p in model.named_parameters() if name not in moved}
            self.average = nn.ModuleDict({"model": copy.deepcopy(model, still), "head": copy.deepcopy(head)})
            self.average.requires_grad_(False).eval()
            self.register_buffer("averaged_steps", torch.zeros((), dtype=torch.int64), persistent=False)

    @property
    def head(self) -> TaskHead:
        return next(iter(self.terms.values()))

    def _pairs(self) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """What moves, by name, and its average."""
        average = dict(self.average["model"].named_parameters(prefix="model"))
        average |= dict(self.average["head"].named_parameters(prefix="head"))
        own = {f"model.{name}": p for name, p in moved_parameters(self.model).items()}
        own |= dict(self.head.named_parameters(prefix="head"))
        return {name: (p, average[name]) for name, p in own.items()}

    @torch.no_grad()
    def updated(self) -> None:
        if self.average is not None:
            self.averaged_steps += 1
            for own, average in self._pairs().values():
                average.lerp_(own, 1 / self.averaged_steps.item())

    @torch.no_grad()
    def take_average(self) -> FineTuningObjective:
        """Answers by the average from here on."""
        for own, average in self._pairs().values():
            own.copy_(average)
        return self

    @property
    def depths(self) -> Mapping[nn.Parameter, int]:
        if self._rates == Rates():
            return {}
        layers = len(self.layers)
        depths: dict[nn.Parameter, int] = {}
        for name, parameter in moved_parameters(self.model).items():
            number = re.match(r"bert\.encoder\.layer\.(\d+)\.", name)
            below = layers - int(number[1]) if number else layers + 1
            depths[parameter] = 0 if name.startswith("bert.pooler.") else below
        return depths

    def rate_scale(self, depth: int, done: float) -> float:
        begins = self._rates.unfreezing * depth / (len(self.layers) + 1)
        if done < begins:
            return 0.0
        return self._rates.encoder * self._rates.decay**depth if depth else 1.0

    @property
    def layers(self) -> nn.ModuleList:
        return self.model.bert["encoder"]["layer"]

    def train(self, mode: bool = True) -> FineTuningObjective:
        """An encoder that stays as it is is read without dropout."""
        super().train(mode)
        if not self._encoder_moves:
            self.model.train(False)
        if self.average is not None:
            self.average.train(False)
        return self

    def read(self, batch: Batch) -> Reading:
        reading = _read(self.model, self.head, batch, self._encoder_moves)
        if DISTILLED not in self.names:
            return reading
        with torch.no_grad():
            average = _read(self.average["model"], self.average["head"], batch, False)
        own = {field.name: getattr(reading, field.name) for field in dataclasses.fields(Reading)}
        return Readings(**own, head=self.head, average=average, average_head=self.average["head"])

    def save(self, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
        super().save(folder, state)
        if self.average is not None:
            found = {
                name: average.detach().cpu().contiguous() for name, (_, average) in self._pairs().items()
            }
            save_file(found | {STEPS: self.averaged_steps.cpu()}, folder / AVERAGE)

    def load(self, folder: Path) -> None:
        super().load(folder)
        if self.average is not None:
            tensors = load_file(folder / AVERAGE)
            self.averaged_steps.copy_(tensors.pop(STEPS))
            for name, (_, average) in self._pairs().items():
                average.data.copy_(tensors[name])

    def save_model(self, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
        moved = moved_parameters(self.model)
        tensors = {name: t.detach().cpu().contiguous() for name, t in state.items() if name in moved}
        save_file(tensors, folder / MOVED)

    def load_model(self, folder: Path) -> None:
        tensors = load_file(folder / MOVED)
        assert tensors.keys() == moved_parameters(self.model).keys()
        self.model.load_state_dict(tensors, strict=False)


def _read(model: JointBert, head: TaskHead, batch: Batch, moves: bool) -> Reading:
    """The states for a batch that the head reads; gradients reach the encoder where it ``moves``."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and moves):
        rows_TH, table = model.bert["embeddings"].embedding_lookup(batch.ids_T)
        if head.mix is None:
            return Reading(model, model.encode(batch, rows_TH), table)
        x_LTH = model.encode_layers(batch, rows_TH)
    return Reading(model, head.mix(x_LTH), table)
