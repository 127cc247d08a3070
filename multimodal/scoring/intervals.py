"""Figures: a value with its 95 % bootstrap interval over videos, the value of chance, and the number of questions.

Questions about one video are not independent, so the bootstrap draws videos, with all their questions. With fewer than
three videos the interval is the whole range of the value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

RESAMPLES = 1000
LEAST_VIDEOS = 3
SHARE = (0.0, 1.0)
MOST_QUESTIONS = 1000
"""Of a figure. More questions about the same videos hardly narrow an interval over videos: with 1,000 a share has a
standard error of 1.6 points at most from the questions alone."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Figure:
    """``value`` with its 95 % interval ``[low, high]``, the value of ``chance``, and the number ``n`` of questions.

    ``note`` says how it was measured, for people; where ``value`` is None, why it was not.
    """

    value: float | None
    low: float | None
    high: float | None
    chance: float | None
    n: int
    note: str = ""


def not_computed(why: str) -> Figure:
    """A figure without a value; ``why`` in words."""
    return Figure(None, None, None, None, 0, why)


class VideoBootstrap:
    """Bootstrap resamples of the videos that questions are about.

    ``of_N``: the number of each question's video, from 0 to V − 1. ``drawn_RV``: how often a resample has each video.
    """

    def __init__(self, videos: Sequence[str], seed: int = 0):
        names, of_N = np.unique(np.asarray(videos, dtype=object).astype(str), return_inverse=True)
        self.of_N, self.count = of_N.reshape(-1), len(names)
        drawn = np.random.default_rng(seed).integers(self.count, size=(RESAMPLES, self.count))
        self.drawn_RV = np.zeros((RESAMPLES, self.count), np.int64)
        np.add.at(self.drawn_RV, (np.arange(RESAMPLES)[:, None], drawn), 1)

    def sums(self, parts_NK: np.ndarray) -> np.ndarray:
        """float64 [V, K]: the sums of the questions' parts over each video."""
        sums_VK = np.zeros((self.count, parts_NK.shape[1]))
        np.add.at(sums_VK, self.of_N, parts_NK)
        return sums_VK

    def figure(self, value: float, resampled_R: np.ndarray, chance: float, n: int,
               bounds: tuple[float, float] = SHARE, note: str = "") -> Figure:  # fmt: skip
        """``resampled_R``: the value in each resample. ``bounds``: the least and the greatest possible value."""
        low, high = np.quantile(resampled_R, [0.025, 0.975]) if self.count >= LEAST_VIDEOS else bounds
        return Figure(float(value), float(low), float(high), float(chance), n, note)


def figure_of_sums(
    videos: Sequence[str],
    parts_NK: np.ndarray,
    score: Callable[[np.ndarray], np.ndarray],
    chance: float,
    *,
    bounds: tuple[float, float] = SHARE,
    seed: int = 0,
    note: str = "",
) -> Figure | None:
    """The figure of a score that is a function of sums over questions: ``score`` [..., K] -> [...].

    ``None`` where there is no question.
    """
    if not len(parts_NK):
        return None
    bootstrap = VideoBootstrap(videos, seed)
    sums_VK = bootstrap.sums(parts_NK)
    return bootstrap.figure(
        float(score(sums_VK.sum(0))),
        score(bootstrap.drawn_RV @ sums_VK),
        chance,
        len(parts_NK),
        bounds,
        note,
    )


def mean(sums_K: np.ndarray) -> np.ndarray:
    """The first sum over the second: a mean where the second counts."""
    return sums_K[..., 0] / sums_K[..., 1]


@dataclasses.dataclass
class ScoredQuestions:
    """The questions of one figure: the score of each (right or wrong, or a share), its video, and the score of chance."""

    scores: list[float] = dataclasses.field(default_factory=list)
    videos: list[str] = dataclasses.field(default_factory=list)
    chances: list[float] = dataclasses.field(default_factory=list)

    def add(self, video: str, score: float, chance: float) -> None:
        self.scores.append(float(score))
        self.videos.append(video)
        self.chances.append(float(chance))

    def extend(self, others: ScoredQuestions) -> None:
        self.scores += others.scores
        self.videos += others.videos
        self.chances += others.chances

    def figure(self, seed: int = 0, note: str = "") -> Figure | None:
        """The mean score; ``None`` where there is no question."""
        if not self.scores:
            return None
        parts_N2 = np.stack([self.scores, np.ones(len(self.scores))], 1)
        return figure_of_sums(self.videos, parts_N2, mean, float(np.mean(self.chances)), seed=seed, note=note)


def difference(
    first: ScoredQuestions, second: ScoredQuestions, seed: int = 0, note: str = ""
) -> Figure | None:
    """The mean of ``first``'s scores less that of ``second``'s, both of the same questions in the same order; chance is 0.

    The bootstrap draws videos for both at once, so the interval is narrower than those of the two figures suggest.
    """
    if not first.scores:
        return None
    parts_N2 = np.stack([np.subtract(first.scores, second.scores), np.ones(len(first.scores))], 1)
    return figure_of_sums(first.videos, parts_N2, mean, 0.0, bounds=(-1.0, 1.0), seed=seed, note=note)


def compared(
    name: str, model: ScoredQuestions, counts: ScoredQuestions, seed: int = 0, note: str = ""
) -> dict[str, Figure]:
    """``NAME`` of the model, ``NAME_counts`` of the plain answer to the same questions, and ``NAME_minus_counts``."""
    found = {
        name: model.figure(seed, note),
        f"{name}_counts": counts.figure(seed, note),
        f"{name}_minus_counts": difference(model, counts, seed, note),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def sample_questions(
    questions: Sequence[T], seed: int, most: int | None = None, what: str = "questions"
) -> tuple[Sequence[T], str]:
    """At most ``most`` questions (:data:`MOST_QUESTIONS`) in their order, and a note for people where some are left out.

    ``questions`` are in the order of their videos. They are cut into ``most`` equal runs, and the seed draws one question
    out of each: every video has its share in the sample, and every question the same chance to be in it.
    """
    count, most = len(questions), MOST_QUESTIONS if most is None else most
    if count <= most:
        return questions, ""
    edges = np.arange(most + 1) * count // most
    kept = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
    return [questions[i] for i in kept], f"{most} of {count} {what}, drawn by the seed"
