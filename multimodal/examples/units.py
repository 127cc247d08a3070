"""Units of masking that are larger than a token: n-grams, spans, and phrases with runs of alike clips.

Sources: Lan et al., ALBERT (ICLR 2020), section 4.1; Joshi et al., SpanBERT (TACL 2020), section 3.1; Sun et al., ERNIE: Enhanced Representation through Knowledge
Integration (2019), sections 3.2.2 and 3.2.3. What a phrase is to words, a run of alike clips is to video: a hidden clip
beside one that looks the same is copied, not understood.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from multimodal.examples.corruption import content_positions, hide
from multimodal.examples.packing import Example
from multimodal.vocabulary import Vocabulary

Phrase = tuple[int, ...]
"""The word-piece ids of words in a row."""
LONGEST_NGRAM = 3
NGRAM_SHARES = 1 / np.arange(1, LONGEST_NGRAM + 1)
NGRAM_SHARES /= NGRAM_SHARES.sum()
"""The probabilities of n from 1 on, proportional to 1/n."""
SUCCESS = 0.2
"""The parameter of the geometric distribution of span lengths."""
LONGEST_SPAN = 10
"""Words or visual tokens."""
LENGTH_SHARES = SUCCESS * (1 - SUCCESS) ** np.arange(LONGEST_SPAN)
LENGTH_SHARES /= LENGTH_SHARES.sum()
"""The probabilities of the lengths from 1 on; their mean is 3.8."""


def whole_words(vocabulary: Vocabulary, ids: Sequence[int]) -> list[list[range]]:
    """The content of a sequence as runs that no special interrupts, so words and video apart.

    A run is a list of units, each the range of its positions: a word, which is a word piece with the ``##`` pieces after it,
    or a visual token.
    """
    runs: list[list[range]] = []
    for position in content_positions(vocabulary, ids):
        begun = bool(runs) and runs[-1][-1].stop == position
        if begun and ids[position] in vocabulary.continuing_pieces:
            runs[-1][-1] = range(runs[-1][-1].start, position + 1)
        elif begun:
            runs[-1].append(range(position, position + 1))
        else:
            runs.append([range(position, position + 1)])
    return runs


def mask_ngrams(
    vocabulary: Vocabulary,
    ids: list[int],
    types: list[int],
    term: str,
    random: np.random.Generator,
    share: float,
    used: Sequence[int] | None = None,
) -> Example:
    """N-gram masking of ``max(1, round(share · n))`` of the n word pieces and visual tokens; fewer where no word fits any more.

    An n-gram is of whole words or of visual tokens, n drawn from :data:`NGRAM_SHARES`, and never crosses ``[>]`` or another
    special. The last is cut to what is left; n-grams that would overlap are drawn anew. 80/10/10 is decided for each token.
    """
    runs = whole_words(vocabulary, ids)
    units = [(run, place) for run in runs for place in range(len(run))]
    budget = max(1, round(share * sum(len(word) for run in runs for word in run)))
    chosen: list[int] = []
    for number in random.permutation(len(units)).tolist():
        if len(chosen) >= budget:
            break
        run, place = units[number]
        words = run[place : place + 1 + int(random.choice(LONGEST_NGRAM, p=NGRAM_SHARES))]
        while words and len(chosen) + words[-1].stop - words[0].start > budget:
            words = words[:-1]
        positions = [position for word in words for position in word]
        if not set(positions) & set(chosen):
            chosen += positions
    if units and not chosen:
        # Every word is longer than all that may be hidden: part of one is, else nothing would be asked.
        chosen = list(runs[0][0])[:budget]
    dice = random.random(len(chosen)).tolist()
    return hide(vocabulary, ids, types, term, chosen, dice, random, used)


def mask_spans(
    vocabulary: Vocabulary,
    ids: list[int],
    types: list[int],
    term: str,
    random: np.random.Generator,
    share: float,
    used: Sequence[int] | None = None,
) -> Example:
    """Span masking of ``max(1, round(share · n))`` of the n word pieces and visual tokens, less where no span fits any more.

    A span consists of whole words, or of visual tokens, and never crosses ``[>]`` or another special. Its length is drawn from
    :data:`LENGTH_SHARES`, its start uniformly among the places where it fits; the last span is cut to what is left, but not within a word. All
    tokens of a span become [MASK], other tokens, or stay (80/10/10). Between two spans lies a word or a visual token that is
    read as it is, so the boundaries of a span are never masked.
    """
    # Where a span may still lie: runs of units.
    free = whole_words(vocabulary, ids)
    budget = max(1, round(share * sum(len(unit) for run in free for unit in run)))
    chosen: list[int] = []
    dice: list[float] = []
    while budget > 0 and free:
        longest = max(len(run) for run in free)
        # Cut before its start is drawn: cut afterwards, the first places would be chosen most often.
        length = min(1 + int(random.choice(LONGEST_SPAN, p=LENGTH_SHARES)), longest, budget)
        starts = np.cumsum([max(0, len(run) - length + 1) for run in free])
        place = int(random.integers(starts[-1]))
        number = int(np.searchsorted(starts, place, side="right"))
        run = free.pop(number)
        first = place - (int(starts[number - 1]) if number else 0)
        last = first + 1
        while last < first + length and run[last].stop - run[first].start <= budget:
            last += 1
        span = range(run[first].start, run[last - 1].stop)
        chosen += span
        dice += [float(random.random())] * len(span)
        budget -= len(span)
        # One unit on either side stays as it is.
        free[number:number] = [part for part in (run[: max(0, first - 1)], run[last + 1 :]) if part]
    return hide(vocabulary, ids, types, term, chosen, dice, random, used)


def same_token(one: int, other: int) -> bool:
    """The likeness of visual tokens where nothing is known of the codebook."""
    return one == other


@dataclasses.dataclass(frozen=True)
class PhraseMasking:
    """Masking of phrases, of words that are in none, and of runs of alike clips.

    ``phrases``: the word-piece ids of each. ``alike``: whether two visual tokens side by side belong to one run.
    """

    phrases: frozenset[Phrase] = frozenset()
    alike: Callable[[int, int], bool] = same_token

    def __call__(
        self,
        vocabulary: Vocabulary,
        ids: list[int],
        types: list[int],
        term: str,
        random: np.random.Generator,
        share: float,
        used: Sequence[int] | None = None,
    ) -> Example:
        """Masks units, drawn one after the other, until ``share`` of the tokens are masked, in the mean over the draws.

        All tokens of a unit become [MASK], other tokens, or stay (80/10/10). A unit that would exceed the share is masked with
        the probability that makes the expected number right, and is the last one.
        """
        units = self.units(vocabulary, ids)
        budget = share * sum(map(len, units))
        chosen: list[int] = []
        dice: list[float] = []
        for number in random.permutation(len(units)).tolist():
            unit, left = units[number], budget - len(chosen)
            if left < len(unit) and random.random() * len(unit) >= left:
                break
            chosen += unit
            dice += [float(random.random())] * len(unit)
            if left <= len(unit):
                break
        return hide(vocabulary, ids, types, term, chosen, dice, random, used)

    def units(self, vocabulary: Vocabulary, ids: Sequence[int]) -> list[range]:
        """The positions of each phrase, of each word that is in none, and of each run of alike visual tokens."""
        units: list[range] = []
        for run in whole_words(vocabulary, ids):
            end_of = self._end_of_phrase
            if ids[run[0].start] >= vocabulary.first_visual:
                run, end_of = [range(n, n + 1) for n in range(run[0].start, run[-1].stop)], self._end_of_shot
            place = 0
            while place < len(run):
                last = end_of(vocabulary, ids, run, place)
                units.append(range(run[place].start, run[last - 1].stop))
                place = last
        return units

    @functools.cached_property
    def _longest_phrase(self) -> int:
        return max(map(len, self.phrases), default=0)

    def _end_of_phrase(self, vocabulary: Vocabulary, ids: Sequence[int], run: list[range], place: int) -> int:
        """Where the longest phrase that begins at a word ends; else the next word."""
        last = place + 1
        for end in range(place + 2, len(run) + 1):
            phrase = tuple(ids[run[place].start : run[end - 1].stop])
            if len(phrase) > self._longest_phrase:
                break
            if phrase in self.phrases:
                last = end
        return last

    def _end_of_shot(self, vocabulary: Vocabulary, ids: Sequence[int], run: list[range], place: int) -> int:
        """Where the visual tokens that are alike, each to the one before it, end."""
        token = [ids[unit.start] - vocabulary.first_visual for unit in run]
        last = place + 1
        while last < len(run) and self.alike(token[last - 1], token[last]):
            last += 1
        return last
