"""Search: the moments nearest to a text or to another moment, and the sentences nearest to a moment's picture.

Three rankings of moments are fused by reciprocal rank: lexical (SQLite's BM25), by text embedding, and visual (by video
embedding, its first 50 reranked with the alignment head).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers.cache import open_cache
from multimodal.answers.index import check_indexed, read
from multimodal.answers.moments import Moments
from multimodal.answers.vectors import VectorIndex
from multimodal.catalogue import Video
from multimodal.library import read_transcript
from multimodal.segments import Segment, spoken_segments
from multimodal.store import InputError, Store

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

RERANKED = 50
RANK_OFFSET = 60
"""Of reciprocal rank fusion: 1 / (60 + rank) (Cormack, Clarke, Büttcher 2009)."""
LEXICAL_WEIGHT = 3
"""Weight of the lexical ranking: its first 30 moments come before all moments without a word of the text."""
DEPTH = 1000
"""Moments of each ranking that are fused; a later one would add less than a thousandth."""


@dataclasses.dataclass(frozen=True)
class Hit:
    """A moment with its score, the sum of ``heard`` (lexical and text ranking) and ``seen`` (visual ranking).

    ``words``: the words of the query that were looked up and are said in the moment, by stem. ``sight_rank``: its place in
    the visual ranking, from 1. ``cosine``: the similarity of the embeddings. ``alignment``: the alignment head's
    probability that picture and text belong together, for the first 50 of the visual ranking. ``None``: not computed.
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
    """Ids of moments, best first; the cosines of some, and the alignment head's probabilities of some."""

    order: np.ndarray
    cosines: dict[int, float] = dataclasses.field(default_factory=dict)
    aligned: dict[int, float] = dataclasses.field(default_factory=dict)


