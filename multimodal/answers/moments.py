"""The table of moments in SQLite, their words, and the titles of their videos."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from multimodal.answers.languages import guessed
from multimodal.answers.lexical import QueryMatch, TextMatch, Words
from multimodal.answers.query import Query
from multimodal.segments import Segment

TOKEN = np.dtype("<i4")


def create(db: sqlite3.Connection) -> None:
    """The tables of a new database."""
    db.execute(
        "CREATE TABLE moments (id INTEGER PRIMARY KEY, video TEXT NOT NULL, start REAL NOT NULL, end REAL NOT NULL, "
        "text TEXT NOT NULL, tokens BLOB NOT NULL)"
    )
    db.execute("CREATE INDEX by_time ON moments (video, start)")
    db.execute("CREATE TABLE languages (video TEXT PRIMARY KEY, code TEXT NOT NULL)")
    Words.create(db)


def add(
    db: sqlite3.Connection, first: int, moments: Iterable[Segment], languages: Mapping[str, str | None]
) -> None:
    """Adds moments of whole videos; their ids count from ``first`` on.

    ``languages``: the one that each video's transcript names; where it names none, it is guessed by the stop words.
    """
    numbered = list(enumerate(moments, first))
    texts: dict[str, list[str]] = {}
    for _, moment in numbered:
        texts.setdefault(moment.video, []).append(moment.text)
    codes = {video: languages.get(video) or guessed(said) for video, said in texts.items()}
    known = [(video, code) for video, code in codes.items() if code]
    db.executemany("INSERT OR REPLACE INTO languages VALUES (?, ?)", known)
    db.executemany(
        "INSERT INTO moments VALUES (?, ?, ?, ?, ?, ?)",
        ((i, m.video, m.start, m.end, m.text, np.array(m.tokens, TOKEN).tobytes()) for i, m in numbered),
    )
    Words(db).add((i, m.text, codes[m.video]) for i, m in numbered)


def drop(db: sqlite3.Connection, ranges: Sequence[tuple[int, int]]) -> None:
    """Deletes the moments of each ``[first, after)`` and their words: no byte of either stays in the file."""
    db.execute("PRAGMA secure_delete = ON")
    db.executemany("DELETE FROM moments WHERE id >= ? AND id < ?", ranges)
    words = Words(db)
    words.clear()
    db.execute("DELETE FROM languages WHERE video NOT IN (SELECT video FROM moments)")
    words.add(db.execute("SELECT id, text, code FROM moments LEFT JOIN languages USING (video) ORDER BY id"))


class Moments:
    """The moments of some videos in a database; ``names``: the name of each of these videos, by digest.

    Other videos in the database are left out of every answer.
    """

    def __init__(self, db: sqlite3.Connection, names: Mapping[str, str], count: int):
        self._db, self.names, self.count = db, dict(names), count
        self.words = Words(db)
        self._numbers = {video: number for number, video in enumerate(self.names)}
        self.titles = Words.create(sqlite3.connect(":memory:", check_same_thread=False))
        codes = dict(db.execute("SELECT video, code FROM languages"))
        self.titles.add(
            (i, title(name), codes.get(video)) for i, (video, name) in enumerate(self.names.items())
        )

    @classmethod
    def of(
        cls, names: Mapping[str, str], moments: Sequence[Segment], languages: Mapping[str, str | None]
    ) -> Moments:
        """A database in memory; a moment's id is its place."""
        db = sqlite3.connect(":memory:", check_same_thread=False)
        create(db)
        add(db, 0, moments, languages)
        return cls(db, names, len(moments))

    def all(self, most: int = -1) -> list[Segment]:
        """In the order of their ids, the first ``most`` of the database."""
        rows = self._db.execute(
            "SELECT video, start, end, text, tokens FROM moments ORDER BY id LIMIT ?", (most,)
        )
        return [_segment(row) for row in rows if row[0] in self.names]

    def get(self, ids: Collection[int]) -> dict[int, Segment]:
        """The moments with these ids; removed ones are left out."""
        rows = self._db.execute(
            "SELECT id, video, start, end, text, tokens FROM moments WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps([int(i) for i in ids]),),
        )
        return {row[0]: _segment(row[1:]) for row in rows if row[1] in self.names}

    def of_video(self, video: str) -> dict[int, Segment]:
        """A video's moments by id, in their order in time."""
        rows = self._db.execute(
            "SELECT id, video, start, end, text, tokens FROM moments WHERE video = ? ORDER BY start, id",
            (video,),
        )
        return {row[0]: _segment(row[1:]) for row in rows}

    def query(self, text: str) -> Query:
        """A text as search reads it in this library. Raises what :meth:`Query.of` raises."""
        return Query.of(text, self.words.languages)

    def lookup(self, query: Query, is_spelled_right: Callable[[str], bool]) -> QueryMatch:
        return QueryMatch.of(query, self.words, self.titles, is_spelled_right)

    def said(self, lookup: QueryMatch, depth: int | None = None) -> dict[int, TextMatch]:
        """The moments in which the query's words are said, by id, best first, ``depth`` at most."""
        found, kept = self.words.search(lookup, lookup.said), {}
        while some := list(itertools.islice(found, depth)):
            of = self.videos_of([match[0] for match in some]) if self._has_others else None
            kept |= {m[0]: m for m in some if of is None or of.get(m[0]) in self.names}
            if depth is None or of is None or len(kept) >= depth:
                break
        return dict(itertools.islice(kept.items(), depth))

    @cached_property
    def _has_others(self) -> bool:
        """Whether the database holds moments of other videos; each video is one step in the index."""
        rows = self._db.execute(
            "WITH RECURSIVE held (video) AS (SELECT MIN(video) FROM moments UNION ALL "
            "SELECT (SELECT MIN(video) FROM moments WHERE video > held.video) FROM held WHERE held.video IS NOT NULL) "
            "SELECT video FROM held WHERE video IS NOT NULL"
        )
        return any(video not in self.names for (video,) in rows)

    def titled(self, lookup: QueryMatch) -> dict[str, TextMatch]:
        """The videos whose titles have the query's words, by digest, best first."""
        videos = list(self.names)
        return {videos[match[0]]: match for match in self.titles.search(lookup, lookup.titled)}

    def without_excluded(self, query: Query, ids: Sequence[int]) -> list[int]:
        """Those of ``ids`` in which nothing that the query excludes is said or in the title."""
        if not query.excluded:
            return list(ids)
        said, titled = self.words.excluded(query), self.titles.excluded(query)
        videos = self.videos_of(ids)
        return [i for i in ids if i not in said and self._numbers.get(videos.get(i, "")) not in titled]

    def videos_of(self, ids: Collection[int]) -> dict[int, str]:
        """The video of each moment."""
        rows = self._db.execute(
            "SELECT id, video FROM moments WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps([int(i) for i in ids]),),
        )
        return dict(rows.fetchall())


def title(name: str) -> str:
    """The words of a video's name: without the ending of its file, and ``FlippingAPancake`` parted at its capitals."""
    stem = re.sub(r"\.\w{1,4}$", "", name)
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", stem)


def _segment(row: tuple) -> Segment:
    video, start, end, text, tokens = row
    return Segment(video, start, end, text, tuple(np.frombuffer(tokens, TOKEN).tolist()))
