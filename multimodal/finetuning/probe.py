"""A probe: what each layer of the model, as pretraining left it, knows of the labels of a task."""

from __future__ import annotations

import numpy as np

from multimodal.examples.moments import moment_sequence
from multimodal.examples.options import PAIR, SEQUENCE, TOKEN
from multimodal.examples.packing import Example
from multimodal.finetuning.options import LAYER
from multimodal.finetuning.task import TEST, TRAIN, Split, Task
from multimodal.inference.layers import layer_states
from multimodal.inference.trained import Trained
from multimodal.scoring.intervals import Figure
from multimodal.scoring.layer_probe import probe_layers
from multimodal.store import InputError
from multimodal.terms import LABEL


def check_probe(task: Task) -> None:
    """Raises :class:`InputError` for a task whose answers are not one class each."""
    if task.kind not in (SEQUENCE, TOKEN, PAIR) or task.several:
        raise InputError(
            f"--probe: is of tasks with one label each, and this one is of kind {task.kind}; leave it out"
        )


def layer_figures(trained: Trained, task: Task, seed: int = 0) -> dict[str, Figure]:
    """The accuracy of logistic regression on the states of each layer, ``layer_0`` being the embeddings. Chance is the label most
    frequent in what was learned from."""
    states = {
        name: layer_states(trained, _examples(trained, task, task.splits[name])) for name in (TRAIN, TEST)
    }
    label = {name: np.array([u.target.argmax() for u in task.splits[name].units]) for name in (TRAIN, TEST)}
    videos = [unit.video for unit in task.splits[TEST].units]
    layers = probe_layers(states[TRAIN], states[TEST], label[TRAIN], label[TEST], videos, seed)
    return {f"{LAYER}{layer}": figure for layer, figure in enumerate(layers)}


def _examples(trained: Trained, task: Task, split: Split) -> list[Example]:
    """Of a timeline each clip in the first window that it is in; of other tasks the moments, whose mean state is asked for."""
    if task.kind != TOKEN:
        return [
            Example(*moment_sequence(trained.vocabulary, unit.segment, task.read, unit.text or None))
            for unit in split.units
        ]
    seen: dict[int, Example] = {}
    for window in split.windows:
        for position, unit in zip(window.positions, window.units, strict=True):
            seen.setdefault(unit, Example(window.ids, window.types, {LABEL: [(position, 0)]}))
    return [seen[unit] for unit in range(len(split))]
