"""Owns search: the moments that a text or another moment calls for, and the sentences that fit what a moment shows.

A moment is found by its words (SQLite's BM25, and the text-only embedding) and by its picture (the video-only
embedding, the best of which the alignment head puts in order). The parts are fused by reciprocal rank.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from multimodal.answers.cache import open_cache
from multimodal.answers.exact import Exact
from multimodal.answers.index import check_indexed, read
from multimodal.answers.moments import Moments
from multimodal.answers.nearest import Nearest
from multimodal.catalogue import Video
from multimodal.inference.embedding import alignment_probability, embed_texts, rerank_scores
from multimodal.inference.trained import Trained
from multimodal.library import read_transcript
from multimodal.segments import Segment, spoken_segments
from multimodal.store import InputError, Store

RERANKED = 50
RANK_OFFSET = 60
"""Of reciprocal rank fusion: 1 / (60 + rank) (Cormack, Clarke, Büttcher 2009)."""
WORDS_WEIGHT = 3
"""What was really said outweighs what the model takes for near: the first 30 moments that share a word with the text
come before all that share none, seen or not."""
DEPTH = 1000
"""Of each ranking, so many moments are fused: what comes later would add less than a thousandth."""


@dataclasses.dataclass(frozen=True)
class Hit:
    """A moment with its score; ``heard`` and ``seen`` are the parts that the words and the picture had in it.

    ``words`` are those of the query that it says (by stem) and that were looked up. ``sight_rank`` is its place by sight,
    from 1, ``cosine`` how near the embeddings are, and ``alignment`` the alignment head's probability that picture and text
    belong together (of the first 50 by sight); ``None`` where that was not asked.
    """

    video: str
    name: str
    start: float
    end: float
    text: str
    score: float
    heard: float
    seen: float
    words: tuple[str, ...] = ()
    sight_rank: int | None = None
    cosine: float | None = None
    alignment: float | None = None


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Moments by number, best first; of some their cosine, and the alignment head's probability."""

    order: np.ndarray
    cosines: dict[int, float] = dataclasses.field(default_factory=dict)
    aligned: dict[int, float] = dataclasses.field(default_factory=dict)


