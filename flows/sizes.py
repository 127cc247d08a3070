"""The sizes: the choices that `--size` stands for, part by part."""

from __future__ import annotations

import dataclasses

from multimodal.examples.options import ExampleOptions
from multimodal.joint.options import Shape
from multimodal.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class Sized:
    """The parts of a size. ``largest`` is the (k, depth) of the largest codebook. ``shape`` is that of a joint BERT trained
    from scratch. The ``text_start`` of a large size is a name, never a folder of that name: ``--text-start FOLDER`` gives
    the folder.

    ``examples`` and ``training`` of the small sizes were chosen on the sample corpus (docs/decisions.md). The large ones have
    BERT's masking rate, and a learning rate at which its large checkpoints stay stable.
    """

    whisper: str
    backbone: str
    largest: tuple[int, int]
    text_start: str
    shape: Shape
    examples: ExampleOptions
    training: TrainingOptions


QUICK = (
    ExampleOptions(mask=0.2, runs_per_spoken_segment=6, whole_pairs=True),
    TrainingOptions(
        examples_per_step=56,
        epochs=23,
        least_steps=40,
        most_steps=20_000,
        learning_rate=1e-3,
        beta2=0.98,
        patience=5,
    ),
)
BERTS = (
    ExampleOptions(),
    TrainingOptions(
        examples_per_step=200, epochs=8, least_steps=2000, most_steps=500_000, learning_rate=1e-5
    ),
)

SIZES: dict[str, Sized] = {
    "demo": Sized("tiny.en", "i3d", (12, 2), "minilm-l6", Shape(6, 384, 12), *QUICK),
    "small": Sized("tiny.en", "i3d", (12, 3), "minilm-l6", Shape(6, 384, 12), *QUICK),
    "base": Sized("small", "s3d", (12, 4), "bert-base-uncased", Shape(12, 768, 12), *BERTS),
    "paper": Sized("large-v3-turbo", "s3d", (12, 4), "bert-large-uncased", Shape(24, 1024, 16), *BERTS),
}
