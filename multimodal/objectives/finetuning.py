"""The objective of fine-tuning: a head of BERT's over the encoder, of which all or a part is trained with it.

Checked against `transformers`' BertForSequenceClassification, …TokenClassification, …QuestionAnswering and …MultipleChoice
in ``tests/multimodal/test_finetuning_oracles.py``. Shapes: T tokens, M asked positions, S sequences, C classes, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from multimodal.terms import CHOICE, LABEL, SPAN

MOVED = "moved.safetensors"
"""The weights of the encoder that fine-tuning moves, adapters among them."""


class TaskHead(Term):
    """A dense layer on states of the encoder. ``pooled``: on BERT's pooler of them, as for ``[CLS]``."""

    pooled = False

    def __init__(self, options: ModelOptions, classes: int):
        super().__init__()
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


class FineTuningObjective(Objective):
    """A joint model, as :func:`~multimodal.joint.adapters.adapt` left it, under the loss of one task.

    Its files are what is moved: a head belongs to the model that it was trained on.
    """

    model: JointBert

    def __init__(self, model: JointBert, terms: Sequence[Term]):
        super().__init__(model, terms, {name: 1.0 for term in terms for name in term.names})
        encoder = [name for name in moved_parameters(model) if not name.startswith("bert.pooler.")]
        self._encoder_moves = bool(encoder)

    @property
    def layers(self) -> nn.ModuleList:
        return self.model.bert["encoder"]["layer"]

    def train(self, mode: bool = True) -> FineTuningObjective:
        """An encoder that stays as it is is read without dropout."""
        super().train(mode)
        if not self._encoder_moves:
            self.model.train(False)
        return self

    def read(self, batch: Batch) -> Reading:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._encoder_moves):
            return read(self.model, batch)

    def save_model(self, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
        moved = moved_parameters(self.model)
        tensors = {name: t.detach().cpu().contiguous() for name, t in state.items() if name in moved}
        save_file(tensors, folder / MOVED)

    def load_model(self, folder: Path) -> None:
        tensors = load_file(folder / MOVED)
        assert tensors.keys() == moved_parameters(self.model).keys()
        self.model.load_state_dict(tensors, strict=False)


def read(model: JointBert, batch: Batch) -> Reading:
    """The encoder's states for a batch."""
    rows_TH, table = model.bert["embeddings"].embedding_lookup(batch.ids_T)
    return Reading(model, model.encode(batch, rows_TH), table)
