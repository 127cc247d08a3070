"""Options of a training: what a step does, how many steps there are, where a model begins. No PyTorch here."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from multimodal.examples.options import ExampleOptions
from multimodal.joint.options import Shape
from multimodal.objectives.weights import LossWeights
from multimodal.segments import CONTEXT
from multimodal.store import InputError
from multimodal.systems import BIDIRECTIONAL, BYTE_BPE, SENTINELS, WORDPIECE, System
from multimodal.terms import REPLACED

PRECISIONS = ("auto", "bf16", "fp32")
TEXT_STARTS = ("minilm-l6",)
NOTHING = "none"
NEAREST = "nearest"
EPSILON = 1e-6
"""BERT's, of AdamW."""
STAGES = 4
"""Sizes of a batch that grows."""
ROLLBACK_STEPS = 100
"""The steps between the checkpoints that a loss spike rolls back to, where nobody says otherwise."""


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """AdamW as in BERT: weight decay 0.01 but not on LayerNorm and biases, gradient clipped to 1.0, linear warm-up over
    ``warmup`` of the steps, then linear decay to ``final`` of the peak (0 in the paper).

    ``beta2`` is the decay of AdamW's second moment: 0.999 in BERT; 0.98 (RoBERTa, Liu et al. 2019) forgets the large gradients
    of the first steps, which a short training cannot wait for.
    ``epsilon`` is AdamW's.
    ``precision`` is ``auto`` (bf16 where the processor multiplies it fast), ``bf16`` or ``fp32``. ``spike``: a loss so many
    times the median of those before it is a loss spike (:class:`TrainingOptions`).
    Raises :class:`InputError` for a value out of its range.
    """

    learning_rate: float = 3e-4
    warmup: float = 0.1
    final: float = 0.0
    weight_decay: float = 0.01
    beta2: float = 0.999
    epsilon: float = EPSILON
    clip: float = 1.0
    seed: int = 0
    precision: str = "auto"
    spike: float | None = None
    weights: LossWeights = LossWeights()

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise InputError(
                f"--learning-rate {self.learning_rate:g}: a number above 0; leave it out to let the size choose"
            )
        if not 0 <= self.warmup <= 1:
            raise InputError(f"warmup {self.warmup:g}: a share from 0 to 1 of the steps; 0.1 is BERT's")
        if not 0 <= self.final <= 1:
            raise InputError(
                f"--final-rate {self.final:g}: a share from 0 to 1 of the peak; 0.1 keeps a tenth"
            )
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay {self.weight_decay:g}: 0 or more; 0.01 is BERT's")
        if not 0 <= self.beta2 < 1:
            raise InputError(f"beta2 {self.beta2:g}: from 0 to below 1; 0.999 is BERT's")
        if not 0 < self.epsilon < math.inf:
            raise InputError(f"epsilon {self.epsilon:g}: more than 0; {EPSILON:g} is BERT's")
        if not self.clip > 0:
            raise InputError(f"clip {self.clip:g}: more than 0; 1 is BERT's")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision}: one of {', '.join(PRECISIONS)}")
        if self.spike is not None and not self.spike > 1:
            raise InputError(
                f"--spike {self.spike:g}: more than 1, a multiple of the median loss; 3 is a good choice"
            )