class Index:
    """Every moment of some videos, ready to be asked. Without a model there are words alone."""

    def __init__(
        self,
        trained: Trained | None,
        names: Sequence[str],
        moments: Sequence[Segment],
        said: np.ndarray,
        shown: np.ndarray,
    ):
        """``said`` and ``shown``: a vector of each moment, zero where it has none. A moment's number is its place."""
        called = {m.video: name for m, name in zip(moments, names, strict=True)}
        self._open(trained, Moments.of(called, moments), _in_memory(said), _in_memory(shown))

    def _open(self, trained: Trained | None, moments: Moments, said: Nearest, shown: Nearest) -> Index:
        self.trained, self._moments, self._said, self._shown = trained, moments, said, shown
        return self

    @classmethod
    def load(cls, store: Store, trained: Trained, videos: Sequence[Video]) -> Index:
        """From the cache, or where that is not of these videos from the index itself, which takes longer.

        Raises :class:`InputError` where a video is not in the model's index, or its file there is another model's.
        """
        check_indexed(store, trained, videos)
        cached = open_cache(store, trained, videos)
        if cached is not None:
            made = cls.__new__(cls)._open(trained, *cached)
        else:
            read_in = [(v, read(store, trained, v)) for v in videos]
            names = [v.name for v, found in read_in for _ in found.moments]
            width = trained.model.options.hidden_size
            none = np.zeros((0, width), np.float32)
            made = cls(
                trained,
                names,
                [m for _, found in read_in for m in found.moments],
                np.concatenate([none, *(found.said for _, found in read_in)]),
                np.concatenate([none, *(found.shown for _, found in read_in)]),
            )
        if not made._moments.count:
            raise InputError(f"store {store.root}: its index holds no moment; run `videobert run VIDEOS`")
        return made

    @property
    def moments(self) -> list[Segment]:
        return self._moments.all()

    def search(self, text: str, top: int = 10) -> list[Hit]:
        """The moments that ``text`` calls for, best first.

        Raises :class:`InputError` for an empty text, and for one of which the vocabulary knows nothing and nobody says a word.
        """
        words, depth = self._words(text), max(DEPTH, top)
        known = self.trained is not None and any(
            i != self.trained.vocabulary.unknown for i in self.trained.vocabulary.encode(text)
        )
        if not known and not words:
            lacks = "nobody says a word of it" + (
                ", and the model's vocabulary has none" if self.trained is not None else ""
            )
            raise InputError(f"TEXT {text!r}: {lacks}; use other words")
        heard = [(WORDS_WEIGHT, self._moments.by_words(words, depth))]
        seen = Ranking(np.zeros(0, np.int64))
        if known:
            vector = self._embedded(text)
            heard.append((1, self._said.search(vector, depth)[1]))
            seen = self._by_sight(text, vector, depth)
        return self._fused(heard, seen, top, words)

    def unknown_words(self, text: str) -> list[str]:
        """The words of ``text`` that the model's vocabulary lacks: they count only where somebody says them."""
        if self.trained is None:
            return []
        vocabulary = self.trained.vocabulary
        return [
            w
            for w in dict.fromkeys(re.findall(r"\w+", text))
            if set(vocabulary.encode(w)) == {vocabulary.unknown}
        ]

    def like(self, video: Video, at: float, top: int = 10) -> list[Hit]:
        """The moments that look like the one of ``video`` at second ``at``, best first; never that moment itself.

        Raises :class:`InputError` where ``at`` is outside the video, or nothing is seen there.
        """
        number, vector = self._shown_at(video, at)
        near, order = self._shown.search(vector, max(DEPTH, top) + 1)
        cosines = dict(zip(order.tolist(), near.tolist(), strict=True))
        return self._fused([], Ranking(order[order != number], cosines), top, [])

    def texts(self, video: Video, at: float, top: int = 10) -> list[Hit]:
        """The sentences of the store that fit what ``video`` shows at second ``at``, best first, each once.

        Its own sentence is one of them. Raises what :meth:`like` raises.
        """
        number, vector = self._shown_at(video, at)
        shown = self._moments.some([number])[number].tokens
        near, order = self._said.search(vector, max(DEPTH, top))
        ranking = self._reranked(near, order, lambda m: (m.text, shown))
        there, once = self._moments.some(ranking.order), {}
        for i in ranking.order.tolist():
            if i in there:
                once.setdefault(there[i].text.casefold(), i)
        order = np.array(list(once.values()), np.int64)
        return self._fused([], Ranking(order, ranking.cosines, ranking.aligned), top, [])

    def by_words(self, text: str, depth: int | None = None) -> np.ndarray:
        """The moments that share a word (by its stem) with the text, by BM25."""
        return self._moments.by_words(self._words(text), depth)

    def by_saying(self, text: str, depth: int | None = None) -> np.ndarray:
        """The moments whose words mean something near, by the text-only embedding."""
        return self._said.search(self._embedded(text), depth)[1]

    def by_sight(self, text: str, depth: int | None = None) -> np.ndarray:
        """The moments that show it, by the video-only embedding; the first 50 in its and the alignment head's order.

        Both are log-probabilities there: the embedding's as it was trained (cosine over temperature), and the head's.
        """
        return self._by_sight(text, self._embedded(text), depth).order

    def _by_sight(self, text: str, vector: np.ndarray, depth: int | None) -> Ranking:
        near, order = self._shown.search(vector, depth)
        return self._reranked(near, order, lambda m: (text, m.tokens))

    def _reranked(
        self, near: np.ndarray, order: np.ndarray, pair: Callable[[Segment], tuple[str, Sequence[int]]]
    ) -> Ranking:
        """The first 50 put in order by cosine and alignment of the ``pair`` (text, tokens) that each moment gives.

        In bf16 where that is fast: half of a query's time is spent here.
        """
        cosines = dict(zip(order.tolist(), near.tolist(), strict=True))
        first = order[:RERANKED]
        there = self._moments.some(first)
        kept = np.array([int(i) in there for i in first], bool)
        first, near = first[kept], near[:RERANKED][kept]
        pairs = [pair(there[int(i)]) for i in first]
        aligned = alignment_probability(
            self.trained, [text for text, _ in pairs], [tokens for _, tokens in pairs], autocast=True
        )
        both = rerank_scores(near, aligned)
        return Ranking(
            np.concatenate([first[np.argsort(-both, kind="stable")], order[RERANKED:]]),
            cosines,
            dict(zip(first.tolist(), map(float, aligned), strict=True)),
        )

    def _fused(
        self, heard: Sequence[tuple[float, np.ndarray]], seen: Ranking, top: int, words: Sequence[str]
    ) -> list[Hit]:
        """The best by the sum of their reciprocal ranks, ``heard`` with weights; equals by number."""
        by_ear: dict[int, float] = {}
        for weight, order in heard:
            for rank, number in enumerate(order.tolist(), 1):
                by_ear[number] = by_ear.get(number, 0.0) + weight / (RANK_OFFSET + rank)
        by_eye = {number: rank for rank, number in enumerate(seen.order.tolist(), 1)}
        parts = {
            n: (by_ear.get(n, 0.0), 1 / (RANK_OFFSET + by_eye[n]) if n in by_eye else 0.0)
            for n in by_ear.keys() | by_eye.keys()
        }
        best = sorted(parts, key=lambda n: (-sum(parts[n]), n))[:top]
        there, said = self._moments.some(best), self._moments.saying(words, best)
        return [
            Hit(m.video, self._moments.names[m.video], m.start, m.end, m.text, sum(parts[n]), *parts[n],
                said[n], by_eye.get(n), seen.cosines.get(n), seen.aligned.get(n))
            for n in best
            if (m := there.get(n)) is not None
        ]  # fmt: skip

    def _words(self, text: str) -> list[str]:
        if not re.search(r"\w", text):
            raise InputError(f"TEXT {text!r}: has no word in it; say what you look for")
        return self._moments.asked_words(text)

    def _embedded(self, text: str) -> np.ndarray:
        return embed_texts(self.trained, [text])[0]

    def _shown_at(self, video: Video, at: float) -> tuple[int, np.ndarray]:
        """The number of the video's moment at second ``at`` (in a gap the nearest), and the vector of what it shows."""
        if video.state == "refused":
            raise InputError(f"--like {video.name}@{at:g}: {video.state}: {video.reason}; name another video")
        moments = self._moments.of_video(video.video)
        if not moments:
            raise InputError(
                f"--like {video.name}@{at:g}: the index holds no moment of this video; run `videobert index`"
            )
        begin, end = min(m.start for m in moments.values()), max(m.end for m in moments.values())
        begin, end = min(0.0, begin), max(end, begin + (video.seconds or 0))
        if not begin <= at <= end:
            raise InputError(
                f"--like {video.name}@{at:g}: outside the video, which runs from {begin:g} s to {end:g} s; name a second in it"
            )
        found = {n: vector for n in moments if (vector := self._shown.vector(n)) is not None}
        if not found:
            raise InputError(
                f"--like {video.name}@{at:g}: none of its picture could be read; name another video"
            )
        number = min(
            found, key=lambda n: (max(moments[n].start - at, at - moments[n].end, 0.0), -moments[n].start)
        )
        return number, found[number]


def _in_memory(vectors: np.ndarray) -> Nearest:
    """The search over those of ``vectors`` [n, H] that are not zero."""
    some = np.flatnonzero(vectors.any(1))
    return Nearest(Exact(np.ascontiguousarray(vectors[some], np.float32)), some)


def without_model(store: Store, videos: Sequence[Video]) -> Index:
    """What was said in some videos, ready to be asked by words alone: what a store can answer before any model is trained.

    Raises :class:`InputError` where nothing was said in any of them.
    """
    named = [
        (v.name, s)
        for v in videos
        for s in spoken_segments(v.video, read_transcript(store, v), np.zeros(0), np.zeros(0, np.int64))
    ]
    if not named:
        raise InputError(
            f"store {store.root}: has no model yet, and nobody speaks in its videos; run `videobert run VIDEOS`"
        )
    none = np.zeros((len(named), 1), np.float32)
    return Index(None, [name for name, _ in named], [s for _, s in named], none, none)
