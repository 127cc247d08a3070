"""Caption metrics: BLEU-1 to 4, ROUGE-L and CIDEr in plain Python, METEOR from the counts of its Java program.

Each metric is a function of sums over segments, as in pycocoevalcap 1.2, against which all are tested. Candidates and
references are given as tokens (:mod:`multimodal.scoring.caption_tokenizer`).
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from multimodal.scoring.caption_tokenizer import METEOR_JAR, jar, run_java, why_not_java

ORDERS = 4
"""The longest n-gram."""
BLEU_TINY, BLEU_SMALL = 1e-15, 1e-9
"""Added to the counts of matches and of n-grams: a score without a match is next to 0 rather than undefined."""
ROUGE_BETA = 1.2
CIDER_SIGMA = 6.0
CIDER_SCALE = 10.0

Tokens = Sequence[str]


@dataclasses.dataclass(frozen=True)
class Metric:
    """``score``: sums [..., K] over segments -> scores [..., len(names)], each from 0 to ``most``."""

    names: tuple[str, ...]
    score: Callable[[np.ndarray], np.ndarray]
    most: float = 1.0


def ngrams(tokens: Tokens) -> list[Counter[tuple[str, ...]]]:
    """The counts of the n-grams of the tokens, for n from 1 to 4."""
    return [Counter(zip(*(tokens[i:] for i in range(n)), strict=False)) for n in range(1, ORDERS + 1)]


def bleu_parts(candidate: Tokens, references: Sequence[Tokens]) -> list[float]:
    """A segment's part of the sums: matches and n-grams for n = 1 … 4, the candidate's length, and the reference length
    nearest to it (of two equally near the shorter)."""
    ours, theirs = ngrams(candidate), [ngrams(r) for r in references]
    matches = []
    for n, counts in enumerate(ours):
        # clipped counts: a match counts as often as the reference that has it most often
        most: Counter[tuple[str, ...]] = Counter()
        for reference in theirs:
            most |= reference[n]
        matches.append((counts & most).total())
    totals = [max(0, len(candidate) - n) for n in range(ORDERS)]
    nearest = min((abs(len(r) - len(candidate)), len(r)) for r in references)[1]
    return [*matches, *totals, len(candidate), nearest]


def bleu(sums_K: np.ndarray) -> np.ndarray:
    """[..., 10] -> [..., 4]: geometric means of the precisions up to n, times the brevity penalty (Papineni et al. 2002).

    At corpus level: counts are summed before they are divided.
    """
    matches, totals = sums_K[..., :ORDERS], sums_K[..., ORDERS : 2 * ORDERS]
    length, nearest = sums_K[..., -2], sums_K[..., -1]
    precisions = (matches + BLEU_TINY) / (totals + BLEU_SMALL)
    means = np.exp(np.cumsum(np.log(precisions), -1) / np.arange(1, ORDERS + 1))
    ratio = (length + BLEU_TINY) / (nearest + BLEU_SMALL)
    penalty = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
    return means * penalty[..., None]


def longest_common_subsequence(a: Tokens, b: Tokens) -> int:
    """The length of the longest common subsequence, bit-parallel (Hyyrö 2004).

    A bit of ``row`` that went to 0 is a token of ``a`` that makes the subsequence longer by one.
    """
    places: dict[str, int] = {}
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    whole = row = (1 << len(a)) - 1
    for word in b:
        matched = row & places.get(word, 0)
        row = (row + matched | row - matched) & whole
    return len(a) - row.bit_count()


def rouge_l(candidate: Tokens, references: Sequence[Tokens]) -> float:
    """The F-measure (beta 1.2) of the best precision and the best recall of the longest common subsequence.

    Lin 2004. The two may come from different references, as in pycocoevalcap. An empty candidate or reference gives 0.
    """
    common = [longest_common_subsequence(candidate, r) for r in references]
    precision = max(c / max(1, len(candidate)) for c in common)
    recall = max(c / max(1, len(r)) for c, r in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


class Cider:
    """CIDEr (Vedantam et al. 2015) over a corpus, whose references give the document frequencies of the n-grams.

    The form that pycocoevalcap calls CIDEr: CIDEr-D's clipped counts and its length penalty (sigma 6, on the number of
    bigrams) without its stemming; at most 10. In a corpus of one segment every n-gram is in all documents: all scores are 0.
    """

    def __init__(self, references: Sequence[Sequence[Tokens]]):
        self._references = [[ngrams(r) for r in segment] for segment in references]
        self._segments_with: Counter[tuple[str, ...]] = Counter()
        for segment in self._references:
            self._segments_with.update({gram for orders in segment for order in orders for gram in order})
        self._log_segments = math.log(max(1, len(references)))
        self._vectors = [[self._vector(r) for r in segment] for segment in self._references]

    def _vector(self, orders: list[Counter[tuple[str, ...]]]) -> tuple[list[dict], list[float], int]:
        """The tf-idf vector of each n, its norm, and the number of bigrams."""
        tf_idf = [
            {g: c * (self._log_segments - math.log(max(1, self._segments_with[g]))) for g, c in order.items()}
            for order in orders
        ]
        return tf_idf, [math.sqrt(sum(w * w for w in v.values())) for v in tf_idf], orders[1].total()

    def score(self, segment: int, candidate: Tokens) -> float:
        """The score of a candidate for the segment of that number, from 0 to 10."""
        ours, our_norms, our_pairs = self._vector(ngrams(candidate))
        total = 0.0
        for theirs, norms, pairs in self._vectors[segment]:
            similarity = 0.0
            for a, b, norm_a, norm_b in zip(ours, theirs, our_norms, norms, strict=True):
                if norm_a and norm_b:
                    similarity += sum(min(w, b[g]) * b[g] for g, w in a.items() if g in b) / (norm_a * norm_b)
            total += similarity / ORDERS * math.exp(-((our_pairs - pairs) ** 2) / (2 * CIDER_SIGMA**2))
        return CIDER_SCALE * total / len(self._vectors[segment])


def _first_over_second(sums_K: np.ndarray) -> np.ndarray:
    return sums_K[..., :1] / sums_K[..., 1:]


BLEU = Metric(tuple(f"bleu_{n}" for n in range(1, ORDERS + 1)), bleu)
ROUGE_L = Metric(("rouge_l",), _first_over_second)
CIDER = Metric(("cider",), _first_over_second, CIDER_SCALE)


def parts(
    candidates: Sequence[Sequence[Tokens]], references: Sequence[Sequence[Tokens]]
) -> list[tuple[Metric, np.ndarray]]:
    """For each metric each candidate's part of the sums: float64 [candidate lists, segments, K].

    ``candidates``: one or more lists of one candidate for each segment. ``references``: one or more for each segment.
    """
    cider = Cider(references)
    shape = (len(candidates), len(references))

    def of_each(part: Callable[[int, Tokens], Sequence[float]], k: int) -> np.ndarray:
        rows = [[part(i, c) for i, c in enumerate(of_segments)] for of_segments in candidates]
        return np.array(rows, float).reshape(*shape, k)

    return [
        (BLEU, of_each(lambda i, c: bleu_parts(c, references[i]), 2 * ORDERS + 2)),
        (ROUGE_L, of_each(lambda i, c: (rouge_l(c, references[i]), 1.0), 2)),
        (CIDER, of_each(lambda i, c: (cider.score(i, c), 1.0), 2)),
    ]


def corpus_scores(
    candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> Mapping[str, float]:
    """``bleu_1`` … ``bleu_4``, ``rouge_l`` and ``cider`` of one candidate for each segment, as pycocoevalcap gives them."""
    found = {}
    for metric, parts_1NK in parts([candidates], references):
        found |= zip(metric.names, metric.score(parts_1NK[0].sum(0)).tolist(), strict=True)
    return found


METEOR_PARTS = 23
"""The program's counts of a segment: four lengths, four for each of four kinds of match, chunks, matched words."""
STAGES = 4
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.20, 0.60, 0.75
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
"""Of exact, stem, synonym and paraphrase matches; all parameters are those of English, task "rank"."""


