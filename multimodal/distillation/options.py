"""Options of distillation, and the shape of a student. No PyTorch here."""

from __future__ import annotations

import dataclasses
import math

from multimodal.joint.options import ModelOptions
from multimodal.store import InputError
from multimodal.training.options import TrainingOptions

HINTON, DISTILBERT, TINYBERT, BILSTM = METHODS = ("hinton", "distilbert", "tinybert", "bilstm")
SOFT_WEIGHT, CLOZE_WEIGHT, COSINE_WEIGHT = 5.0, 2.0, 1.0
"""Of DistilBERT's loss (Sanh et al. 2019; the weights are those of its published code)."""


@dataclasses.dataclass(frozen=True)
class DistillOptions:
    """``method``: one of :data:`METHODS`. ``layers``, ``hidden``, ``heads``: the student's, where not given half of the
    teacher's layers, its width and its number of heads. ``temperature`` of soft targets (Hinton et al. 2015). ``alpha``: the
    weight of soft targets against the teacher's own loss, of ``hinton``.
    ``epochs``, ``learning_rate``, ``seed``: of the training, the teacher's where they are not given.

    Raises :class:`InputError` for a value out of its range.
    """

    method: str = DISTILBERT
    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    temperature: float = 2.0
    alpha: float = 0.5
    epochs: int | None = None
    learning_rate: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"--method {self.method}: one of {', '.join(METHODS)}")
        for name in ("layers", "hidden", "heads", "epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name} {value}: at least 1")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"--temperature {self.temperature:g}: a number above 0; 2 is a usual choice")
        if not 0 <= self.alpha < 1:
            raise InputError(
                f"--alpha {self.alpha:g}: a share from 0 to below 1, as the other heads learn by the rest; 0.5 weighs both alike"
            )
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"--learning-rate {self.learning_rate:g}: a number above 0, or leave it out")

    def training(self, of_teacher: TrainingOptions) -> TrainingOptions:
        """The training of the student: the teacher's, but for what is given. Given ``epochs`` are made whatever the held-out
        loss says."""
        given: dict[str, float | None] = {
            name: getattr(self, name)
            for name in ("epochs", "learning_rate", "seed")
            if getattr(self, name) is not None
        }
        if self.epochs is not None:
            given |= {"least_steps": 1, "patience": None}
        return dataclasses.replace(of_teacher, **given)


def halved(training: TrainingOptions) -> TrainingOptions:
    """Half as long a training: one of two phases."""
    return dataclasses.replace(
        training,
        epochs=(training.epochs + 1) // 2,
        least_steps=(training.least_steps + 1) // 2,
        most_steps=(training.most_steps + 1) // 2,
    )


def student_shape(teacher: ModelOptions, options: DistillOptions) -> ModelOptions:
    """The shape of the student. Raises :class:`InputError` for one that is larger than its teacher or that the method cannot
    compare with it."""
    method, layers = options.method, teacher.num_hidden_layers
    shape = dataclasses.replace(
        teacher.written_out,
        num_hidden_layers=options.layers or max(1, layers // 2),
        hidden_size=options.hidden or teacher.hidden_size,
        num_attention_heads=options.heads or teacher.num_attention_heads,
    )
    if shape.num_hidden_layers > layers:
        raise InputError(
            f"--layers {shape.num_hidden_layers}: the teacher has {layers}; give at most as many"
        )
    if shape.hidden_size > teacher.hidden_size:
        raise InputError(
            f"--hidden {shape.hidden_size}: the teacher is {teacher.hidden_size} wide; give at most as much"
        )
    if shape.hidden_size % shape.num_attention_heads:
        raise InputError(
            f"--hidden {shape.hidden_size} with {shape.num_attention_heads} heads: the heads do not divide the width; give "
            "--heads that do"
        )
    narrower = shape.hidden_size != teacher.hidden_size
    other_heads = shape.num_attention_heads != teacher.num_attention_heads
    if method == DISTILBERT and narrower:
        raise InputError(
            f"--hidden {shape.hidden_size} with --method {method}: it begins with layers of its teacher, which are "
            f"{teacher.hidden_size} wide; leave it out, or say --method {TINYBERT}"
        )
    if method in (DISTILBERT, TINYBERT) and other_heads:
        raise InputError(
            f"--heads {shape.num_attention_heads} with --method {method}: it goes by the teacher's "
            f"{teacher.num_attention_heads} heads one by one; leave it out, or say --method {HINTON}"
        )
    if method == TINYBERT and layers % shape.num_hidden_layers:
        raise InputError(
            f"--layers {shape.num_hidden_layers} with --method {method}: the teacher's {layers} layers are no multiple of it; "
            f"give one of {', '.join(str(n) for n in range(1, layers + 1) if not layers % n)}"
        )
    if narrower:
        shape = dataclasses.replace(shape, intermediate_size=4 * shape.hidden_size)
    return shape


@dataclasses.dataclass(frozen=True)
class LstmOptions:
    """``width`` of the LSTM in each direction. ``copies`` of each moment are read, all but the first with words and clips hidden
    at ``mask`` (Tang et al. 2019, section 3.3), and ``most_examples`` in all. ``epochs`` passes over them at most.

    Raises :class:`InputError` for a value out of its range.
    """

    width: int = 150
    copies: int = 20
    mask: float = 0.1
    most_examples: int = 20_000
    epochs: int = 10
    learning_rate: float = 2e-3
    examples_per_step: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "copies", "most_examples", "epochs"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1")
        if not 0 <= self.mask < 1:
            raise InputError(f"mask {self.mask:g}: a share from 0 to below 1; 0.1 is usual")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"--learning-rate {self.learning_rate:g}: a number above 0, or leave it out")

    @property
    def training(self) -> TrainingOptions:
        return TrainingOptions(
            learning_rate=self.learning_rate,
            examples_per_step=self.examples_per_step,
            epochs=self.epochs,
            least_steps=60,
            patience=8,
            held_out_examples=500,
            precision="fp32",
            seed=self.seed,
        )
