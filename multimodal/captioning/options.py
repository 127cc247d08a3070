"""Options of the captioner. No PyTorch here."""

from __future__ import annotations

import dataclasses

from multimodal.training.options import ROLLBACK_STEPS, TrainingOptions
from multimodal.vocabulary import TEMPLATE

Reference = tuple[str, float, float, str]
"""A caption that a person wrote: the video's digest, start and end in seconds, the sentence."""


@dataclasses.dataclass(frozen=True)
class CaptionerOptions:
    """``layers`` of the encoder's own width. The decoder attends to the encoder's states of the visual tokens and, as in
    VideoBERT (section 4.4), of the blanks of ``template`` (empty: without). ``features``: the clips' features too,
    projected and added. ``words``: the words spoken beside the moment join the encoder's input.

    ``epochs`` passes over the corpus' own sentences, in at least ``least_steps`` and at most ``most_steps`` steps of
    ``examples_per_step``; then ``reference_epochs`` over the reference captions, at ``reference_rate`` times the learning
    rate. AdamW, linear warm-up and decay as in pre-training. ``longest``: word pieces of a caption at most.
    ``spike``: that of :class:`~multimodal.training.options.TrainingOptions`.
    """

    layers: int = 2
    template: str = TEMPLATE
    features: bool = False
    words: bool = False
    longest: int = 40
    dropout: float = 0.1
    smoothing: float = 0.1
    examples_per_step: int = 32
    epochs: int = 30
    least_steps: int = 150
    most_steps: int = 20_000
    reference_epochs: int = 10
    reference_rate: float = 0.3
    learning_rate: float = 5e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    precision: str = "auto"
    spike: float | None = None
    checkpoint_seconds: float = 60.0

    @property
    def training(self) -> TrainingOptions:
        """The training on the corpus' own sentences."""
        shared = {f.name for f in dataclasses.fields(TrainingOptions)} & {
            f.name for f in dataclasses.fields(self)
        }
        steps = None if self.spike is None else ROLLBACK_STEPS
        return TrainingOptions(**{name: getattr(self, name) for name in shared}, checkpoint_steps=steps)

    @property
    def fine_tuning(self) -> TrainingOptions:
        """The training on reference captions, which follows."""
        return dataclasses.replace(
            self.training,
            epochs=self.reference_epochs,
            least_steps=1,
            learning_rate=self.learning_rate * self.reference_rate,
        )