class Index:
    """The moments of some videos, opened for search. Without a model only the lexical ranking is there."""

    def __init__(
        self,
        trained: Trained | None,
        moments: Moments,
        text_index: VectorIndex | None = None,
        video_index: VectorIndex | None = None,
    ):
        self.trained, self._moments = trained, moments
        self._text_index, self._video_index = text_index, video_index

    @classmethod
    def of(
        cls,
        trained: Trained | None,
        names: Sequence[str],
        moments: Sequence[Segment],
        text_vectors: np.ndarray | None = None,
        video_vectors: np.ndarray | None = None,
    ) -> Index:
        """In memory; a moment's id is its place. ``names``: of its video. A vector [n, H] is zero where there is none."""
        name_of = {m.video: name for m, name in zip(moments, names, strict=True)}
        vectors = [None if v is None else VectorIndex.of(v) for v in (text_vectors, video_vectors)]
        return cls(trained, Moments.of(name_of, moments), *vectors)

    @classmethod
    def load(cls, store: Store, trained: Trained, videos: Sequence[Video]) -> Index:
        """From the cache or, where it is not of these videos, from the stored index itself, which takes longer.

        Raises :class:`InputError` where a video is not in the model's index, or its file there is another model's.
        """
        check_indexed(store, trained, videos)
        cached = open_cache(store, trained, videos)
        index = cls(trained, *cached) if cached is not None else cls._read(store, trained, videos)
        if not index._moments.count:
            raise InputError(f"store {store.root}: its index holds no moment; run `videobert run VIDEOS`")
        return index

    @classmethod
    def _read(cls, store: Store, trained: Trained, videos: Sequence[Video]) -> Index:
        contents = [read(store, trained, video) for video in videos]
        names = [v.name for v, content in zip(videos, contents, strict=True) for _ in content.moments]
        moments = [m for content in contents for m in content.moments]
        none = np.zeros((0, trained.model.options.hidden_size), np.float32)
        text_vectors = np.concatenate([none, *(content.text_vectors for content in contents)])
        video_vectors = np.concatenate([none, *(content.video_vectors for content in contents)])
        return cls.of(trained, names, moments, text_vectors, video_vectors)

    @property
    def moments(self) -> list[Segment]:
        return self._moments.all()

    def search(self, text: str, top: int = 10) -> list[Hit]:
        """The moments that ``text`` calls for, best first.

        Raises :class:`InputError` for a text without a word, and for one whose words the vocabulary lacks and nobody says.
        """
        words, depth = self._query_words(text), max(DEPTH, top)
        known = self.trained is not None and any(
            i != self.trained.vocabulary.unknown for i in self.trained.vocabulary.encode(text)
        )
        if not known and not words:
            lacks = "nobody says a word of it" + (
                ", and the model's vocabulary has none" if self.trained is not None else ""
            )
            raise InputError(f"TEXT {text!r}: {lacks}; use other words")
        heard = [(LEXICAL_WEIGHT, self._moments.lexical_ranking(words, depth))]
        seen = Ranking(np.zeros(0, np.int64))
        if known:
            vector = self._embed(text)
            heard.append((1, self._text_index.search(vector, depth)[1]))
            seen = self._visual_ranking(text, vector, depth)
        return self._fuse(heard, seen, top, words)

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

        Raises :class:`InputError` where ``at`` is outside the video, or no clip is shown there.
        """
        own, vector = self._moment_at(video, at)
        near, order = self._video_index.search(vector, max(DEPTH, top) + 1)
        cosines = dict(zip(order.tolist(), near.tolist(), strict=True))
        return self._fuse([], Ranking(order[order != own], cosines), top, [])

    def texts(self, video: Video, at: float, top: int = 10) -> list[Hit]:
        """The sentences of the store that fit the picture of ``video`` at second ``at``, best first, each once.

        The moment's own sentence is one of them. Raises what :meth:`like` raises.
        """
        own, vector = self._moment_at(video, at)
        tokens = self._moments.get([own])[own].tokens
        near, order = self._text_index.search(vector, max(DEPTH, top))
        ranking = self._rerank(near, order, lambda m: (m.text, tokens))
        found = self._moments.get(ranking.order)
        first_with_text: dict[str, int] = {}
        for i in ranking.order.tolist():
            if i in found:
                first_with_text.setdefault(found[i].text.casefold(), i)
        order = np.array(list(first_with_text.values()), np.int64)
        return self._fuse([], Ranking(order, ranking.cosines, ranking.aligned), top, [])

    # rankings

    def lexical_ranking(self, text: str, depth: int | None = None) -> np.ndarray:
        """The moments that share a word (by its stem) with the text, by BM25."""
        return self._moments.lexical_ranking(self._query_words(text), depth)

    def text_ranking(self, text: str, depth: int | None = None) -> np.ndarray:
        """All moments with words, by the similarity of the text embeddings."""
        return self._text_index.search(self._embed(text), depth)[1]

    def visual_ranking(self, text: str, depth: int | None = None) -> np.ndarray:
        """All moments with clips, by the similarity of their video embedding to the text's; the first 50 are reranked.

        The reranked score is a sum of log-probabilities: cosine over temperature, as trained, and the alignment head's.
        """
        return self._visual_ranking(text, self._embed(text), depth).order

    def _visual_ranking(self, text: str, vector: np.ndarray, depth: int | None) -> Ranking:
        near, order = self._video_index.search(vector, depth)
        return self._rerank(near, order, lambda m: (text, m.tokens))

    def _rerank(
        self, near: np.ndarray, order: np.ndarray, pair: Callable[[Segment], tuple[str, Sequence[int]]]
    ) -> Ranking:
        """The first 50 ordered by cosine and alignment of the ``pair`` (text, tokens) that each moment gives."""
        from multimodal.inference.embedding import alignment_probability, rerank_scores

        cosines = dict(zip(order.tolist(), near.tolist(), strict=True))
        first = order[:RERANKED]
        found = self._moments.get(first)
        kept = np.array([int(i) in found for i in first], bool)
        first, near = first[kept], near[:RERANKED][kept]
        pairs = [pair(found[int(i)]) for i in first]
        # In bfloat16 where that is fast: half of a query's time is spent here.
        aligned = alignment_probability(
            self.trained, [text for text, _ in pairs], [tokens for _, tokens in pairs], autocast=True
        )
        best_first = np.argsort(-rerank_scores(near, aligned), kind="stable")
        return Ranking(
            np.concatenate([first[best_first], order[RERANKED:]]),
            cosines,
            dict(zip(first.tolist(), map(float, aligned), strict=True)),
        )

    def _fuse(
        self, heard: Sequence[tuple[float, np.ndarray]], seen: Ranking, top: int, words: Sequence[str]
    ) -> list[Hit]:
        """Reciprocal rank fusion of weighted rankings ``heard`` and of ``seen``; equal sums are ordered by id."""
        heard_score: dict[int, float] = {}
        for weight, order in heard:
            for rank, moment in enumerate(order.tolist(), 1):
                heard_score[moment] = heard_score.get(moment, 0.0) + weight / (RANK_OFFSET + rank)
        visual_rank = {moment: rank for rank, moment in enumerate(seen.order.tolist(), 1)}
        seen_score = {moment: 1 / (RANK_OFFSET + rank) for moment, rank in visual_rank.items()}
        parts = {
            i: (heard_score.get(i, 0.0), seen_score.get(i, 0.0))
            for i in heard_score.keys() | seen_score.keys()
        }
        best = sorted(parts, key=lambda i: (-sum(parts[i]), i))[:top]
        found, matched = self._moments.get(best), self._moments.matched_words(words, best)
        return [
            Hit(m.video, self._moments.names[m.video], m.start, m.end, m.text, sum(parts[i]), *parts[i],
                matched[i], visual_rank.get(i), seen.cosines.get(i), seen.aligned.get(i))
            for i in best
            if (m := found.get(i)) is not None
        ]  # fmt: skip

    def _query_words(self, text: str) -> list[str]:
        if not re.search(r"\w", text):
            raise InputError(f"TEXT {text!r}: has no word in it; say what you look for")
        return self._moments.query_words(text)

    def _embed(self, text: str) -> np.ndarray:
        from multimodal.inference.embedding import embed_texts

        return embed_texts(self.trained, [text])[0]

    def _moment_at(self, video: Video, at: float) -> tuple[int, np.ndarray]:
        """The id of the video's moment at second ``at`` (in a gap the nearest one with clips), and its video vector."""
        label = f"--like {video.name}@{at:g}"
        if video.state == "refused":
            raise InputError(f"{label}: {video.state}: {video.reason}; name another video")
        moments = self._moments.of_video(video.video)
        if not moments:
            raise InputError(f"{label}: the index holds no moment of this video; run `videobert index`")
        begin, end = min(m.start for m in moments.values()), max(m.end for m in moments.values())
        begin, end = min(0.0, begin), max(end, begin + (video.seconds or 0))
        if not begin <= at <= end:
            raise InputError(
                f"{label}: outside the video, which runs from {begin:g} s to {end:g} s; name a second in it"
            )
        found = {i: vector for i in moments if (vector := self._video_index.vector(i)) is not None}
        if not found:
            raise InputError(f"{label}: none of its picture could be read; name another video")

        def distance(i: int) -> tuple[float, float]:
            return max(moments[i].start - at, at - moments[i].end, 0.0), -moments[i].start

        own = min(found, key=distance)
        return own, found[own]


def without_model(store: Store, videos: Sequence[Video]) -> Index:
    """The sentences of some videos for lexical search: all that a store can answer before a model is trained.

    Raises :class:`InputError` where nothing is said in any of them.
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
    return Index.of(None, [name for name, _ in named], [s for _, s in named])
