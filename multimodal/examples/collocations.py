"""Collocations: words that a library says together far more often than by chance, found from its sentences alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from multimodal.examples.units import Phrase, whole_words
from multimodal.vocabulary import Vocabulary

SIGNIFICANCE = 10.83
"""The least log-likelihood ratio: the 0.999 quantile of chi-squared with one degree of freedom."""
ASSOCIATION = 0.4
"""The least normalised pointwise mutual information: -1 never together, 0 by chance, 1 only together (Bouma 2009)."""
OCCURRENCES = 3
PASSES = 2
"""Each pass joins two phrases of the one before, so a phrase has 2, 3 or 4 words (Mikolov et al. 2013, section 4)."""


def collocations(vocabulary: Vocabulary, sentences: Iterable[Sequence[int]]) -> frozenset[Phrase]:
    """The collocations of sentences (word-piece ids): pairs of words, then pairs of these, that occur together.

    A pair counts where it occurs :data:`OCCURRENCES` times at least, its log-likelihood ratio (Dunning 1993) says that this
    is no chance, and its normalised mutual information that the words keep to each other: "in the" is significant, but no
    phrase. Marks and words that the vocabulary lacks end a phrase.
    """
    runs = [run for ids in sentences for run in _words(vocabulary, ids)]
    found: set[Phrase] = set()
    for _ in range(PASSES):
        pairs = Counter(pair for run in runs for pair in zip(run, run[1:], strict=False))
        lefts, rights = Counter(), Counter()
        for (left, right), count in pairs.items():
            lefts[left] += count
            rights[right] += count
        total = pairs.total()
        joined = {
            left + right
            for (left, right), count in pairs.items()
            if count >= OCCURRENCES
            and association(count, lefts[left], rights[right], total) >= ASSOCIATION
            and log_likelihood_ratio(count, lefts[left], rights[right], total) >= SIGNIFICANCE
        }
        found |= joined
        runs = [_joined(run, joined) for run in runs]
    return frozenset(found)


def log_likelihood_ratio(both: int, left: int, right: int, total: int) -> float:
    """Dunning's G² of a pair: ``both`` of ``total`` pairs are it, ``left`` begin as it does, ``right`` end as it does."""
    table = (
        (both, left, right),
        (left - both, left, total - right),
        (right - both, total - left, right),
        (total - left - right + both, total - left, total - right),
    )
    return 2 * sum(n * math.log(n * total / (row * column)) for n, row, column in table if n)


def association(both: int, left: int, right: int, total: int) -> float:
    """Normalised pointwise mutual information of a pair, from -1 to 1, with the counts of :func:`log_likelihood_ratio`."""
    if both == total:
        return 1.0
    return math.log(both * total / (left * right)) / math.log(total / both)


def _words(vocabulary: Vocabulary, ids: Sequence[int]) -> list[list[Phrase]]:
    """A sentence's words as runs that no mark interrupts."""
    runs: list[list[Phrase]] = []
    for run in whole_words(vocabulary, ids):
        runs.append([])
        for unit in run:
            if vocabulary.spellings[ids[unit.start]].isalnum():
                runs[-1].append(tuple(ids[unit.start : unit.stop]))
            else:
                runs.append([])
    return [run for run in runs if run]


def _joined(run: list[Phrase], found: set[Phrase]) -> list[Phrase]:
    """The run with its pairs that were ``found`` as one, from the left."""
    joined: list[Phrase] = []
    place = 0
    while place < len(run):
        pair = place + 1 < len(run) and run[place] + run[place + 1] in found
        joined.append(run[place] + run[place + 1] if pair else run[place])
        place += 1 + pair
    return joined
