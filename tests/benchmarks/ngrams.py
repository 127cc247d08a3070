"""N-grams with backoff for the plain baseline of the learning study, and the choice of their hyperparameters by folds.

The length of a context, the discount, and the weights of neighbours and of known names are chosen on the training videos:
each fold is asked by the counts of the others.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Context = tuple[int | str, ...]

START = -1
FOLDS = 10
DISCOUNTS = (0.3, 0.6, 0.9)
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def folds(videos: Sequence[T], seed: int = 0) -> Iterator[tuple[list[T], list[T]]]:
    """Cross-validation: (videos that are counted, videos that are asked), ``FOLDS`` times; each is asked once."""
    order = np.random.default_rng(seed).permutation(len(videos)).tolist()
    for n in range(FOLDS):
        asked = set(order[n::FOLDS])
        yield (
            [v for i, v in enumerate(videos) if i not in asked],
            [v for i, v in enumerate(videos) if i in asked],
        )


def before(symbols: Sequence[int], place: int, length: int) -> list[Context]:
    """The 1 to ``length`` symbols before a place, the shortest context first; before all there is ``START``."""
    seen = (START, *symbols[:place])
    return [seen[-k:] for k in range(1, min(length, len(seen)) + 1)]


class Backoff:
    """p(symbol | context) with absolute discounting (Ney, Essen and Kneser 1994): the discount of a context goes to the
    next shorter one, in the end to all symbols alike."""

    def __init__(self, choices: int, discount: float):
        self.choices, self.discount = choices, discount
        self._counts: dict[Context, Counter[int]] = {}
        self._p: dict[tuple[Context, ...], np.ndarray] = {}

    def add(self, contexts: Sequence[Context], symbol: int) -> None:
        for context in ((), *contexts):
            self._counts.setdefault(context, Counter())[symbol] += 1

    def p(self, contexts: Sequence[Context]) -> np.ndarray:
        """float64 [choices]. Unseen contexts are skipped. Everything is to be counted before the first call."""
        key = tuple(contexts)
        if key not in self._p:
            self._p[key] = self._backed_off(key)
        return self._p[key]

    def _backed_off(self, contexts: tuple[Context, ...]) -> np.ndarray:
        p_V = np.full(self.choices, 1 / self.choices)
        for counts in filter(None, (self._counts.get(context) for context in ((), *contexts))):
            total = counts.total()
            p_V *= self.discount * len(counts) / total
            p_V[list(counts)] += (np.fromiter(counts.values(), float) - self.discount) / total
        return p_V


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Hyperparameters: ``length`` of a context, ``discount`` of a count, weight of the ``neighbours`` and of ``about``."""

    length: int
    discount: float
    neighbours: float = 1.0
    about: float = 0.0


@dataclasses.dataclass(frozen=True)
class Row:
    """Symbols in their order, and contexts that hold for the whole row, the shortest first."""

    symbols: tuple[int, ...]
    about: tuple[Context, ...] = ()


class Places:
    """The symbol at a place by the symbols before it, by those after it, and by the contexts of the row."""

    def __init__(self, choices: int, rows: Sequence[Row], length: int, discount: float):
        self.length = length
        self._sides = [Backoff(choices, discount) for _ in range(2)]
        self._about = Backoff(choices, discount)
        for row in rows:
            for place, symbol in enumerate(row.symbols):
                for side, contexts in zip(self._sides, self._beside(row, place), strict=True):
                    side.add(contexts, symbol)
                self._about.add(row.about, symbol)

    def _beside(self, row: Row, place: int) -> tuple[list[Context], list[Context]]:
        back = row.symbols[::-1]
        return before(row.symbols, place, self.length), before(back, len(back) - 1 - place, self.length)

    def parts(self, row: Row, place: int) -> np.ndarray:
        """float64 [3, choices]: log p of each symbol anywhere, and what the neighbours and the row's contexts add to it."""
        usual_V = np.log(self._about.p(()))
        sides = [np.log(s.p(c)) for s, c in zip(self._sides, self._beside(row, place), strict=True)]
        return np.stack([usual_V, sum(sides) - 2 * usual_V, np.log(self._about.p(row.about)) - usual_V])


