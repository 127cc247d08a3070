"""Plain answers, from counts alone: the next visual tokens by n-grams, words by naive Bayes, moments by what they share.

Each of them leaves a video out that it is asked about: what is counted there would be its own answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from multimodal.answers.counts import Counts, stems
from multimodal.answers.token_names import content_words
from multimodal.segments import CONTEXT

DISCOUNT = 0.6
"""Taken off the count of each follower of a context, for the shorter contexts."""
PRIOR = 1.0
"""Occurrences by which a word's tokens are smoothed, spread as the tokens of all words are."""


class NGrams:
    """The visual tokens that follow a context, counted in the videos that were learned from, but for the one that is asked
    about, and in what was shown of that one so far.

    With absolute discounting (Ney, Essen and Kneser 1994) the longest context that occurs is backed off to shorter ones, in
    the end to all ``choices`` tokens alike.
    """

    def __init__(self, counts: Counts, choices: int, longest: int = CONTEXT):
        self.counts, self.choices, self.longest = counts, choices, longest
        self._tokens, row_N = counts.clips.values, counts.clips.row_of
        self._row_N = row_N
        self._start_N, self._end_N = (
            (counts.clips.ends - counts.clips.lengths)[row_N],
            counts.clips.ends[row_N],
        )

    def probabilities(
        self, so_far: Sequence[int], ahead: Sequence[int], without: str | None = None
    ) -> np.ndarray:
        """float64 [ahead, choices]: the probability of each token so many clips after those ``so_far``.

        ``without``: the video that is asked about, by its digest.
        """
        place = -1 if without is None else self.counts.place(without)
        others = np.arange(len(self._tokens)) if place < 0 else np.flatnonzero(self._row_N != place)
        own = np.array(so_far, np.int32)
        start, end = np.zeros(len(own), np.int64), np.full(len(own), len(own))
        runs = [
            (self._tokens, self._end_N, self._contexts(self._tokens, self._start_N, others, own)),
            (own, end, self._contexts(own, start, np.arange(len(own)), own)),
        ]
        usual_V = self._backed_off(
            np.full(self.choices, 1 / self.choices), np.concatenate([self._tokens[others], own])
        )
        found = np.repeat(usual_V[None], len(ahead), 0)
        for place, distance in enumerate(ahead):
            for length in range(min(self.longest, len(own))):
                following = []
                for tokens, end_N, contexts in runs:
                    ends = contexts[length]
                    following.append(tokens[ends[ends + distance < end_N[ends]] + distance])
                found[place] = self._backed_off(found[place], np.concatenate(following))
        return found

    def _contexts(
        self, tokens: np.ndarray, start_N: np.ndarray, ends: np.ndarray, context: np.ndarray
    ) -> list[np.ndarray]:
        """The places among ``ends`` in which the last 1, 2, … tokens of ``context`` end."""
        found: list[np.ndarray] = []
        for length in range(1, min(self.longest, len(context)) + 1):
            at = ends - (length - 1)
            inside = at >= start_N[ends]
            ends = ends[inside][tokens[at[inside]] == context[-length]]
            found.append(ends)
        return found

    def _backed_off(self, shorter_V: np.ndarray, following: np.ndarray) -> np.ndarray:
        """The distribution of ``following`` tokens, with what is taken off their counts spread as ``shorter_V`` says."""
        if not len(following):
            return shorter_V
        counts_V = np.bincount(following, minlength=self.choices)
        taken = DISCOUNT * np.count_nonzero(counts_V)
        return (np.maximum(counts_V - DISCOUNT, 0) + taken * shorter_V) / len(following)


@dataclasses.dataclass(frozen=True)
class WordCount:
    """How a name fits what is shown: ``score`` is Σ log p(token | name) − log p(token), 0 where nothing is known.

    Of ``seen`` moments that show one of the tokens, the name is said in ``said``.
    """

    score: float
    said: int
    seen: int