def meteor(sums_K: np.ndarray) -> np.ndarray:
    """[..., 23] -> [..., 1]: the score of the program's counts, summed over segments (Denkowski and Lavie 2014)."""
    length, reference_length, function, reference_function = np.moveaxis(sums_K[..., :4], -1, 0)
    matches = sums_K[..., 4 : 4 + 4 * STAGES].reshape(*sums_K.shape[:-1], STAGES, 4)
    content, reference_content, words, reference_words = np.moveaxis(
        np.einsum("...sk,s->...k", matches, WEIGHTS), -1, 0
    )
    chunks, matched, reference_matched = np.moveaxis(sums_K[..., -3:], -1, 0)

    def share(content, words, length, function):
        whole = DELTA * (length - function) + (1 - DELTA) * function
        return (DELTA * content + (1 - DELTA) * words) / np.where(whole, whole, 1.0)

    precision = share(content, words, length, function)
    recall = share(reference_content, reference_words, reference_length, reference_function)
    below = ALPHA * precision + (1 - ALPHA) * recall
    f_mean = precision * recall / np.where(below, below, 1.0)
    in_a_row = (matched + reference_matched) / 2
    scattered = chunks / np.where(in_a_row, in_a_row, 1.0)
    whole = (matched == length) & (reference_matched == reference_length) & (chunks == 1)
    return (f_mean * (1 - GAMMA * np.where(whole, 0.0, scattered) ** BETA))[..., None]


METEOR = Metric(("meteor",), meteor)


def meteor_parts(
    groups: Sequence[tuple[Sequence[Sequence[Tokens]], Sequence[Sequence[Tokens]]]],
) -> tuple[list[np.ndarray] | None, str]:
    """For each group of candidate lists and references each candidate's part of the sums: float64 [lists, segments, 23].

    All groups are scored by one run of the program, whose start takes seconds. ``None`` where it cannot be run, and why,
    in words.
    """
    if why := why_not_java(METEOR_JAR):
        return None, f"not computed, {why}"
    lines = [
        " ||| ".join(["SCORE", *(_one_line(r) for r in those), _one_line(candidate)])
        for lists, references in groups
        for candidates in lists
        for candidate, those in zip(candidates, references, strict=True)
    ]
    answered = run_java(["-jar", str(jar(METEOR_JAR)), "-", "-", "-stdio", "-l", "en", "-norm"], lines)
    if answered is None or len(answered) != len(lines):
        return None, "not computed, its program failed"
    numbers = np.array([[float(x) for x in line.split()] for line in answered], float)
    shapes = [(len(lists), len(references), METEOR_PARTS) for lists, references in groups]
    ends = np.cumsum([lists * segments for lists, segments, _ in shapes])[:-1]
    return [part.reshape(s) for part, s in zip(np.split(numbers, ends), shapes, strict=True)], ""


def _one_line(tokens: Tokens) -> str:
    """Without the mark that parts the program's fields."""
    return " ".join(tokens).replace("|||", "")
