"""Budgets: how many training steps of a system read and write so many tokens, or take so many seconds."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence

import numpy as np

from multimodal.catalogue import Video
from multimodal.library import read_material
from multimodal.store import InputError, Store, canonical_json, write_artefact
from multimodal.tokens import load_codebook, train_and_held_out
from multimodal.training.options import PretrainOptions
from multimodal.training.pretraining import gather, model_name, pretrain, vocabulary_of

SAMPLE = 256
"""Items that are drawn to tell how many tokens a step reads."""
TIMED_STEPS, FIRST_TIMED = 12, 2
"""Steps of the training that tells how long a step takes, and the first that counts: the ones before warm caches."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """What each run may spend: ``tokens`` that it reads and writes, or ``seconds`` of its steps; one of the two.

    Raises :class:`InputError` where both or none is given, or it is not above 0.
    """

    tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.seconds is None):
            raise InputError("--tokens and --seconds: give one of them, the budget of each run")
        for name, value in (("tokens", self.tokens), ("seconds", self.seconds)):
            if value is not None and not value > 0:
                raise InputError(f"--{name} {value:g}: more than 0, the budget of each run")

    def steps(self, per_step: StepCost) -> int:
        """The steps that it pays for, one at least."""
        if self.tokens is not None:
            return max(1, round(self.tokens / per_step.tokens))
        assert per_step.seconds is not None
        return max(1, round(self.seconds / per_step.seconds))


@dataclasses.dataclass(frozen=True)
class StepCost:
    """``tokens`` that a step reads and writes in the mean, of so many ``items`` in all, and the ``seconds`` that it takes, where
    that was measured."""

    tokens: float
    items: int
    seconds: float | None = None


def step_cost(
    store: Store, videos: Sequence[Video], codebook: str, options: PretrainOptions, device: str, timed: bool
) -> StepCost:
    """What a step of these options costs. ``timed``: its seconds too, by a short training whose model is removed.

    The seconds are measured once and kept in the store, so a comparison that was stopped goes on with the same steps.
    """
    cost = token_cost(store, videos, codebook, options)
    if not timed:
        return cost
    short = dataclasses.replace(
        options.training, least_steps=TIMED_STEPS, most_steps=TIMED_STEPS, patience=None
    )
    options = dataclasses.replace(options, training=short)
    name = model_name(store, videos, codebook, options)
    path = store.comparison(f"pace-{name}-{device}")
    if not path.exists():
        ends: dict[int, float] = {}
        pretrain(
            store, videos, codebook, options, device,
            lambda done, *_: ends.setdefault(int(done), time.monotonic()),
        )  # fmt: skip
        store.remove_model(name)
        # The last step ends with the loss over everything held out.
        steps = TIMED_STEPS - 1 - FIRST_TIMED
        write_artefact(path, canonical_json((ends[TIMED_STEPS - 1] - ends[FIRST_TIMED]) / steps).encode())
    return dataclasses.replace(cost, seconds=json.loads(path.read_text()))


def token_cost(store: Store, videos: Sequence[Video], codebook: str, options: PretrainOptions) -> StepCost:
    """The tokens that a step reads and, with a decoder, writes, over a sample of the items of epoch 0."""
    train_videos, _ = train_and_held_out(store, videos, codebook)
    fitted = load_codebook(store, codebook)
    examples = gather(
        vocabulary_of(store, train_videos, options, len(fitted.used_)),
        (read_material(store, codebook, video) for video in train_videos),
        options.examples,
        options.training.seed,
        options.active_terms,
        fitted.used_.nonzero()[0].tolist(),
        options.system,
    )
    if not len(examples):
        raise InputError(f"store {store.root}: there is nothing to learn from, so nothing to compare")
    items = examples.order(0)[:SAMPLE].tolist()
    tokens = [sum(example.tokens for example in examples.draw(0, item)) for item in items]
    per_step = min(options.training.examples_per_step * options.training.mean_batch, len(examples))
    return StepCost(float(np.mean(tokens)) * per_step, len(examples))
