"""Summaries: one paragraph of a video, each sentence with the times that it comes from.

Plainly by LexRank (Erkan and Radev, JAIR 22, 2004): of the sentences that were said those most central, the ones that others say too,
in the order in which they were said. By a model with a decoder: window after window is written, and what was written is read again
until it is short enough. By a captioner: the most central of its captions.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers.counts import stems
from multimodal.answers.token_names import content_words

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained
    from multimodal.segments import Segment

SENTENCES = 5
"""Sentences of a summary, where nobody says how many."""
WINDOW = 200
"""Sentences of which the most central are found together; a longer video is read in windows, and theirs again."""
DAMPING = 0.85
"""Of the random walk from sentence to sentence (Brin and Page 1998; 0.15 of its steps go anywhere)."""
STEPS = 60
ALIKE = 0.6
"""The cosine from which a sentence says again what a chosen one says."""
LEAST_WORDS = 3
"""Content words of a sentence that can stand in a summary, where enough have as many."""
READ_AGAIN = 8
"""Written sentences that are read together again: as many as segments in training."""


@dataclasses.dataclass(frozen=True)
class SummarySentence:
    """A sentence and ``[start, end)`` seconds of what it was made of."""

    text: str
    start: float
    end: float


def most_central(said: Sequence[SummarySentence], count: int) -> list[SummarySentence]:
    """The ``count`` most central sentences, in order of time, none that says again what another says.

    More than :data:`WINDOW` are read in windows, of which each gives ``count``, and what these give is read again.
    """
    said = sorted((s for s in said if s.text.strip()), key=lambda s: s.start)
    window = max(WINDOW, 2 * count)
    while len(said) > window:
        said = [s for some in _in_parts(said, math.ceil(len(said) / window)) for s in _central(some, count)]
    return _central(said, count)


def _central(said: Sequence[SummarySentence], count: int) -> list[SummarySentence]:
    content = [content_words(s.text) for s in said]
    stem = stems(word for words in content for word in words)
    words = [Counter(stem[word] for word in some) for some in content]
    alike_NN = _cosines(words)
    long_enough = [n for n, own in enumerate(words) if sum(own.values()) >= LEAST_WORDS]
    candidates = long_enough if len(long_enough) >= count else range(len(said))
    rank_N = _ranks(alike_NN)
    chosen: list[int] = []
    said_N = np.zeros(len(said))
    while len(chosen) < count and (left := [n for n in candidates if said_N[n] < ALIKE]):
        # What is said already counts as little as it is new (maximal marginal relevance, Carbonell and Goldstein 1998).
        chosen.append(max(left, key=lambda n: (rank_N[n] * (1 - said_N[n]), -n)))
        said_N = np.maximum(said_N, alike_NN[chosen[-1]])
        said_N[chosen[-1]] = 1.0
    return [said[n] for n in sorted(chosen)]


def _cosines(words: Sequence[Counter]) -> np.ndarray:
    """float64 [N, N]: the cosines of the sentences by tf-idf; a sentence without a word is like none."""
    columns = {word: n for n, word in enumerate(sorted(set().union(*words)))} if words else {}
    table_NW = np.zeros((len(words), len(columns)))
    for n, own in enumerate(words):
        for word, times in own.items():
            table_NW[n, columns[word]] = times
    # A word that all sentences have says nothing, one that few have says much.
    table_NW *= np.log((1 + len(words)) / np.maximum(1, (table_NW > 0).sum(0)))
    table_NW /= np.maximum(np.linalg.norm(table_NW, axis=1, keepdims=True), 1e-12)
    return table_NW @ table_NW.T


def _ranks(alike_NN: np.ndarray) -> np.ndarray:
    """float64 [N]: how often a walk is at each sentence that goes on to others as they are alike (continuous LexRank)."""
    count = len(alike_NN)
    # No sentence speaks for itself: one that is like no other would else keep what the walk brings to it.
    alike_NN = alike_NN * (1 - np.eye(count))
    total_N = alike_NN.sum(1, keepdims=True)
    walk_NN = np.divide(alike_NN, total_N, out=np.full_like(alike_NN, 1 / max(count, 1)), where=total_N > 0)
    rank_N = np.full(count, 1 / max(count, 1))
    for _ in range(STEPS):
        rank_N = (1 - DAMPING) / count + DAMPING * rank_N @ walk_NN if count else rank_N
    return rank_N


Write = Callable[[Sequence[Sequence["Segment"]]], Sequence[str]]
"""A sentence for each window of neighbouring segments."""


def written(windows: Sequence[Sequence[Segment]], count: int, write: Write) -> list[SummarySentence]:
    """A sentence of each window of segments in order; while they are more than ``count``, :data:`READ_AGAIN` of these are read
    together as segments of their own. A sentence that repeats the one before it joins it."""
    found = _written(windows, write)
    while len(found) > count:
        parts = _in_parts(found, max(count, math.ceil(len(found) / READ_AGAIN)))
        found = _written([[_as_segment(s) for s in some] for some in parts], write)
    return found


def _written(windows: Sequence[Sequence[Segment]], write: Write) -> list[SummarySentence]:
    texts = zip(windows, write(windows), strict=True)
    return joined(SummarySentence(text, window[0].start, window[-1].end) for window, text in texts)


def joined(sentences: Iterable[SummarySentence]) -> list[SummarySentence]:
    """The sentences that are not empty; one that repeats the sentence before it joins it."""
    found: list[SummarySentence] = []
    for one in sentences:
        if found and found[-1].text == one.text:
            found[-1] = dataclasses.replace(found[-1], end=one.end)
        elif one.text:
            found.append(one)
    return found


def _in_parts(sentences: Sequence[SummarySentence], parts: int) -> list[Sequence[SummarySentence]]:
    """The sentences in so many parts in a row, of about as many each."""
    cuts = np.linspace(0, len(sentences), parts + 1).round().astype(int)
    return [sentences[a:b] for a, b in itertools.pairwise(cuts)]


def _as_segment(sentence: SummarySentence) -> Segment:
    from multimodal.segments import Segment

    return Segment("", sentence.start, sentence.end, sentence.text, (), ())


def by_decoder(trained: Trained, shown: Sequence[Segment], count: int) -> list[SummarySentence]:
    """The summary that a model with a decoder writes of the moments ``shown``."""
    from multimodal.inference.cloze import sentence
    from multimodal.inference.writing import summary_windows, write_summaries

    def write(windows: Sequence[Sequence[Segment]]) -> list[str]:
        return [sentence(text) for text in write_summaries(trained, windows)]

    return written(summary_windows(trained, shown, count), count, write)