@dataclasses.dataclass(frozen=True)
class TrainingOptions(StepOptions):
    """A step learns from ``examples_per_step`` spoken segments and runs of tokens.

    ``epochs`` passes over them are made, in at least ``least_steps`` and at most ``most_steps`` steps. ``accumulate``
    micro-batches of a step are worked out one after the other, for less memory: the update is that of the whole step, but
    the contrast compares a segment with those of its own micro-batch alone.
    A checkpoint is made every ``checkpoint_seconds``, and every ``checkpoint_steps`` where that is given.
    ``spike``: at a loss spike, or a loss that is not finite, the training is rolled back to its last checkpoint of a multiple
    of ``checkpoint_steps``, and the batches since then are skipped (PaLM, Chowdhery et al. 2022, section 5.1); without it a
    loss that is not finite ends the run. It is never rolled back to a checkpoint that the clock asked for: a training that
    was stopped would have others.
    ``growing``: a share of the steps in which the batch grows, in :data:`STAGES` equal stages up to ``examples_per_step``; the
    passes stay as many, so there are more steps.
    ``patience``: after so many held-out losses in a row without a new lowest mean of three, of the 40 along the planned steps, and after
    ``least_steps``, the learning rate falls to its end within :data:`~multimodal.training.checkpoints.COOLDOWN` and the
    training ends early; ``None``, or where nothing is held out, makes all steps.
    ``held_out_examples``: examples of each of these losses at least, or all, whatever share of the time they take.
    """

    examples_per_step: int = 32
    epochs: int = 20
    least_steps: int = 200
    most_steps: int = 100_000
    accumulate: int = 1
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None
    patience: int | None = None
    growing: float = 0.0
    held_out_examples: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "examples_per_step", "epochs", "least_steps", "most_steps", "accumulate", "checkpoint_steps", "patience",
            "held_out_examples",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} {value}: at least 1")
        if not 0 <= self.growing <= 1:
            raise InputError(
                f"growing {self.growing:g}: a share from 0 to 1 of the steps; 0 for batches of one size"
            )
        if not self.checkpoint_seconds >= 0:
            raise InputError(f"checkpoint_seconds {self.checkpoint_seconds:g}: 0 or more")
        if self.spike is not None and self.checkpoint_steps is None:
            raise InputError(
                f"spike {self.spike:g}: needs checkpoint_steps, the steps between the checkpoints that it goes back to"
            )

    @property
    def rollback_steps(self) -> int | None:
        """The steps between the checkpoints that a loss spike rolls back to."""
        return None if self.spike is None else self.checkpoint_steps

    def steps(self, examples: int) -> int:
        """The steps over so many examples."""
        wanted = math.ceil(examples / self.examples_per_step) * self.epochs
        return min(max(math.ceil(wanted / self.mean_batch), self.least_steps), self.most_steps)

    @property
    def mean_batch(self) -> float:
        """The examples of a step in the mean over all steps, as a share of ``examples_per_step``."""
        return 1 - self.growing + self.growing * (STAGES + 1) / (2 * STAGES)

    def examples_at(self, step: int, steps: int) -> int:
        """The examples of a step, from 1, of so many: those of its stage while the batch grows."""
        if step > self.growing * steps:
            return self.examples_per_step
        stage = math.ceil(STAGES * step / (self.growing * steps))
        return math.ceil(self.examples_per_step * stage / STAGES)


LARGE = {
    "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1, "clip": 1.0, "warmup": 0.005, "final": 0.1, "spike": 3.0,
    "checkpoint_steps": ROLLBACK_STEPS, "growing": 0.1, "patience": None,
}  # fmt: skip
"""The recipe of large language models (Brown et al. 2020, appendix B; Touvron et al. 2023, section 2.2; Chowdhery et al. 2022,
section 5.1): AdamW 0.9 and 0.95, a short warm-up, down to a tenth of the peak, a growing batch, rollback from loss spikes."""


