"""Search: the moments that a text or another moment calls for, and the sentences nearest to a moment's picture.

A text finds a moment in four ways, and each hit says by which: a word is *heard*, or in the *title* of the video (lexical
ranking, BM25); its words are *near* in meaning (text embedding); it is *seen* (video embedding and alignment head). The
rankings are fused by reciprocal rank. Near and seen count only above thresholds (:mod:`multimodal.answers.thresholds`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers.cache import open_cache
from multimodal.answers.index import check_indexed, read
from multimodal.answers.lexical import QueryMatch
from multimodal.answers.moments import Moments
from multimodal.answers.query import Query
from multimodal.answers.scripts import folded
from multimodal.answers.thresholds import Thresholds, question_vectors, threshold
from multimodal.answers.vectors import VectorIndex
from multimodal.catalogue import Video
from multimodal.library import read_transcript
from multimodal.segments import Segment, spoken_segments
from multimodal.store import InputError, Store

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

RERANKED = 50
RANK_OFFSET = 60  # of reciprocal rank fusion: 1 / (60 + rank) (Cormack, Clarke, Büttcher 2009)
LEXICAL_WEIGHT = 3
"""Weight of the lexical ranking: its first 30 moments come before all moments without a word of the text."""
DEPTH = 1000  # moments of each ranking that are fused; a later one would add less than a thousandth
LEAST_ALIGNMENT = 0.5  # the alignment head's probability from which on a picture belongs to a text


@dataclasses.dataclass(frozen=True)
class Hit:
    """A moment with its score, the sum of its parts; a part is 0 where the moment was not found in that way.

    ``heard``: a word of the query is said in it, ``title``: in the title of its video; ``words`` and ``title_words`` are
    these words. ``near``: its words are near in meaning; ``text_cosine``: the similarity of the text embeddings, where
    ``near``. ``seen``: its picture fits; where it does, ``sight_rank``: its place in the visual ranking, from 1, ``cosine``:
    the similarity of text and video embedding, ``alignment``: the alignment head's probability that picture and text
    belong together. ``None``: not computed.
    """

    video: str
    name: str
    start: float
    end: float
    text: str
    score: float
    heard: float
    title: float
    near: float
    seen: float
    words: tuple[str, ...] = ()
    title_words: tuple[str, ...] = ()
    text_cosine: float | None = None
    sight_rank: int | None = None
    cosine: float | None = None
    alignment: float | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """How the moment was found: ``heard``, ``title``, ``near``, ``seen``."""
        return tuple(label for label in ("heard", "title", "near", "seen") if getattr(self, label))


@dataclasses.dataclass(frozen=True)
class Found:
    """The hits for a text, best first, and how its words were looked up."""

    hits: tuple[Hit, ...]
    lookup: QueryMatch


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Ids of moments, best first; the cosines of some, and the alignment head's probabilities of some."""

    order: np.ndarray
    cosines: dict[int, float] = dataclasses.field(default_factory=dict)
    aligned: dict[int, float] = dataclasses.field(default_factory=dict)


NOTHING = Ranking(np.zeros(0, np.int64))


