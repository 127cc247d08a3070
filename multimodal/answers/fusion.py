"""Rankings of moments and their fusion: words that are said or in a title, words near in meaning, pictures.

Reciprocal rank fusion with a weight of the lexical ranking that grows with the words of the query that a moment has, so that
more of them count before any picture (coordination level, as in Lucene's classic similarity).
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from multimodal.answers.lexical import QueryMatch, TextMatch
from multimodal.answers.moments import Moments
from multimodal.answers.query import Query

RANK_OFFSET = 60  # of reciprocal rank fusion: 1 / (60 + rank) (Cormack, Clarke, Büttcher 2009)
LEXICAL_WEIGHT = 3
"""Weight of the lexical ranking for each word of the query that a moment has: its first 30 moments come before all that
have fewer of the words, or none."""


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
class Ranking:
    """Ids of moments, best first; the cosines of some, and the alignment head's probabilities of some."""

    order: np.ndarray
    cosines: dict[int, float] = dataclasses.field(default_factory=dict)
    aligned: dict[int, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, cosines: np.ndarray, order: np.ndarray) -> Ranking:
        """The moments of ``order`` [n] with their cosines [n]."""
        return cls(order, dict(zip(order.tolist(), cosines.tolist(), strict=True)))


NOTHING = Ranking(np.zeros(0, np.int64))


@dataclasses.dataclass(frozen=True)
class LexicalRanking:
    """``counts``: how many of the query's words each moment has, said or in the title of its video, best first; 1 for one
    that has a phrase alone. ``said`` and ``titled``: the matches of what is said in it, and of its video's title."""

    counts: Mapping[int, int]
    said: Mapping[int, TextMatch]
    titled: Mapping[int, TextMatch]


NO_MATCH: TextMatch = (-1, 0.0, 0, 0)
NO_WORDS = LexicalRanking({}, {}, {})


def lexical_ranking(
    moments: Moments, lookup: QueryMatch, depth: int, others: Sequence[int]
) -> LexicalRanking:
    """The moments that have words of the query, best first: those with most of the words, of these by BM25.

    A title counts for the moments of its video in which a word is heard, else for one alone: the first of ``others``,
    the moments that were found by their vectors, else the video's first.
    """
    said, titles = moments.said(lookup, depth), moments.titled(lookup)
    counts = {i: count or 1 for i, _, _, count in said.values()}
    if not titles:
        return LexicalRanking(counts, said, {})
    by_video = _of_videos(moments, lookup.query, titles, said, others)
    titled = {i: titles[video] for video, ids in by_video.items() for i in ids}
    bm25 = {i: match[1] for i, match in said.items()}
    for i, (_, score, words, _) in titled.items():
        counts[i] = (said.get(i, NO_MATCH)[2] | words).bit_count() or 1
        bm25[i] = bm25.get(i, 0.0) + score
    order = sorted(counts, key=lambda i: (-counts[i], -bm25[i], i))
    return LexicalRanking({i: counts[i] for i in order}, said, titled)


def _of_videos(
    moments: Moments, query: Query, videos: Collection[str], said: Collection[int], others: Sequence[int]
) -> dict[str, list[int]]:
    """The moments of each video that its title counts for."""
    of = moments.videos_of([*said, *others]) if videos else {}
    heard: dict[str, list[int]] = {}
    shown: dict[str, list[int]] = {}
    for by_video, ids in ((heard, said), (shown, others)):
        for i in filter(of.__contains__, ids):
            by_video.setdefault(of[i], []).append(i)

    def one(video: str) -> list[int]:
        every = shown.get(video) or list(moments.of_video(video))
        return moments.without_excluded(query, every)[:1]

    return {v: heard.get(v) or one(v) for v in videos}


def fuse(
    moments: Moments,
    seen: Ranking,
    top: int,
    near: Ranking = NOTHING,
    lexical: LexicalRanking = NO_WORDS,
    lookup: QueryMatch | None = None,
) -> list[Hit]:
    """The ``top`` hits by weighted reciprocal rank fusion; equal sums are ordered by id."""
    lexical_parts = {
        i: LEXICAL_WEIGHT * count / (RANK_OFFSET + rank)
        for rank, (i, count) in enumerate(lexical.counts.items(), 1)
    }
    near_parts, seen_parts = _parts(near), _parts(seen)
    sums = dict(lexical_parts)
    for parts in (near_parts, seen_parts):
        for i, part in parts.items():
            sums[i] = sums.get(i, 0.0) + part
    best = heapq.nsmallest(top, sums, key=lambda i: (-sums[i], i))
    found = moments.get(best)
    visual_rank = {moment: rank for rank, moment in enumerate(seen.order.tolist(), 1)}
    hits = []
    for i in filter(found.__contains__, best):
        m, said, titled = found[i], lexical.said.get(i, NO_MATCH), lexical.titled.get(i, NO_MATCH)
        lexical_part, bm25 = lexical_parts.get(i, 0.0), said[1] + titled[1] or 1.0
        heard, title = lexical_part * said[1] / bm25, lexical_part * titled[1] / bm25
        is_near, is_seen = i in near_parts, i in seen_parts
        others = near_parts.get(i, 0.0), seen_parts.get(i, 0.0)
        hit = Hit(
            *(m.video, moments.names[m.video], m.start, m.end, m.text),
            *(heard + title + sum(others), heard, title, *others),
            words=lookup.named(said[2]) if heard else (),
            title_words=lookup.named(titled[2]) if title else (),
            text_cosine=near.cosines[i] if is_near else None,
            sight_rank=visual_rank.get(i),
            cosine=seen.cosines.get(i) if is_seen else None,
            alignment=seen.aligned.get(i) if is_seen else None,
        )
        hits.append(hit)
    return hits


def _parts(ranking: Ranking) -> dict[int, float]:
    return {i: 1 / (RANK_OFFSET + rank) for rank, i in enumerate(ranking.order.tolist(), 1)}
