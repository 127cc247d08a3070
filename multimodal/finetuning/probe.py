"""A probe: what each layer of the model, as pretraining left it, knows of the labels (Tenney et al. 2019, "BERT rediscovers the
classical NLP pipeline", section 3, with logistic regression)."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from multimodal.examples.moments import moment_sequence
from multimodal.examples.options import PAIR, SEQUENCE, TOKEN
from multimodal.examples.packing import Example
from multimodal.finetuning.options import LAYER
from multimodal.finetuning.task import TEST, TRAIN, Split, Task
from multimodal.inference.heads import layer_states
from multimodal.inference.trained import Trained
from multimodal.scoring.intervals import Figure, ScoredQuestions
from multimodal.store import InputError
from multimodal.terms import LABEL

STRENGTH = 0.1
"""Inverse penalty, the same for all layers."""


def check_probe(task: Task) -> None:
    """Raises :class:`InputError` for a task whose answers are not one class each."""
    if task.kind not in (SEQUENCE, TOKEN, PAIR) or task.several:
        raise InputError(
            f"--probe: is of tasks with one label each, and this one is of kind {task.kind}; leave it out"
        )


def layer_figures(trained: Trained, task: Task, seed: int = 0) -> dict[str, Figure]:
    """The accuracy of logistic regression on the states of each layer, ``layer_0`` being the embeddings."""
    states = {
        name: layer_states(trained, _examples(trained, task, task.splits[name])) for name in (TRAIN, TEST)
    }
    label = {name: np.array([u.target.argmax() for u in task.splits[name].units]) for name in (TRAIN, TEST)}
    found = {}
    for layer, (train_NH, test_NH) in enumerate(zip(states[TRAIN], states[TEST], strict=True)):
        linear = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = linear.fit(train_NH, label[TRAIN]).predict(test_NH)
        questions = ScoredQuestions()
        for unit, right in zip(task.splits[TEST].units, said == label[TEST], strict=True):
            questions.add(unit.video, right, 1 / len(task.classes))
        found[f"{LAYER}{layer}"] = questions.figure(seed)
    return found


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