class Index:
    """The moments of some videos, opened for search. Without a model only the lexical ranking is there."""

    def __init__(
        self,
        trained: Trained | None,
        moments: Moments,
        text_index: VectorIndex | None = None,
        video_index: VectorIndex | None = None,
        thresholds: Thresholds | None = None,
    ):
        self.trained, self._moments = trained, moments
        self._text_index, self._video_index = text_index, video_index
        self._stored_thresholds = thresholds

    @classmethod
    def of(
        cls,
        trained: Trained | None,
        names: Sequence[str],
        moments: Sequence[Segment],
        text_vectors: np.ndarray | None = None,
        video_vectors: np.ndarray | None = None,
        thresholds: Thresholds | None = None,
        languages: Mapping[str, str | None] | None = None,
    ) -> Index:
        """In memory; a moment's id is its place. ``names``: of its video; ``languages``: of each video's transcript, where it
        names one. A vector [n, H] is zero where there is none."""
        name_of = {m.video: name for m, name in zip(moments, names, strict=True)}
        vectors = [None if v is None else VectorIndex.of(v) for v in (text_vectors, video_vectors)]
        return cls(trained, Moments.of(name_of, moments, languages or {}), *vectors, thresholds)

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
        told = {v.video: content.language for v, content in zip(videos, contents, strict=True)}
        return cls.of(trained, names, moments, text_vectors, video_vectors, languages=told)

    @property
    def moments(self) -> list[Segment]:
        return self._moments.all()

    @cached_property
    def thresholds(self) -> Thresholds:
        """The stored ones; computed where the index was not opened from the cache."""
        if self._stored_thresholds is not None:
            return self._stored_thresholds
        questions = question_vectors(self.trained, self._moments.words.has)
        return Thresholds(*(threshold(i.nearest(questions)) for i in (self._text_index, self._video_index)))

    def search(self, text: str, top: int = 10) -> list[Hit]:
        """The hits of :meth:`find`, which raises the same."""
        return list(self.find(text, top).hits)

    def find(self, text: str, top: int = 10) -> Found:
        """The moments that ``text`` calls for, and how its words were looked up.

        Content words find a moment by their stem, else as a prefix, else by a near spelling; ``"a phrase"`` must be said or
        be in the title, ``-word`` must not. Stop words alone find nothing. Raises :class:`InputError` for a text without a
        word, and for one in which every word is excluded.
        """
        query, depth = self._moments.query(text), max(DEPTH, top)
        lookup = self._moments.lookup(query, self._is_spelled_right)
        near = seen = NOTHING
        # A moment without the phrase is no hit, however near.
        known = len(query.words) - len(self.unknown_words(lookup))
        if self.trained is not None and known and not query.phrases:
            vector = self._embed(lookup.plain)
            near = self._above(self._text_index, vector, depth, self.thresholds.near, query)
            seen = self._above(self._video_index, vector, RERANKED, self.thresholds.seen, query)
            seen = self._aligned(seen, lookup.plain)
        lexical = self._lexical(lookup, depth, [*seen.order.tolist(), *near.order.tolist()])
        return Found(tuple(self._fuse(seen, top, near, lexical, lookup)), lookup)

    def _above(
        self, index: VectorIndex, vector: np.ndarray, depth: int, least: float, query: Query
    ) -> Ranking:
        """The moments whose cosine exceeds the threshold, without those that say what is excluded."""
        near, order = index.search(vector, depth)
        cosines = dict(zip(order[near > least].tolist(), near[near > least].tolist(), strict=True))
        kept = self._moments.without_excluded(query, list(cosines))
        return Ranking(np.array(kept, np.int64), cosines)

    def _aligned(self, ranking: Ranking, text: str) -> Ranking:
        """Those that the alignment head takes for the picture of the text, in the order of both; all where there is no head."""
        if not len(ranking.order) or not self.trained.has_alignment:
            return ranking
        cosines = np.array([ranking.cosines[i] for i in ranking.order.tolist()], np.float32)
        reranked = self._rerank(cosines, ranking.order, lambda m: (text, m.tokens))
        order = [i for i in reranked.order.tolist() if reranked.aligned[i] >= LEAST_ALIGNMENT]
        return dataclasses.replace(reranked, order=np.array(order, np.int64))

    def unknown_words(self, lookup: QueryMatch) -> list[str]:
        """The content words that the model's vocabulary lacks: they count only where somebody says them."""
        if self.trained is None:
            return []
        vocabulary = self.trained.vocabulary
        words = (lookup.corrected.get(word, word) for word in lookup.query.words)
        return [word for word in words if set(vocabulary.encode(word)) == {vocabulary.unknown}]

    def _is_spelled_right(self, word: str) -> bool:
        """Whether the model's vocabulary has the word, or one that begins with it, as "baked" with "bake"."""
        if self.trained is None:
            return False
        wanted = folded(word)
        return any(piece.lower().startswith(wanted) for piece in self.trained.vocabulary.spellings)

    def like(self, video: Video, at: float, top: int = 10) -> list[Hit]:
        """The moments that look like the one of ``video`` at second ``at``, best first; never that moment itself.

        Raises :class:`InputError` where ``at`` is outside the video, or no clip is shown there.
        """
        own, vector = self._moment_at(video, at)
        return self.like_vector(vector, top, own)

    def like_vector(self, vector: np.ndarray, top: int = 10, own: int = -1) -> list[Hit]:
        """The moments nearest to a video embedding [H], best first; never the one with the id ``own``."""
        near, order = self._video_index.search(vector, max(DEPTH, top) + 1)
        cosines = dict(zip(order.tolist(), near.tolist(), strict=True))
        return self._fuse(Ranking(order[order != own], cosines), top)

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
        for i in filter(found.__contains__, ranking.order.tolist()):
            first_with_text.setdefault(found[i].text.casefold(), i)
        order = np.array(list(first_with_text.values()), np.int64)
        return self._fuse(Ranking(order, ranking.cosines, ranking.aligned), top)

    # rankings

    def text_ranking(self, text: str, depth: int | None = None) -> np.ndarray:
        """All moments with words, by the similarity of the text embeddings."""
        return self._text_index.search(self._embed(text), depth)[1]

    def visual_ranking(self, text: str, depth: int | None = None) -> np.ndarray:
        """All moments with clips, by the similarity of their video embedding to the text's; the first 50 are reranked.

        The reranked score is a sum of log-probabilities: cosine over temperature, as trained, and the alignment head's.
        """
        near, order = self._video_index.search(self._embed(text), depth)
        return self._rerank(near, order, lambda m: (text, m.tokens)).order

    def _rerank(
        self, near: np.ndarray, order: np.ndarray, pair: Callable[[Segment], tuple[str, Sequence[int]]]
    ) -> Ranking:
        """The first 50 ordered by cosine and alignment of the ``pair`` (text, tokens) that each moment gives; by cosine alone
        where the model has no alignment head."""
        from multimodal.inference.embedding import alignment_probability, rerank_scores

        cosines = dict(zip(order.tolist(), near.tolist(), strict=True))
        if not self.trained.has_alignment:
            return Ranking(order, cosines)
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
        order = np.concatenate([first[best_first], order[RERANKED:]])
        return Ranking(order, cosines, dict(zip(first.tolist(), aligned.tolist(), strict=True)))

    def _lexical(
        self, lookup: QueryMatch, depth: int, others: Sequence[int]
    ) -> dict[int, tuple[float, float]]:
        """BM25 of speech and of title for each moment of the lexical ranking, best first by their sum.

        A title counts for the moments of its video in which a word is heard, else for one alone: the first of ``others``,
        the moments that were found by their vectors, else the video's first.
        """
        said, titled = self._moments.said(lookup, depth), self._moments.titled(lookup)
        scores = {i: (score, 0.0) for i, score in said.items()}
        for video, moments in self._of_videos(lookup.query, titled, said, others).items():
            for i in moments:
                scores[i] = (said.get(i, 0.0), titled[video])
        return dict(sorted(scores.items(), key=lambda item: (-sum(item[1]), item[0])))

    def _of_videos(
        self, query: Query, videos: Collection[str], said: Collection[int], others: Sequence[int]
    ) -> dict[str, list[int]]:
        """The moments of each video that its title counts for."""
        found = self._moments.get([*said, *others]) if videos else {}
        heard, shown = {}, {}
        for by_video, ids in ((heard, said), (shown, others)):
            for i in filter(found.__contains__, ids):
                by_video.setdefault(found[i].video, []).append(i)

        def one(video: str) -> list[int]:
            every = shown.get(video) or list(self._moments.of_video(video))
            return self._moments.without_excluded(query, every)[:1]

        return {v: heard.get(v) or one(v) for v in videos}

    def _fuse(
        self,
        seen: Ranking,
        top: int,
        near: Ranking = NOTHING,
        lexical: Mapping[int, tuple[float, float]] = MappingProxyType({}),
        lookup: QueryMatch | None = None,
    ) -> list[Hit]:
        """Weighted reciprocal rank fusion; equal sums are ordered by id. ``lexical``: BM25 of speech and title, best first."""
        parts: dict[int, list[float]] = {}
        for rank, (i, scores) in enumerate(lexical.items(), 1):
            whole = LEXICAL_WEIGHT / (RANK_OFFSET + rank)
            parts[i] = [whole * score / sum(scores) for score in scores] + [0.0, 0.0]
        for part, ranking in ((2, near), (3, seen)):
            for rank, i in enumerate(ranking.order.tolist(), 1):
                parts.setdefault(i, [0.0] * 4)[part] = 1 / (RANK_OFFSET + rank)
        best = sorted(parts, key=lambda i: (-sum(parts[i]), i))[:top]
        found = self._moments.get(best)
        words = self._moments.matched(lookup, best) if lookup else {}
        titles = self._moments.matched_titles(lookup) if lookup else {}
        visual_rank = {moment: rank for rank, moment in enumerate(seen.order.tolist(), 1)}
        return [
            Hit(
                *(m.video, self._moments.names[m.video], m.start, m.end, m.text),
                *(sum(parts[i]), *parts[i]),
                words=words.get(i, ()) if parts[i][0] else (),
                title_words=titles.get(m.video, ()) if parts[i][1] else (),
                text_cosine=near.cosines[i] if parts[i][2] else None,
                sight_rank=visual_rank.get(i),
                cosine=seen.cosines.get(i) if parts[i][3] else None,
                alignment=seen.aligned.get(i) if parts[i][3] else None,
            )
            for i in best
            if (m := found.get(i)) is not None
        ]

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

    A video in which nobody speaks is one moment, which its title finds. Raises :class:`InputError` where all are such.
    """
    named, languages = [], {}
    for v in videos:
        languages[v.video] = (transcript := read_transcript(store, v)).language
        sentences = spoken_segments(v.video, transcript, np.zeros(0), np.zeros(0, np.int64))
        whole = Segment(v.video, 0.0, v.seconds or 0.0, "", ())
        named += [(v.name, segment) for segment in sentences or [whole]]
    if not any(segment.text for _, segment in named):
        raise InputError(
            f"store {store.root}: has no model yet, and nobody speaks in its videos; run `videobert run VIDEOS`"
        )
    return Index.of(None, *map(list, zip(*named, strict=True)), languages=languages)
