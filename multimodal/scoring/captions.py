"""Owns caption scores in plain Python: BLEU-1 to 4, ROUGE-L, CIDEr, and METEOR where it can be had, in three modes.

Each measure is a function of sums over segments, as in pycocoevalcap 1.2, against which all are checked. Words come in
already told apart (:mod:`multimodal.scoring.words`).
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

ORDERS = 4
"""The longest n-gram."""
BLEU_TINY, BLEU_SMALL = 1e-15, 1e-9
"""Added to counts of matches and of guesses, so that a score without any match is next to 0 rather than undefined."""
ROUGE_BETA = 1.2
CIDER_SIGMA = 6.0
CIDER_SCALE = 10.0

Words = Sequence[str]


@dataclasses.dataclass(frozen=True)
class Measure:
    """``score``: sums of parts [..., K] -> scores [..., len(names)]; a score is from 0 to ``most``."""

    names: tuple[str, ...]
    score: Callable[[np.ndarray], np.ndarray]
    most: float = 1.0


def ngrams(words: Words) -> list[Counter[tuple[str, ...]]]:
    """The n-grams of the words with their counts, for n from 1 to 4."""
    return [Counter(zip(*(words[i:] for i in range(n)), strict=False)) for n in range(1, ORDERS + 1)]


def bleu_parts(candidate: Words, references: Sequence[Words]) -> list[float]:
    """Matches and guesses for n = 1 … 4, the candidate's length, and the reference length nearest to it (the shorter of two)."""
    ours, theirs = ngrams(candidate), [ngrams(r) for r in references]
    matches = []
    for n, counts in enumerate(ours):
        most: Counter[tuple[str, ...]] = Counter()
        for reference in theirs:
            most |= reference[n]
        matches.append((counts & most).total())
    guesses = [max(0, len(candidate) - n) for n in range(ORDERS)]
    nearest = min((abs(len(r) - len(candidate)), len(r)) for r in references)[1]
    return [*matches, *guesses, len(candidate), nearest]


def bleu(sums_K: np.ndarray) -> np.ndarray:
    """[..., 10] -> [..., 4]: geometric means of the precisions up to n, times the brevity penalty.

    Papineni et al. 2002, corpus level: counts are summed before they are divided.
    """
    matches, guesses = sums_K[..., :ORDERS], sums_K[..., ORDERS : 2 * ORDERS]
    length, nearest = sums_K[..., -2], sums_K[..., -1]
    precisions = (matches + BLEU_TINY) / (guesses + BLEU_SMALL)
    means = np.exp(np.cumsum(np.log(precisions), -1) / np.arange(1, ORDERS + 1))
    ratio = (length + BLEU_TINY) / (nearest + BLEU_SMALL)
    penalty = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
    return means * penalty[..., None]


def longest_common_subsequence(a: Words, b: Words) -> int:
    """Its length, bit-parallel (Hyyrö 2004): a bit of ``row`` that went to 0 is a word of ``a`` that adds one."""
    places: dict[str, int] = {}
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    whole = row = (1 << len(a)) - 1
    for word in b:
        matched = row & places.get(word, 0)
        row = (row + matched | row - matched) & whole
    return len(a) - row.bit_count()


def rouge_l(candidate: Words, references: Sequence[Words]) -> float:
    """The F-measure (beta 1.2) of the best precision and the best recall of the longest common subsequence.

    Lin 2004. The two may come from different references, as in pycocoevalcap. Nothing said, or nothing to say, is 0.
    """
    common = [longest_common_subsequence(candidate, r) for r in references]
    precision = max(c / max(1, len(candidate)) for c in common)
    recall = max(c / max(1, len(r)) for c, r in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


class Cider:
    """CIDEr over a corpus, whose references say how rare an n-gram is: in how many segments it occurs.

    Vedantam et al. 2015, in the form that pycocoevalcap calls CIDEr: CIDEr-D's clipped counts and its penalty for
    length (sigma 6, on the number of word pairs) without its stemming; 10 is the most. Of a corpus of one segment every
    n-gram is as common as can be, so all scores are 0.
    """

    def __init__(self, references: Sequence[Sequence[Words]]):
        self._references = [[ngrams(r) for r in segment] for segment in references]
        self._segments_with: Counter[tuple[str, ...]] = Counter()
        for segment in self._references:
            self._segments_with.update({gram for orders in segment for order in orders for gram in order})
        self._log_segments = math.log(max(1, len(references)))
        self._vectors = [[self._vector(r) for r in segment] for segment in self._references]

    def _vector(self, orders: list[Counter[tuple[str, ...]]]) -> tuple[list[dict], list[float], int]:
        """The n-grams by rarity, the vectors' lengths, and the number of word pairs."""
        weighed = [
            {g: c * (self._log_segments - math.log(max(1, self._segments_with[g]))) for g, c in order.items()}
            for order in orders
        ]
        return weighed, [math.sqrt(sum(w * w for w in v.values())) for v in weighed], orders[1].total()

    def score(self, segment: int, candidate: Words) -> float:
        """The score of a candidate for the segment of that number."""
        ours, our_norms, our_pairs = self._vector(ngrams(candidate))
        total = 0.0
        for theirs, norms, pairs in self._vectors[segment]:
            near = 0.0
            for a, b, norm_a, norm_b in zip(ours, theirs, our_norms, norms, strict=True):
                if norm_a and norm_b:
                    near += sum(min(w, b[g]) * b[g] for g, w in a.items() if g in b) / (norm_a * norm_b)
            total += near / ORDERS * math.exp(-((our_pairs - pairs) ** 2) / (2 * CIDER_SIGMA**2))
        return CIDER_SCALE * total / len(self._vectors[segment])


def _first_over_second(sums_K: np.ndarray) -> np.ndarray:
    return sums_K[..., :1] / sums_K[..., 1:]


BLEU = Measure(tuple(f"bleu_{n}" for n in range(1, ORDERS + 1)), bleu)
ROUGE_L = Measure(("rouge_l",), _first_over_second)
CIDER = Measure(("cider",), _first_over_second, CIDER_SCALE)


def parts(
    candidates: Sequence[Sequence[Words]], references: Sequence[Sequence[Words]]
) -> list[tuple[Measure, np.ndarray]]:
    """For each measure, what each candidate adds to its sums: float64 [deals, segments, K].

    ``candidates``: one or more lists of one candidate for each segment; ``references``: one or more for each segment.
    """
    cider = Cider(references)
    shape = (len(candidates), len(references))

    def of_each(part: Callable[[int, Words], Sequence[float]], k: int) -> np.ndarray:
        return np.array([[part(i, c) for i, c in enumerate(deal)] for deal in candidates], float).reshape(
            *shape, k
        )

    return [
        (BLEU, of_each(lambda i, c: bleu_parts(c, references[i]), 2 * ORDERS + 2)),
        (ROUGE_L, of_each(lambda i, c: (rouge_l(c, references[i]), 1.0), 2)),
        (CIDER, of_each(lambda i, c: (cider.score(i, c), 1.0), 2)),
    ]


def corpus_scores(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> Mapping[str, float]:
    """``bleu_1`` … ``bleu_4``, ``rouge_l`` and ``cider`` of one candidate for each segment: pycocoevalcap's figures."""
    found = {}
    for measure, parts_1NK in parts([candidates], references):
        found |= zip(measure.names, measure.score(parts_1NK[0].sum(0)).tolist(), strict=True)
    return found
