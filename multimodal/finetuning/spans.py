"""Plain baselines of questions: where answers usually lie, clips like those of the nearest questions' answers, and logistic
regression of single clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from multimodal.catalogue import Video
from multimodal.examples.moments import moments_at
from multimodal.finetuning.baselines import NEAREST, clip_features
from multimodal.finetuning.options import LINEAR, MAJORITY, NEIGHBOURS
from multimodal.finetuning.task import TEST, TRAIN, Task, Unit, answer_clips, length_of
from multimodal.library import Material
from multimodal.store import Store
from vision.clips import CLIP_SECONDS

NONE = (np.nan, np.nan)
NEGATIVES = 30
"""Clips outside the answer of each question that the linear model learns from."""


def span_baselines(
    store: Store, videos: Mapping[str, Video], task: Task, materials: Mapping[str, Material], visual: int
) -> dict[str, np.ndarray]:
    """The seconds [N, 2] that each baseline answers to the questions to judge by, NaN for none."""
    train, test = task.splits[TRAIN].units, task.splits[TEST].units
    clips = _clips_of(store, videos, [*train, *test], materials, visual)
    words = TfidfVectorizer(token_pattern=r"\w+").fit([unit.text for unit in train])
    asked = {
        id(unit): row
        for unit, row in zip([*train, *test], words.transform([u.text for u in (*train, *test)]), strict=True)
    }
    held = {id(unit): answer_clips(materials[unit.video].starts, unit.start, unit.end) for unit in train}

    def nearest(unit: Unit) -> list[Unit]:
        """The most alike questions about other videos, or where there is none about the same one."""
        others = (
            [u for u in train if u.video != unit.video] or [u for u in train if u is not unit] or list(train)
        )
        likeness = sparse.vstack([asked[id(u)] for u in others]) @ asked[id(unit)].T
        return [others[i] for i in np.argsort(-likeness.toarray()[:, 0], kind="stable")[:NEAREST]]

    def likeness(unit: Unit, near: Sequence[Unit]) -> np.ndarray:
        """The cosine of each clip of a question's video with the clips that answered the nearest questions."""
        rows = [clips[u.video][sorted(held[id(u)])] for u in near if held[id(u)]]
        own = clips[unit.video]
        if not rows:
            return np.zeros(own.shape[0])
        mean = np.asarray(sparse.vstack(rows).mean(0)).ravel()
        return own @ (mean / max(np.linalg.norm(mean), 1e-12))

    def features(unit: Unit) -> sparse.csr_matrix:
        own = clips[unit.video]
        like = sparse.csr_matrix(likeness(unit, nearest(unit))[:, None])
        question = sparse.vstack([asked[id(unit)]] * own.shape[0])
        return sparse.hstack([own, question, like], format="csr")

    linear = _fit(train, features, held)
    usual = _usual(train, materials)
    found: dict[str, list[tuple[float, float]]] = {MAJORITY: [], NEIGHBOURS: [], LINEAR: []}
    for unit in test:
        starts, near = materials[unit.video].starts, nearest(unit)
        length = length_of(materials[unit.video])
        found[MAJORITY].append(NONE if usual is None else (usual[0] * length, usual[1] * length))
        cosines, none = likeness(unit, near), sum(not held[id(u)] for u in near)
        bare = 2 * none > len(near) or not len(starts)
        found[NEIGHBOURS].append(NONE if bare else best_run(cosines - cosines.mean() - cosines.std(), starts))
        p = np.zeros(0) if linear is None or not len(starts) else linear.predict_proba(features(unit))[:, 1]
        found[LINEAR].append(best_run(p - 0.5, starts) if len(p) and p.max() > 0.5 else NONE)
    return {name: np.array(values, float).reshape(-1, 2) for name, values in found.items()}


def _clips_of(
    store: Store,
    videos: Mapping[str, Video],
    units: Sequence[Unit],
    materials: Mapping[str, Material],
    visual: int,
) -> dict[str, sparse.csr_matrix]:
    """The features of all clips of the videos, a row of length 1 each."""
    each = []
    for digest in dict.fromkeys(unit.video for unit in units):
        starts = materials[digest].starts
        alone = moments_at(materials[digest], [(s, s + CLIP_SECONDS) for s in starts.tolist()])
        each += [Unit(digest, m.start, m.end, np.zeros(0), m) for m in alone]
    rows, found, first = clip_features(store, videos, each, visual), {}, 0
    for digest in dict.fromkeys(unit.video for unit in units):
        count = len(materials[digest].starts)
        found[digest] = rows[first : first + count]
        first += count
    return found


def _fit(train: Sequence[Unit], features, held: Mapping[int, set[int]]) -> LogisticRegression | None:
    """Whether a clip answers a question, from the clips of the answers and some of the others."""
    rows, right = [], []
    for number, unit in enumerate(train):
        x, inside = features(unit), held[id(unit)]
        others = [clip for clip in range(x.shape[0]) if clip not in inside]
        others = np.random.default_rng(number).permutation(others)[:NEGATIVES].tolist()
        chosen = [*sorted(inside), *others]
        rows.append(x[chosen])
        right += [clip in inside for clip in chosen]
    if len(set(right)) < 2:
        return None
    return LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced").fit(sparse.vstack(rows), right)


def _usual(train: Sequence[Unit], materials: Mapping[str, Material]) -> tuple[float, float] | None:
    """Where answers lie on average, as shares of their videos; ``None`` where most questions have none."""
    shares = [(u.start, u.end) / np.array(length_of(materials[u.video])) for u in train if u.end > u.start]
    if 2 * len(shares) < len(train):
        return None
    start, end = np.mean(shares, 0)
    return float(start), float(end)


def best_run(values_N: np.ndarray, starts_N: np.ndarray) -> tuple[float, float]:
    """The seconds of the run of neighbouring clips with the greatest sum."""
    sums = np.concatenate([[0.0], np.cumsum(values_N)])
    pairs_NN = np.where(np.tri(len(values_N)).T > 0, sums[None, 1:] - sums[:-1, None], -np.inf)
    first, last = np.unravel_index(int(pairs_NN.argmax()), pairs_NN.shape)
    return float(starts_N[first]), float(starts_N[last]) + CLIP_SECONDS
