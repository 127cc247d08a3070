"""Plain baselines by scikit-learn: the most frequent answer, nearest neighbours, and a linear model on the clips' features.

They read what the model reads: the mean of the clips' features (where a store has only visual tokens, their counts), and
the words by tf-idf.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import normalize

from multimodal.catalogue import Video
from multimodal.examples.options import PAIR, SCORE, TEXT_READ, VIDEO_READ
from multimodal.finetuning.options import LINEAR, MAJORITY, NEIGHBOURS
from multimodal.finetuning.task import DEV, TEST, TRAIN, Task, Unit
from multimodal.library import read_features, read_imported_tokens
from multimodal.store import Store

NEAREST = 5
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""Inverse penalties of the linear model; the best on the dev videos is taken, the second where there are none."""


def baseline_predictions(
    store: Store, videos: Mapping[str, Video], task: Task, visual: int, *, balance: bool
) -> dict[str, np.ndarray]:
    """Each baseline's predictions for the units to judge by: classes as 0 and 1 [N, C], or scores [N, 1].

    ``videos`` by digest; ``visual``: the number of visual tokens.
    """
    with warnings.catch_warnings():
        # Of a class that each or no moment has, and of an optimum that was not reached.
        warnings.simplefilter("ignore")
        return _predictions(store, videos, task, visual, balance)


def _predictions(
    store: Store, videos: Mapping[str, Video], task: Task, visual: int, balance: bool
) -> dict[str, np.ndarray]:
    rows = {name: task.splits[name].units for name in (TRAIN, DEV, TEST)}
    x = _features(store, videos, task, rows, visual)
    y = {name: np.stack([u.target for u in units]) if units else None for name, units in rows.items()}
    if task.kind == SCORE:
        nearest = KNeighborsRegressor(min(NEAREST, len(y[TRAIN])), metric="cosine")
        models = {MAJORITY: DummyRegressor(), NEIGHBOURS: nearest}
        found = {name: m.fit(x[TRAIN], y[TRAIN][:, 0]).predict(x[TEST]) for name, m in models.items()}
        ridge = [Ridge(1 / strength).fit(x[TRAIN], y[TRAIN][:, 0]) for strength in STRENGTHS]
        errors = (
            [] if y[DEV] is None else [-np.square(m.predict(x[DEV]) - y[DEV][:, 0]).mean() for m in ridge]
        )
        found[LINEAR] = ridge[int(np.argmax(errors)) if errors else 1].predict(x[TEST])
        return {name: np.asarray(values, float)[:, None] for name, values in found.items()}
    # Of one class a number each, of several the table of 0 and 1.
    known = {name: None if v is None else v if task.several else v.argmax(1) for name, v in y.items()}
    models = {
        MAJORITY: DummyClassifier(strategy="most_frequent"),
        NEIGHBOURS: KNeighborsClassifier(min(NEAREST, len(y[TRAIN])), metric="cosine", weights="distance"),
    }
    found = {name: m.fit(x[TRAIN], known[TRAIN]).predict(x[TEST]) for name, m in models.items()}
    linear = [_logistic(strength, task.several, balance) for strength in STRENGTHS]
    linear = [m.fit(x[TRAIN], known[TRAIN]) for m in linear]
    right = [] if known[DEV] is None else [np.mean(m.predict(x[DEV]) == known[DEV]) for m in linear]
    found[LINEAR] = linear[int(np.argmax(right)) if right else 1].predict(x[TEST])
    eye = np.eye(len(task.classes))
    return {name: np.asarray(v, float) if task.several else eye[v] for name, v in found.items()}


def _logistic(strength: float, several: bool, balance: bool) -> LogisticRegression | OneVsRestClassifier:
    weight = "balanced" if balance else None
    one = LogisticRegression(C=strength, max_iter=1000, class_weight=weight)
    return OneVsRestClassifier(one) if several else one


def _features(
    store: Store,
    videos: Mapping[str, Video],
    task: Task,
    rows: Mapping[str, Sequence[Unit]],
    visual: int,
) -> dict[str, sparse.csr_matrix]:
    """The features of each split's units, their parts side by side, each of length 1."""
    parts: dict[str, list] = {name: [] for name in rows}
    if task.read != TEXT_READ:
        of_clips = clip_features(store, videos, [unit for units in rows.values() for unit in units], visual)
        first = 0
        for name, units in rows.items():
            parts[name].append(of_clips[first : first + len(units)])
            first += len(units)
    texts = []
    if task.read != VIDEO_READ:
        texts.append({name: [unit.segment.text for unit in units] for name, units in rows.items()})
    if task.kind == PAIR:
        texts.append({name: [unit.text for unit in units] for name, units in rows.items()})
    for of_split in texts:
        if not any(text.strip() for text in of_split[TRAIN]):
            continue
        words = TfidfVectorizer(token_pattern=r"\w+").fit(of_split[TRAIN])
        for name, some in of_split.items():
            parts[name].append(words.transform(some) if some else None)
    return {name: sparse.hstack(of, format="csr") if rows[name] else None for name, of in parts.items()}


def clip_features(
    store: Store, videos: Mapping[str, Video], units: Sequence[Unit], visual: int
) -> sparse.csr_matrix:
    """A row of length 1 for each unit: the mean of its clips' features, or where the store has none the counts of its visual
    tokens; zero where it shows no clip."""
    digests = dict.fromkeys(unit.video for unit in units)
    shown = [videos[d] for d in digests if videos[d].clips and videos[d].features]
    if any(read_imported_tokens(store, video) is not None for video in shown):
        place = [(i, token) for i, unit in enumerate(units) for token in unit.segment.tokens]
        row, column = np.array(place, np.int64).reshape(-1, 2).T
        counts = sparse.csr_matrix((np.ones(len(row)), (row, column)), (len(units), visual))
        return normalize(counts)
    values = {video.video: read_features(store, video)[0] for video in shown}
    width = max((v.shape[1] for v in values.values()), default=1)
    rows = np.zeros((len(units), width), np.float32)
    for i, unit in enumerate(units):
        if unit.segment.clips:
            clips = values[unit.video][list(unit.segment.clips)].astype(np.float32)
            rows[i] = clips.mean(0)
    return sparse.csr_matrix(normalize(rows))
