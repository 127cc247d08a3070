"""Search: the moments that a text or another moment calls for, and the sentences nearest to a moment's picture.

A text finds a moment in four ways, and each hit says by which: a word is *heard*, or in the *title* of the video (lexical
ranking, BM25); its words are *near* in meaning (text embedding); it is *seen* (video embedding and alignment head). The
rankings are fused by reciprocal rank. Near and seen count only above thresholds (:mod:`multimodal.answers.thresholds`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers.alignment import RERANKED, Pair, fitting, rerank
from multimodal.answers.cache import Cache, Contents, open_cache, open_searchable
from multimodal.answers.fusion import NOTHING, Hit, Ranking, fuse, lexical_ranking
from multimodal.answers.index import check_indexed, read
from multimodal.answers.lexical import QueryMatch
from multimodal.answers.moments import Moments
from multimodal.answers.scripts import folded
from multimodal.answers.thresholds import Thresholds, question_vectors, threshold
from multimodal.answers.vectors import VectorIndex
from multimodal.catalogue import Video
from multimodal.library import read_transcript
from multimodal.segments import Segment, spoken_segments
from multimodal.store import InputError, Store

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

DEPTH = 1000  # moments of each ranking that are fused; a later one would add less than a thousandth


@dataclasses.dataclass(frozen=True)
class Found:
    """The hits for a text, best first, and how its words were looked up."""

    hits: tuple[Hit, ...]
    lookup: QueryMatch


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
        return cls._opened(store, trained, videos, open_cache(store, trained, videos))

    @classmethod
    def searchable(
        cls, store: Store, trained: Trained, videos: Sequence[Video], ahead: Cache | None = None
    ) -> tuple[Index, list[Video]]:
        """Those of ``videos`` that can be searched now, and the index of them; the others wait for a run.

        ``ahead``: a cache of the store that is open already. Raises what :meth:`load` raises.
        """
        found, cached = open_searchable(store, trained, videos, ahead)
        if cached is None:
            check_indexed(store, trained, found)
        return cls._opened(store, trained, found, cached), found

    @classmethod
    def _opened(
        cls, store: Store, trained: Trained, videos: Sequence[Video], cached: Contents | None
    ) -> Index:
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
    def languages(self) -> tuple[str, ...]:
        """The languages beside English in whose stems words are looked up."""
        return self._moments.words.languages

    @property
    def moments(self) -> list[Segment]:
        return self._moments.all()

    def first_moments(self, count: int) -> list[Segment]:
        return self._moments.all(count)

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
        (found,) = self.find_many([(text, top)])
        if isinstance(found, InputError):
            raise found
        return found

    def find_many(self, asked: Sequence[tuple[str, int]]) -> list[Found | InputError]:
        """For each text with its ``top`` what :meth:`find` gives or raises; the model and the vectors are read once for all."""
        lookups = [self._looked_up(text) for text, _ in asked]
        by_meaning = [n for n, lookup in enumerate(lookups) if self._has_meaning(lookup)]
        depth = max([DEPTH, *(top for _, top in asked)])
        near, seen = self._by_meaning([(lookups[n], asked[n][1]) for n in by_meaning], depth)
        near, seen = (dict(zip(by_meaning, rankings, strict=True)) for rankings in (near, seen))
        return [
            lookup
            if isinstance(lookup, InputError)
            else self._found(lookup, near.get(n, NOTHING), seen.get(n, NOTHING), asked[n][1])
            for n, lookup in enumerate(lookups)
        ]

    def _looked_up(self, text: str) -> QueryMatch | InputError:
        try:
            return self._moments.lookup(self._moments.query(text), self._is_spelled_right)
        except InputError as error:
            return error

    def _has_meaning(self, lookup: QueryMatch | InputError) -> bool:
        """Whether the model is asked: it knows a word of the text, and a moment without the phrase is no hit, however near."""
        if self.trained is None or isinstance(lookup, InputError) or lookup.query.phrases:
            return False
        return len(lookup.query.words) > len(self.unknown_words(lookup))

    def _by_meaning(
        self, asked: Sequence[tuple[QueryMatch, int]], depth: int
    ) -> tuple[list[Ranking], list[Ranking]]:
        """The moments that are near in meaning to each text, and of those whose picture fits it as many as are wanted."""
        if not asked:
            return [], []
        from multimodal.inference.embedding import embed_texts

        lookups = [lookup for lookup, _ in asked]
        vectors = embed_texts(self.trained, [lookup.plain for lookup in lookups])
        least = self.thresholds
        near = self._above(self._text_index, vectors, depth, least.near, lookups)
        seen = self._above(self._video_index, vectors, RERANKED, least.seen, lookups)
        pairs = [(r, self._showing(lookup.plain)) for r, lookup in zip(seen, lookups, strict=True)]
        return near, fitting(self.trained, self._moments, pairs, [top for _, top in asked])

    def _found(self, lookup: QueryMatch, near: Ranking, seen: Ranking, top: int) -> Found:
        others = [*seen.order.tolist(), *near.order.tolist()]
        lexical = lexical_ranking(self._moments, lookup, max(DEPTH, top), others)
        return Found(tuple(fuse(self._moments, seen, top, near, lexical, lookup)), lookup)

    def _above(
        self, index: VectorIndex, vectors: np.ndarray, depth: int, least: float, lookups: Sequence[QueryMatch]
    ) -> list[Ranking]:
        """The moments whose cosine exceeds the threshold, without those that say what is excluded, for each vector [Q, H]."""
        rankings = []
        for (near, order), lookup in zip(index.search_many(vectors, depth), lookups, strict=True):
            cosines = dict(zip(order[near > least].tolist(), near[near > least].tolist(), strict=True))
            kept = self._moments.without_excluded(lookup.query, list(cosines))
            rankings.append(Ranking(np.array(kept, np.int64), cosines))
        return rankings

    @staticmethod
    def _showing(text: str) -> Pair:
        return lambda moment: (text, moment.tokens)

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
        ranking = Ranking.of(near, order)
        return fuse(self._moments, dataclasses.replace(ranking, order=order[order != own]), top)

    def texts(self, video: Video, at: float, top: int = 10) -> list[Hit]:
        """The sentences of the store that fit the picture of ``video`` at second ``at``, best first, each once.

        The moment's own sentence is one of them. Raises what :meth:`like` raises.
        """
        own, vector = self._moment_at(video, at)
        tokens = self._moments.get([own])[own].tokens
        near, order = self._text_index.search(vector, max(DEPTH, top))
        ranking = rerank(self.trained, self._moments, Ranking.of(near, order), lambda m: (m.text, tokens))
        found = self._moments.get(ranking.order)
        first_with_text: dict[str, int] = {}
        for i in filter(found.__contains__, ranking.order.tolist()):
            first_with_text.setdefault(found[i].text.casefold(), i)
        order = np.array(list(first_with_text.values()), np.int64)
        return fuse(self._moments, Ranking(order, ranking.cosines, ranking.aligned), top)

    # rankings

    def text_ranking(self, text: str, depth: int | None = None) -> np.ndarray:
        """All moments with words, by the similarity of the text embeddings."""
        return self._text_index.search(self._embed(text), depth)[1]

    def visual_ranking(self, text: str, depth: int | None = None) -> np.ndarray:
        """All moments with clips, by the similarity of their video embedding to the text's; the first 50 are reranked."""
        near, order = self._video_index.search(self._embed(text), depth)
        ranking = rerank(self.trained, self._moments, Ranking.of(near, order), self._showing(text))
        return ranking.order

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
