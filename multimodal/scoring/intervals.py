"""Owns what a figure is: a value with its 95 % interval over videos, what chance gives, and how many questions it rests on.

Questions about one video are not independent, so the bootstrap draws videos, with all their questions. About fewer
than three videos nothing is sure: the interval is then the whole range that the value can lie in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 1000
LEAST_VIDEOS = 3
SHARE = (0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Figure:
    """``value`` with its 95 % interval ``[low, high]``, what ``chance`` gives, and over how many questions.

    ``note`` says what there is to know of how it was measured; with ``value`` None, why it was not.
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


class Videos:
    """The videos that questions are about, and the resamples of them.

    ``of_N``: the number of each question's video, from 0 to V − 1. ``drawn_RV``: how often each resample holds each video.
    """

    def __init__(self, videos: Sequence[str], seed: int = 0):
        names, of_N = np.unique(np.asarray(videos, dtype=object).astype(str), return_inverse=True)
        self.of_N, self.count = of_N.reshape(-1), len(names)
        drawn = np.random.default_rng(seed).integers(self.count, size=(RESAMPLES, self.count))
        self.drawn_RV = np.zeros((RESAMPLES, self.count), np.int64)
        np.add.at(self.drawn_RV, (np.arange(RESAMPLES)[:, None], drawn), 1)

    def sums(self, parts_NK: np.ndarray) -> np.ndarray:
        """float64 [V, K]: the questions' parts added up video by video."""
        sums_VK = np.zeros((self.count, parts_NK.shape[1]))
        np.add.at(sums_VK, self.of_N, parts_NK)
        return sums_VK

    def figure(self, value: float, resampled_R: np.ndarray, chance: float, n: int,
               bounds: tuple[float, float] = SHARE, note: str = "") -> Figure:  # fmt: skip
        """``resampled_R``: the value in each resample. ``bounds``: the least and the greatest that it can be."""
        low, high = np.quantile(resampled_R, [0.025, 0.975]) if self.count >= LEAST_VIDEOS else bounds
        return Figure(float(value), float(low), float(high), float(chance), n, note)


def of_sums(
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

    ``None`` where nothing was asked.
    """
    if not len(parts_NK):
        return None
    about = Videos(videos, seed)
    sums_VK = about.sums(parts_NK)
    return about.figure(
        float(score(sums_VK.sum(0))),
        score(about.drawn_RV @ sums_VK),
        chance,
        len(parts_NK),
        bounds,
        note,
    )


def mean(sums_K: np.ndarray) -> np.ndarray:
    """The first sum over the second: a mean, where the second counts."""
    return sums_K[..., 0] / sums_K[..., 1]


@dataclasses.dataclass
class Answers:
    """The questions of one figure: right or wrong (or a share), the video each is about, what chance would give."""

    right: list[float] = dataclasses.field(default_factory=list)
    video: list[str] = dataclasses.field(default_factory=list)
    chance: list[float] = dataclasses.field(default_factory=list)

    def add(self, video: str, right: float, chance: float) -> None:
        self.right.append(float(right))
        self.video.append(video)
        self.chance.append(float(chance))

    def figure(self, seed: int = 0) -> Figure | None:
        """The mean; ``None`` where nothing was asked."""
        if not self.right:
            return None
        parts_N2 = np.stack([self.right, np.ones(len(self.right))], 1)
        return of_sums(self.video, parts_N2, mean, float(np.mean(self.chance)), seed=seed)
