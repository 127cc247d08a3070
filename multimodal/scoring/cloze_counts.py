"""Cloze by counts: a hidden word or visual token by its neighbours, by the rest of its sequence, and by the other modality.

The neighbours on both sides are contexts with absolute discounting (Ney, Essen and Kneser 1994), the longest that occurs
backed off to shorter ones; the rest is evidence by naive Bayes. How much each of them counts is chosen on some of the
training videos, by the counts of the others. Only the contexts of the questions are counted, so memory does not grow with
the library.

Shapes: S different symbols that were counted, P combinations of weights.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from multimodal.answers.plain import DISCOUNT
from multimodal.scoring.intervals import sample_questions

TINY = 1e-300
"""The least probability whose logarithm is taken."""
END = -1
"""Stands for what is beyond the first or the last symbol."""
EACH_FOLD = 5
"""Every fifth training video is asked by the counts of the others, to choose the weights."""
MOST_CHOSEN_BY = 500
"""Questions at most that the weights are chosen by."""
SIDES, REST, OTHERS, PRIORS = (0.25, 0.5, 1.0), (0.0, 0.25, 1.0), (0.0, 0.25, 0.5, 1.0), (4.0, 16.0, 64.0)
"""What is tried: the weights of the neighbours, of the other symbols of the sequence, of the other modality, and the
occurrences by which evidence is smoothed."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The ``symbols`` of a segment of a ``video`` in one modality, and the different ones of the ``other``; any numbers."""

    video: str
    symbols: tuple[int, ...]
    other: tuple[int, ...] = ()


Place = tuple[Row, int]
"""A question: the symbol at a place of a row."""
Key = tuple[Hashable, ...]


@dataclasses.dataclass(frozen=True)
class Weights:
    sides: float = 0.5
    rest: float = 0.25
    others: float = 0.5
    prior: float = 16.0


def cloze_by_counts(
    learned: Sequence[Row], asked: Sequence[Place], choices: int, seed: int = 0
) -> tuple[list[int], list[float]]:
    """For each question the likeliest symbol, and log p of the right one, over ``choices`` symbols.

    The weights of the likeliest and those of the probabilities are chosen apart: by accuracy and by likelihood.
    """
    combinations = [Weights(*w) for w in itertools.product(SIDES, REST, _useful(asked), PRIORS)]
    of_best, of_likely = _chosen(learned, combinations, choices, seed)
    weights = [of_best, of_likely]
    likeliest, log_p = [], []
    for symbols_S, log_p_PS, unseen in _answers(learned, asked, weights, choices):
        likeliest.append(int(symbols_S[log_p_PS[0].argmax()]) if len(symbols_S) else END)
        right = asked[len(log_p)][0].symbols[asked[len(log_p)][1]]
        log_p.append(_log_p_of(right, symbols_S, log_p_PS[1], unseen))
    return likeliest, log_p


def _useful(asked: Sequence[Place]) -> tuple[float, ...]:
    return OTHERS if any(row.other for row, _ in asked) else (0.0,)


def _chosen(
    learned: Sequence[Row], combinations: Sequence[Weights], choices: int, seed: int
) -> tuple[Weights, Weights]:
    """The weights of the most right answers, and of the greatest likelihood, on every fifth of the learned videos."""
    videos = list(dict.fromkeys(row.video for row in learned))
    asked_videos = set(videos[EACH_FOLD - 1 :: EACH_FOLD])
    if not any(w.others for w in combinations):
        learned = [dataclasses.replace(row, other=()) for row in learned]
    places = [(row, i) for row in learned if row.video in asked_videos for i in range(len(row.symbols))]
    sampled, _ = sample_questions(places, seed, MOST_CHOSEN_BY)
    if not sampled:
        return Weights(), Weights()
    counted = [row for row in learned if row.video not in asked_videos]
    right_P, log_p_P = np.zeros(len(combinations)), np.zeros(len(combinations))
    for (row, place), (symbols_S, log_p_PS, unseen) in zip(
        sampled, _answers(counted, sampled, combinations, choices), strict=True
    ):
        right = row.symbols[place]
        if len(symbols_S):
            right_P += symbols_S[log_p_PS.argmax(1)] == right
        log_p_P += [_log_p_of(right, symbols_S, log_p_S, unseen) for log_p_S in log_p_PS]
    # of equally many right answers the likelier
    best = max(range(len(combinations)), key=lambda p: (right_P[p], log_p_P[p]))
    return combinations[best], combinations[int(log_p_P.argmax())]


def _log_p_of(right: int, symbols_S: np.ndarray, log_p_S: np.ndarray, unseen: float) -> float:
    place = int(np.searchsorted(symbols_S, right))
    if place < len(symbols_S) and symbols_S[place] == right:
        return float(log_p_S[place])
    return unseen


