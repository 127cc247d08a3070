"""Alignment by counts: how much oftener than by chance the words of a sentence are said while its tokens are shown."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from multimodal.scoring.cloze_counts import EACH_FOLD, MOST_CHOSEN_BY
from multimodal.scoring.intervals import sample_questions

PRIORS = (0.5, 2.0, 8.0, 32.0)
"""The numbers of moments, as many as by chance, that are added to those counted: one is chosen."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """The different ``words`` (any numbers) and visual ``tokens`` of a segment of a ``video``."""

    video: str
    words: frozenset[int]
    tokens: frozenset[int]


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The scores of pairs; above ``threshold`` a pair is taken for aligned."""

    scores: np.ndarray
    threshold: float


def alignment_by_counts(learned: Sequence[Pair], asked: Sequence[Pair], seed: int = 0) -> Alignment:
    """Scores of the ``asked`` pairs: the mean over words and tokens of their pointwise mutual information (Church and Hanks
    1990), smoothed, or its sum.

    Smoothing, mean or sum, and the threshold are those that tell aligned pairs of every fifth learned video best from
    misaligned ones, by the counts of the others.
    """
    videos = list(dict.fromkeys(pair.video for pair in learned))
    asked_videos = set(videos[EACH_FOLD - 1 :: EACH_FOLD])
    own, _ = sample_questions([p for p in learned if p.video in asked_videos], seed, MOST_CHOSEN_BY)
    random, other = np.random.default_rng(seed), []
    for pair in own:
        foreign = own[int(random.integers(len(own)))]
        other.append(dataclasses.replace(pair, tokens=foreign.tokens))
    prior, whole, threshold = PRIORS[1], True, 0.0
    if len({p.video for p in own}) > 1:
        counted = [p for p in learned if p.video not in asked_videos]
        information = _information(counted, [*own, *other])
        best = -1.0
        for some_prior in PRIORS:
            for some_whole in (True, False):
                scores = _scores(information, some_prior, some_whole)
                aligned, misaligned = scores[: len(own)], scores[len(own) :]
                right = float(
                    (aligned[:, None] > misaligned).mean() + (aligned[:, None] == misaligned).mean() / 2
                )
                if right > best:
                    best, prior, whole = right, some_prior, some_whole
                    threshold = _threshold(aligned, misaligned)
    return Alignment(_scores(_information(learned, asked), prior, whole), threshold)


def _threshold(aligned: np.ndarray, misaligned: np.ndarray) -> float:
    """The score above which most are aligned, below which most are not."""
    edges = np.unique(np.concatenate([aligned, misaligned]))
    right = [(aligned > edge).sum() + (misaligned <= edge).sum() for edge in edges]
    return float(edges[int(np.argmax(right))])


def _information(learned: Sequence[Pair], asked: Sequence[Pair]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each pair, over its words and tokens that were counted: the moments that have both, and those that would by chance."""
    words, tokens = set().union(*(p.words for p in asked)), set().union(*(p.tokens for p in asked))
    word: Counter[int] = Counter()
    token: Counter[int] = Counter()
    both: Counter[tuple[int, int]] = Counter()
    for pair in learned:
        said, shown = pair.words & words, pair.tokens & tokens
        word.update(said)
        token.update(shown)
        both.update((w, t) for w in said for t in shown)
    found = []
    for pair in asked:
        cells = [(w, t) for w in pair.words for t in pair.tokens if word[w] and token[t]]
        by_chance = [word[w] * token[t] / len(learned) for w, t in cells]
        found.append((np.array([both[cell] for cell in cells], float), np.array(by_chance, float)))
    return found


def _scores(information: Sequence[tuple[np.ndarray, np.ndarray]], prior: float, whole: bool) -> np.ndarray:
    scores = np.zeros(len(information))
    for n, (count, by_chance) in enumerate(information):
        if len(count):
            fit = np.log((count + prior) / (by_chance + prior))
            scores[n] = fit.sum() if whole else fit.mean()
    return scores
