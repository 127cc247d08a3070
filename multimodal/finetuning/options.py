"""Options of fine-tuning. No PyTorch here."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from multimodal.examples.options import (
    BOTH_READ,
    KINDS,
    LAYERS,
    PAIR,
    READS,
    SPAN,
    STRIDE,
    TEXT_READ,
    VIDEO_READ,
    WINDOW,
)
from multimodal.store import InputError
from multimodal.training.options import TrainingOptions

MOST_WINDOW = 30
"""Clips that fit into a sequence beside words or a question, whatever their length."""
MAJORITY, NEIGHBOURS, LINEAR = BASELINES = ("majority", "nearest_neighbours", "logistic_regression")
"""The plain baselines. For a score: the mean, nearest neighbours, and ridge regression under the same names."""
ZERO_SHOT = "zero_shot"
"""The classes as sentences, by the alignment head as pretraining left it, in figures beside the baselines."""
BY_MEAN = "by_mean"
"""The head's answers about whole videos by the plain mean over windows, in figures beside the baselines."""
AGREEMENT = "agreement"
"""How often a student gives its teacher's answer (:mod:`multimodal.distillation.lstm`)."""
LAYER = "layer_"
"""How the names of the figures of single layers begin."""
RATE = 5e-5
"""Peak learning rate of pretrained layers at a width of 768 (Devlin et al. 2019, appendix A.3). Narrower networks take larger
steps, by the ratio of the widths."""
PART_TIMES, HEAD_TIMES = 4, 20
"""Times that rate for adapters and low-rank updates, and for the head, which begin anew (docs/decisions.md)."""
ADAPT = re.compile(r"full|head|adapters|lora|top:[1-9][0-9]*")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclasses.dataclass(frozen=True)
class FineTuningOptions:
    """``kind``: of the task, ``None`` for what its columns say. ``read``: what of a moment is read; ``None``: ``video`` for
    pairs and questions, else both. ``adapt``: how much of the encoder moves (:data:`multimodal.joint.adapters.ADAPTS`), with bottlenecks of
    ``width`` and updates of ``rank``. ``balance``: classes weigh the same, however many moments they have.

    ``held_out``: the share of the labelled moments whose videos are held out to judge by; half as many are held out of the
    rest, whose loss says when the training ends. ``epochs`` passes at most. ``learning_rate``: of what moves in the encoder,
    the head's being 20 times that of layers and 5 times that of adapters and low-rank updates, or of the head where nothing
    else moves; ``None`` for what the width and ``adapt`` say. ``window`` and ``stride``: clips of a window over a whole video,
    and between the starts of two.
    ``sentence``: each class is read as a sentence, {label} being its name, beside the moment, and the head chooses among them,
    beginning as the alignment head.
    ``layers``: the head reads the ``last`` one, or a learned ``mix`` of all. ``layer_decay``: the learning rate of a layer as a
    share of that of the one above it. ``unfreezing``: the share of the steps over which the layers begin to move, from the top.
    ``average``: the mean of the weights over all steps answers. ``distill``: the weight of the distance from it in the loss.
    ``probe``: figures of logistic regression on each layer of the model as it is.
    Raises :class:`InputError` for a value out of its range.
    """

    kind: str | None = None
    read: str | None = None
    adapt: str = "full"
    balance: bool = False
    width: int = 64
    rank: int = 8
    epochs: int = 20
    learning_rate: float | None = None
    held_out: float = 0.3
    window: int = WINDOW
    stride: int = STRIDE
    sentence: str = ""
    layers: str = "last"
    layer_decay: float = 1.0
    unfreezing: float = 0.0
    average: bool = False
    distill: float = 0.0
    probe: bool = False
    examples_per_step: int = 16
    least_steps: int = 60
    patience: int = 8
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("read", READS)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise InputError(f"--{name} {value}: one of {', '.join(known)}")
        if not ADAPT.fullmatch(self.adapt):
            raise InputError(
                f"--adapt {self.adapt}: one of full, head, adapters, lora, top:N with N from 1 on"
            )
        for name in ("width", "rank", "epochs", "window", "stride"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} {getattr(self, name)}: at least 1")
        if self.sentence and "{label}" not in self.sentence:
            raise InputError(
                f'--sentence {self.sentence!r}: has no {{label}}; write it as in "how to {{label}}"'
            )
        if self.layers not in LAYERS:
            raise InputError(f"--layers {self.layers}: one of {', '.join(LAYERS)}")
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"--layer-decay {self.layer_decay:g}: above 0 to 1; 0.95 is a usual choice")
        if not 0 <= self.unfreezing <= 1:
            raise InputError(f"--unfreezing {self.unfreezing:g}: a share from 0 to 1 of the steps")
        if not 0 <= self.distill < math.inf:
            raise InputError(f"--distill {self.distill:g}: 0 or more; 1 is a usual choice")
        if self.window > MOST_WINDOW:
            raise InputError(
                f"--window {self.window}: at most {MOST_WINDOW} clips, as a sequence holds words too"
            )
        if self.stride > self.window:
            raise InputError(
                f"--stride {self.stride}: at most --window {self.window}, else clips between two are read by none"
            )
        if not 0 <= self.held_out < 1:
            raise InputError(f"--held-out {self.held_out:g}: a share from 0 to below 1; 0.3 is the default")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"--learning-rate {self.learning_rate:g}: a number above 0, or leave it out")

    def reads(self, kind: str) -> str:
        """What of a moment is read."""
        if kind == SPAN and self.read == TEXT_READ:
            raise InputError("--read text: the answer to a question is a run of clips; read video or both")
        return self.read or (VIDEO_READ if kind in (PAIR, SPAN) or self.sentence else BOTH_READ)

    @property
    def _times(self) -> int:
        """Times :data:`RATE` for what moves in the encoder, or for the head where nothing does."""
        return {"head": HEAD_TIMES, "adapters": PART_TIMES, "lora": PART_TIMES}.get(self.adapt, 1)

    @property
    def encoder_share(self) -> float:
        """The learning rate of the encoder as a share of the head's. A head of sentences begins as the alignment head, so it is
        as pretrained as the encoder."""
        return 1.0 if self.sentence else self._times / HEAD_TIMES

    def training(self, hidden: int) -> TrainingOptions:
        """The training of a model of this width; its learning rate is that of the head."""
        rate = self.learning_rate or RATE * 768 / hidden * self._times
        return TrainingOptions(
            learning_rate=rate / self.encoder_share,
            examples_per_step=self.examples_per_step,
            epochs=self.epochs,
            least_steps=self.least_steps,
            patience=self.patience,
            held_out_examples=HELD_OUT_EXAMPLES,
            precision=self.precision,
            seed=self.seed,
        )

    def for_address(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


HELD_OUT_EXAMPLES = 500
"""Moments whose loss is evaluated along the training, at most: a sample of a few would not tell when to end."""


def check_name(name: str) -> str:
    """The name of a head. Raises :class:`InputError` for one that could not be a file's."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"--name {name}: letters, digits, dots, dashes and underscores, 64 at most; choose another"
        )
    return name