class WordsAndTokens:
    """Which words are said while which visual tokens are shown, by naive Bayes; and the moments that share most."""

    def __init__(self, counts: Counts, choices: int):
        self.counts, self.choices = counts, choices
        self._shown_M, self._said_M = counts.shown.row_of, counts.said.row_of

    @property
    def moments(self) -> int:
        return len(self.counts.video_M)

    def fits(
        self, names: Sequence[str], tokens: Sequence[int], without: str | None = None
    ) -> list[WordCount]:
        """How each of ``names`` fits the visual tokens of a moment. A name is said where each of its words is, by stem."""
        counted_M = self._counted(without)
        shown = self.counts.shown.values
        usual_V = np.bincount(shown[counted_M[self._shown_M]], minlength=self.choices)
        # a token that no other video shows says nothing for or against a name
        different = [token for token in sorted(set(tokens)) if usual_V[token]]
        usual_T = usual_V[different] / max(usual_V.sum(), 1)
        like_M = np.zeros(self.moments, bool)
        like_M[self._shown_M[np.isin(shown, different)]] = True
        like_M &= counted_M
        found = []
        for name in names:
            said_M = self._says(name) & counted_M
            near = shown[said_M[self._shown_M]]
            count_T = np.bincount(near, minlength=self.choices)[different]
            fit_T = (count_T + PRIOR * usual_T) / (len(near) + PRIOR) / usual_T
            found.append(
                WordCount(float(np.log(fit_T).sum()), int((said_M & like_M).sum()), int(like_M.sum()))
            )
        return found

    def stems_of(self, text: str) -> list[str]:
        """The stems of the content words of ``text``."""
        return list(stems(content_words(text)).values())

    def is_said(self, name: str) -> bool:
        """Whether a name is said in any moment."""
        return bool(self._says(name).any())

    def alike(self, tokens: Sequence[int], without: str | None = None) -> int | None:
        """The moment with the largest cosine to ``tokens`` by tf-idf of its different tokens, of equals the first; ``None``
        where none shares one of them."""
        shown = self.counts.shown
        shares = np.isin(shown.values, sorted(set(tokens))) & self._counted(without)[self._shown_M]
        if not shares.any():
            return None
        # a token that all moments show has no weight, but is better than none
        weight = np.log(self.moments / np.bincount(shown.values)[shown.values[shares]]) + 1e-6
        score_M = np.bincount(self._shown_M[shares], weight, self.moments)
        return int((score_M / np.sqrt(np.maximum(shown.lengths, 1))).argmax())

    def shown_with(self, text: str, top: int) -> list[int]:
        """The ``top`` visual tokens that fit the words of ``text`` best, of those that are shown while one of them is said."""
        shown = self.counts.shown.values
        usual_V = np.bincount(shown, minlength=self.choices) / max(len(shown), 1)
        score_V, near_V = np.log(np.maximum(usual_V, 1e-12)), np.zeros(self.choices)
        for stem in self.counts.stems_of(text):
            count_V = np.bincount(shown[self._saying(stem)[self._shown_M]], minlength=self.choices)
            near_V += count_V
            share_V = (count_V + PRIOR * usual_V) / (count_V.sum() + PRIOR)
            score_V += np.log(np.divide(share_V, usual_V, out=np.ones(self.choices), where=usual_V > 0))
        order = np.argsort(-score_V, kind="stable")
        return order[near_V[order] > 0][:top].tolist()

    def _saying(self, stem: int) -> np.ndarray:
        """bool [M]: the moments in which a word of this stem is said."""
        said_M = np.zeros(self.moments, bool)
        said_M[self._said_M[self.counts.said.values == stem]] = True
        return said_M

    def _says(self, name: str) -> np.ndarray:
        """bool [M]: the moments in which all words of a name are said."""
        wanted = self.counts.stems_of(name)
        said_M = np.full(self.moments, bool(wanted))
        for stem in wanted:
            said_M &= self._saying(stem)
        return said_M

    def _counted(self, without: str | None) -> np.ndarray:
        """bool [M]: the moments of the other videos."""
        return self.counts.video_M != (-2 if without is None else self.counts.place(without))