def log_p(parts_N3V: np.ndarray, chosen: Chosen) -> np.ndarray:
    """[N, choices]: log-softmax of the weighted sum of the parts."""
    weights_3 = np.array([1, chosen.neighbours, chosen.about], parts_N3V.dtype)
    logits_NV = np.einsum("npv,p->nv", parts_N3V, weights_3)
    logits_NV -= logits_NV.max(-1, keepdims=True)
    return logits_NV - np.log(np.exp(logits_NV).sum(-1, keepdims=True))


def parts_of(places: Places, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """The parts of each place of the rows, float32 [N, 3, choices], and its symbol [N]."""
    parts = [places.parts(row, i).astype(np.float32) for row in rows for i in range(len(row.symbols))]
    return np.stack(parts), np.array([symbol for row in rows for symbol in row.symbols])


def choose(choices: int, videos: Sequence[Sequence[Row]], lengths: Sequence[int]) -> dict[str, list[Chosen]]:
    """The hyperparameters of the best accuracy and of the best likelihood on the folds of ``videos`` (rows of each).

    "with" and "without" the contexts of a row.
    """
    found: list[tuple[float, float, Chosen]] = []
    known = any(row.about for rows in videos for row in rows)
    for length, discount in itertools.product(lengths, DISCOUNTS):
        parts, rights = [], []
        for counted, held in folds(videos):
            places = Places(choices, [r for rows in counted for r in rows], length, discount)
            some_parts, some_rights = parts_of(places, [r for rows in held for r in rows])
            parts.append(some_parts)
            rights.append(some_rights)
        parts_N3V, right_N = np.concatenate(parts), np.concatenate(rights)
        for neighbours, about in itertools.product(WEIGHTS, WEIGHTS if known else (0.0,)):
            chosen = Chosen(length, discount, neighbours, about)
            log_p_NV = log_p(parts_N3V, chosen)
            right = float((log_p_NV.argmax(1) == right_N).mean())
            found.append((right, float(log_p_NV[np.arange(len(right_N)), right_N].mean()), chosen))
    without = [f for f in found if not f[2].about]
    return {
        name: [max(some, key=lambda f: f[measure])[2] for measure in (0, 1)]
        for name, some in (("with", found), ("without", without))
    }


Read = Callable[[Sequence[int], int], Sequence[Context]]
"""A run of tokens and the number of known ones -> the contexts of the next one, the shortest first."""


class NextToken:
    """The token ``ahead`` clips later."""

    def __init__(self, choices: int, runs: Sequence[Sequence[int]], ahead: int, read: Read, discount: float):
        self.ahead, self.read = ahead, read
        self._after = Backoff(choices, discount)
        for run in runs:
            for now in range(1, len(run) - ahead + 1):
                self._after.add(read(run, now), run[now - 1 + ahead])

    def right(self, runs: Sequence[Sequence[int]]) -> list[list[bool]]:
        """For each run, at each of its clips, whether the likeliest token is right."""
        return [
            [
                int(self._after.p(self.read(run, now)).argmax()) == run[now - 1 + self.ahead]
                for now in range(1, len(run) - self.ahead + 1)
            ]
            for run in runs
        ]


def choose_ahead(
    choices: int, runs: Sequence[Sequence[int]], ahead: int, readings: Sequence[Read]
) -> NextToken:
    """The counts of all ``runs``, with the contexts and the discount of the best accuracy on their folds."""
    found: list[tuple[float, Read, float]] = []
    for read, discount in itertools.product(readings, DISCOUNTS):
        right = [
            yes
            for counted, held in folds(runs)
            for some in NextToken(choices, counted, ahead, read, discount).right(held)
            for yes in some
        ]
        found.append((float(np.mean(right)), read, discount))
    _, read, discount = max(found, key=lambda f: f[0])
    return NextToken(choices, runs, ahead, read, discount)
