"""The answers of a head that it was judged by, one by one, for people: what is right, what the head says, and what it mixes up."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from multimodal.catalogue import Video
from multimodal.examples.moments import moments_at
from multimodal.examples.options import SCORE, SPAN
from multimodal.finetuning.figures import FOUND, decided, ious
from multimodal.finetuning.task import TEST, TRAIN, Task
from multimodal.inference.trained import Trained
from multimodal.library import read_material
from multimodal.maps import square_map
from multimodal.store import Store

MOST_KEPT = 500
"""Answers at most that are kept of a head, evenly over the held-out ones."""
LEAST_MAPPED = 10


@dataclasses.dataclass(frozen=True)
class JudgedAnswer:
    """An answer about a moment of a held-out video, with what is ``true`` there: labels, a number, or times in seconds.

    ``probability`` is that of what the head says, or of the label that it says with the least; ``None`` of scores and
    times. ``place``: the moment's on a map of all, x and y from 0 to 1; ``None`` where there is no map.
    """

    video: str
    start: float
    end: float
    text: str
    true: str
    said: str
    right: bool
    probability: float | None
    place: tuple[float, float] | None


def judged_answers(
    task: Task, answers_NC: np.ndarray, states_NH: np.ndarray | None = None
) -> tuple[JudgedAnswer, ...]:
    """The answers about the units to judge by, :data:`MOST_KEPT` at most. ``states_NH``: what the head reads of each unit.

    A score is right where it is nearer to the true one than the mean of those to learn from, a time where it has half of the
    union with the true one.
    """
    units = task.splits[TEST].units
    true_NC, said_NC = np.stack([unit.target for unit in units]), decided(task, answers_NC)
    right_N = (true_NC == said_NC).all(1)
    if task.kind == SCORE:
        usual = np.mean([unit.target[0] for unit in task.splits[TRAIN].units])
        right_N = np.abs(said_NC - true_NC)[:, 0] <= np.abs(usual - true_NC)[:, 0]
    if task.kind == SPAN:
        right_N = ious(true_NC, said_NC) >= FOUND
    kept = np.unique(np.linspace(0, len(units) - 1, min(MOST_KEPT, len(units))).round().astype(int))
    places = {} if states_NH is None else dict(zip(kept.tolist(), map_of(states_NH[kept]), strict=False))
    found = []
    for i in kept.tolist():
        probability = None
        if task.classes:
            said = said_NC[i] > 0
            probability = float(answers_NC[i][said].min()) if said.any() else None
        found.append(
            JudgedAnswer(
                *(units[i].video, units[i].start, units[i].end, units[i].text),
                *(in_words(task, true_NC[i]), in_words(task, said_NC[i])),
                *(bool(right_N[i]), probability, places.get(i)),
            )
        )
    return tuple(found)


def in_words(task: Task, target_C: np.ndarray) -> str:
    """Labels, a number, or times in seconds; ``none`` for no label and for no time."""
    if task.kind == SCORE:
        return f"{target_C[0]:.2f}"
    if task.kind == SPAN:
        return "none" if np.isnan(target_C[0]) else f"{target_C[0]:.1f} to {target_C[1]:.1f} s"
    return ", ".join(name for name, has in zip(task.classes, target_C, strict=True) if has) or "none"


def confusion(task: Task, answers_NC: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """How often each class (row) is taken for each (column), over all units to judge by; empty where an answer is not one of
    several classes."""
    if not task.classes or task.several:
        return ()
    true_NC = np.stack([unit.target for unit in task.splits[TEST].units])
    counts_CC = true_NC.T @ decided(task, answers_NC)
    return tuple(tuple(int(n) for n in row) for row in counts_CC)


def map_of(states_NH: np.ndarray) -> list[tuple[float, float]]:
    """A place in the unit square for each state (:func:`~multimodal.maps.square_map`); none for fewer than
    :data:`LEAST_MAPPED`."""
    if len(states_NH) < LEAST_MAPPED:
        return []
    # Equal states begin at one point and could never part.
    jitter = np.random.default_rng(0).normal(scale=1e-4, size=states_NH.shape)
    found = square_map(np.asarray(states_NH, np.float64) + jitter * states_NH.std())
    return [(round(float(x), 4), round(float(y), 4)) for x, y in found]


def labelled_tokens(
    store: Store,
    trained: Trained,
    videos: Mapping[str, Video],
    classes: Sequence[str],
    answers: Sequence[Mapping[str, Any]],
) -> dict[int, str]:
    """Of each visual token that is shown in the judged moments the true label that they have most often while it is. Moments
    with several labels or none are left out. ``videos`` by digest."""
    found: dict[int, Counter[str]] = {}
    by_video: dict[str, list[Mapping[str, Any]]] = {}
    for answer in answers:
        if answer["true"] in classes and videos[answer["video"]].clips:
            by_video.setdefault(answer["video"], []).append(answer)
    for video, judged in by_video.items():
        material = read_material(store, trained.codebook, videos[video])
        moments = moments_at(material, [(answer["start"], answer["end"]) for answer in judged])
        for answer, moment in zip(judged, moments, strict=True):
            for token in moment.tokens:
                found.setdefault(token, Counter())[answer["true"]] += 1
    return {token: labels.most_common(1)[0][0] for token, labels in found.items()}