def _answers(
    learned: Sequence[Row], asked: Sequence[Place], weights: Sequence[Weights], choices: int
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """For each question the symbols that were counted, int64 [S], their log p by each of the weights, [P, S], and log p of
    any symbol that was not."""
    counts = _Counts(learned, {key for place in asked for key in _keys(*place)}, choices)
    for place in asked:
        yield counts.symbols_S, counts.log_p(*place, weights), counts.unseen


def _neighbours(row: Row, place: int) -> tuple[int, int, int, int]:
    padded = (END, END, *row.symbols, END, END)
    return padded[place], padded[place + 1], padded[place + 3], padded[place + 4]


def _sides(row: Row, place: int) -> tuple[list[Key], list[Key], list[Key]]:
    """The contexts to the left, to the right and around, the shorter ones first."""
    left_2, left, right, right_2 = _neighbours(row, place)
    return (
        [("left", left), ("left", left_2, left)],
        [("right", right), ("right", right, right_2)],
        [("around", left, right), ("around", left_2, left, right, right_2)],
    )


def _evidence(row: Row, place: int) -> tuple[list[Key], list[Key]]:
    """The other symbols of the row, and those of the other modality, each once."""
    rest = {symbol for i, symbol in enumerate(row.symbols) if i != place}
    return [("rest", symbol) for symbol in sorted(rest)], [
        ("other", symbol) for symbol in sorted({*row.other})
    ]


def _keys(row: Row, place: int) -> list[Key]:
    return [key for keys in (*_sides(row, place), *_evidence(row, place)) for key in keys]


class _Counts:
    """How often each symbol is met in each of the ``wanted`` contexts."""

    def __init__(self, rows: Sequence[Row], wanted: set[Key], choices: int):
        of_key: dict[Key, Counter[int]] = {}
        usual: Counter[int] = Counter()
        paired: Counter[int] = Counter()
        for row in rows:
            usual.update(row.symbols)
            if row.other:
                paired.update(row.symbols)
            for place, symbol in enumerate(row.symbols):
                for key in _keys(row, place):
                    if key in wanted:
                        of_key.setdefault(key, Counter())[symbol] += 1
        self.symbols_S = np.array(sorted(usual), np.int64)
        self._count_S = np.array([usual[int(i)] for i in self.symbols_S], float)
        # beside a row without the other modality nothing of it could be met
        self._paired_S = np.array([paired[int(i)] for i in self.symbols_S], float)
        total, kinds = self._count_S.sum(), len(usual)
        # Witten and Bell 1991: so much for all symbols without an occurrence together
        rare = kinds / (total + kinds) if choices > kinds and total else float(not total)
        self.unseen = float(np.log(rare / (choices - kinds))) if rare else -np.inf
        self._log_seen = float(np.log1p(-rare)) if rare < 1 else -np.inf
        self._usual_S = self._count_S / max(total, 1.0)
        self._of_key = {key: self._as_arrays(counter) for key, counter in of_key.items()}

    def _as_arrays(self, counter: Counter[int]) -> tuple[np.ndarray, np.ndarray]:
        symbols = np.array(sorted(counter))
        return np.searchsorted(self.symbols_S, symbols), np.array([counter[int(i)] for i in symbols], float)

    def log_p(self, row: Row, place: int, weights: Sequence[Weights]) -> np.ndarray:
        """float64 [P, S]."""
        if not len(self.symbols_S):
            return np.zeros((len(weights), 0))
        left, right, around = _sides(row, place)
        usual_S = np.log(self._usual_S)
        beside_S = sum(np.log(self._backed_off(self._usual_S, keys)) - usual_S for keys in (left, right))
        rest, others = _evidence(row, place)
        near = {
            w: np.log(np.maximum(self._backed_off(_softmax(usual_S + w * beside_S), around), TINY))
            for w in {w.sides for w in weights}
        }
        fits = {
            prior: (self._fit(rest, self._count_S, prior), self._fit(others, self._paired_S, prior))
            for prior in {w.prior for w in weights}
        }
        logits_PS = np.stack(
            [near[w.sides] + w.rest * fits[w.prior][0] + w.others * fits[w.prior][1] for w in weights]
        )
        return np.log(np.maximum(_softmax(logits_PS), TINY)) + self._log_seen

    def _backed_off(self, shorter_S: np.ndarray, keys: Sequence[Key]) -> np.ndarray:
        """The distribution after contexts, what is taken off their counts spread as the shorter ones say."""
        for key in keys:
            if key in self._of_key:
                places, counts = self._of_key[key]
                total = counts.sum()
                shorter_S = shorter_S * (DISCOUNT * len(counts) / total)
                shorter_S[places] += (counts - DISCOUNT) / total
        return shorter_S

    def _fit(self, keys: Sequence[Key], count_S: np.ndarray, prior: float) -> np.ndarray:
        """float64 [S]: Σ log p(evidence | symbol) − log p(evidence), smoothed towards 0 by ``prior`` occurrences.
        ``count_S``: the symbols beside which the evidence could be met."""
        fit_S = np.zeros(len(self.symbols_S))
        for key in keys:
            if key in self._of_key:
                places, counts = self._of_key[key]
                usual = counts.sum() / count_S.sum()
                fit_S += np.log(prior / (count_S + prior))
                both = count_S[places] + prior
                fit_S[places] += np.log((counts + prior * usual) / (both * usual)) - np.log(prior / both)
        return fit_S


def _softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)