@dataclasses.dataclass(frozen=True)
class PretrainOptions:
    """``text_start``: the BERT checkpoint that the encoder and the word rows begin with, the joint model that is gone on from, or
    ``none`` (:func:`multimodal.training.start.text_start`). ``shape``: that of an encoder trained from scratch.

    ``visual_start``: where a joint model is gone on from under another codebook, the visual tokens take the rows of those of
    its codebook that look most alike (``nearest``), or begin ``new``.

    ``visual_rows``: whether the rows of the visual tokens, which begin as their centroids, are trained. Frozen ones are
    frozen in the tied cloze head too (:class:`~multimodal.joint.options.ModelOptions`); ``[>]`` and the words are trained.
    ``system``: what is hidden and asked, a row of :mod:`multimodal.systems` with its parts as they were chosen.
    ``choose_tokenizer``: byte pairs take the place of the text start where it does not know what is said
    (:mod:`multimodal.training.pieces`).

    Raises :class:`InputError` where all terms of the system have the weight 0, for near tokens under a term that asks for
    every token, where a factorised table would not be smaller, where layers are to be shared that begin as a BERT's, and for
    a BERT's word rows with other pieces.
    """

    text_start: str = "minilm-l6"
    shape: Shape | None = None
    visual_rows: Literal["trained", "frozen"] = "trained"
    visual_start: Literal["nearest", "new"] = NEAREST
    examples: ExampleOptions = ExampleOptions()
    training: TrainingOptions = TrainingOptions()
    system: System = System()
    choose_tokenizer: bool = False

    def __post_init__(self) -> None:
        if not self.active_terms:
            raise InputError(
                f"--weights: all terms of --system {self.system.name} are 0, so there is nothing to learn; give one of them a "
                f"weight: {', '.join(sorted(self.system.terms))}"
            )
        if self.examples.near_rate and self.system.attention != BIDIRECTIONAL:
            raise InputError(
                f"--corrupt near with --attention {self.system.attention} (--system {self.system.name}): what is read is what "
                "is predicted elsewhere, so none can be replaced; change one of the two"
            )
        if self.visual_rows == "frozen" and self.system.mask_unit == SENTINELS:
            raise InputError(
                f"--visual-rows frozen with --mask-unit {SENTINELS} (--system {self.system.name}): sentinels are trained rows behind "
                "them; change one of the two"
            )
        if self.examples.near_rate and REPLACED in self.system.terms:
            raise InputError(
                f"--corrupt near with --extra-terms {self.system.extra_terms} (--system {self.system.name}): every token is "
                "asked for, so none can be replaced; change one of the two"
            )
        if self.shape is not None:
            object.__setattr__(self, "system", self.system.narrowed(self.shape.hidden))
            self.system.check_width(self.shape.hidden)
        if self.system.shares and self.text_start != NOTHING:
            raise InputError(
                f"--text-start {self.text_start} with --share-layers {self.system.share_layers} (--system {self.system.name}): "
                f"the layers of a BERT differ; say --text-start {NOTHING}, or --share-layers none"
            )
        if self.text_start in TEXT_STARTS:
            self.check_tokenizer(roberta=False)

    def check_tokenizer(self, *, roberta: bool) -> None:
        """Raises :class:`InputError` where the rows of the text start, a BERT or a ``roberta``, are not of these pieces."""
        tokenizer = self.system.tokenizer
        if roberta != (tokenizer == BYTE_BPE):
            kind, other = ("RoBERTa", "BERT") if roberta else ("BERT", "RoBERTa")
            raise InputError(
                f"--text-start {self.text_start} with --tokenizer {tokenizer} (--system {self.system.name}): the rows of a {kind} "
                f"are of other pieces; say --text-start {NOTHING} or the folder of a {other}, or --tokenizer "
                f"{BYTE_BPE if roberta else WORDPIECE}"
            )

    @property
    def active_terms(self) -> frozenset[str]:
        """The terms of the system whose weight is not 0."""
        return self.training.weights.active_terms & self.system.terms

    def with_random_weights(self, shape: Shape) -> PretrainOptions:
        """The same training of a model without a text start: of this shape, with pairs read whole for alignment, which no
        text has prepared it for (docs/known_world.md)."""
        examples = dataclasses.replace(self.examples, whole_pairs=True)
        return dataclasses.replace(self, text_start=NOTHING, shape=shape, examples=examples)

    @property
    def begins_with_association(self) -> bool:
        """Whether the rows of a model of random weights begin as :mod:`multimodal.joint.association` says. Frozen visual rows
        are centroids, which words cannot be alike."""
        return self.text_start == NOTHING and self.visual_rows == "trained"

    def for_address(self) -> dict[str, Any]:
        """What the address of a model counts: all of it but the parts that are VideoBERT's and the weights of terms that the
        system lacks. So an address stays where systems, parts and terms are added that a model does not have."""
        options = dataclasses.asdict(self)
        del options["choose_tokenizer"]  # what was chosen counts
        del options["visual_start"]  # with the start, of which it is a part
        weights = options["training"]["weights"]
        for name, plain in (
            ("patience", None),
            ("epsilon", EPSILON),
            ("growing", 0.0),
            ("held_out_examples", 1),
        ):
            if getattr(self.training, name) == plain:
                del options["training"][name]
        options["training"]["weights"] = {n: w for n, w in weights.items() if n in self.system.terms}
        plain = dataclasses.asdict(System())
        options["system"] = {n: part for n, part in options["system"].items() if part != plain[n]}
        if not options["system"]:
            del options["system"]
        if not self.examples.near_rate:
            del options["examples"]["near_rate"]
        if self.examples.context == CONTEXT:
            del options["examples"]["context"]
        if not self.examples.whole_pairs:
            del options["examples"]["whole_pairs"]
        if self.text_start == NOTHING:
            options["random_weights"] = "by width" + ", association" * self.begins_with_association
        return options
