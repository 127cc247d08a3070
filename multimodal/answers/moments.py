"""The table of moments in SQLite, and lexical search over their words by FTS5 and BM25."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from multimodal.segments import Segment

COMMON = 0.25
"""A word in more than this share of the moments is looked up only where the text has no rarer one."""
TOKEN = np.dtype("<i4")


def create(db: sqlite3.Connection) -> None:
    """The tables of a new database. Words are compared by their stems (Porter), letters without case and accents."""
    db.execute(
        "CREATE TABLE moments (id INTEGER PRIMARY KEY, video TEXT NOT NULL, start REAL NOT NULL, end REAL NOT NULL, "
        "text TEXT NOT NULL, tokens BLOB NOT NULL)"
    )
    db.execute("CREATE INDEX by_time ON moments (video, start)")
    db.execute(
        "CREATE VIRTUAL TABLE words USING fts5(text, content='moments', content_rowid='id', tokenize='porter unicode61')"
    )


def add(db: sqlite3.Connection, first: int, moments: Iterable[Segment]) -> None:
    """Adds moments; their ids count from ``first`` on."""
    numbered = list(enumerate(moments, first))
    db.executemany(
        "INSERT INTO moments VALUES (?, ?, ?, ?, ?, ?)",
        ((i, m.video, m.start, m.end, m.text, np.array(m.tokens, TOKEN).tobytes()) for i, m in numbered),
    )
    db.executemany(
        "INSERT INTO words (rowid, text) VALUES (?, ?)", ((i, m.text) for i, m in numbered if m.text)
    )


def drop(db: sqlite3.Connection, ranges: Sequence[tuple[int, int]]) -> None:
    """Deletes the moments of each ``[first, after)`` and their words: no byte of either stays in the file."""
    db.execute("PRAGMA secure_delete = ON")
    db.executemany("DELETE FROM moments WHERE id >= ? AND id < ?", ranges)
    db.execute("INSERT INTO words (words) VALUES ('rebuild')")


class Moments:
    """The moments of some videos in a database; ``names``: the name of each of these videos, by digest.

    Other videos in the database are left out of every answer.
    """

    def __init__(self, db: sqlite3.Connection, names: Mapping[str, str], count: int):
        self._db, self.names, self.count = db, dict(names), count

    @classmethod
    def of(cls, names: Mapping[str, str], moments: Sequence[Segment]) -> Moments:
        """A database in memory; a moment's id is its place."""
        db = sqlite3.connect(":memory:", check_same_thread=False)
        create(db)
        add(db, 0, moments)
        return cls(db, names, len(moments))

    def all(self) -> list[Segment]:
        rows = self._db.execute("SELECT video, start, end, text, tokens FROM moments ORDER BY id")
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

    def query_words(self, text: str) -> list[str]:
        """The words of ``text`` that are looked up: those that few moments have, or all where each is common."""
        counts = {word: self._moments_with(word) for word in dict.fromkeys(re.findall(r"\w+", text))}
        rare = [word for word, count in counts.items() if 0 < count <= max(1, COMMON * self.count)]
        return rare or [word for word, count in counts.items() if count]

    def lexical_ranking(self, words: Sequence[str], depth: int | None = None) -> np.ndarray:
        """The ids int64 of the moments that have one of ``words`` by its stem, by BM25, ``depth`` at most."""
        if not words:
            return np.zeros(0, np.int64)
        rows = self._db.execute(
            "SELECT words.rowid, video FROM words JOIN moments ON moments.id = words.rowid WHERE words MATCH ? "
            "ORDER BY words.rank, words.rowid LIMIT ?",
            (" OR ".join(map(_phrase, words)), -1 if depth is None else depth),
        )
        return np.array([moment for moment, video in rows if video in self.names], np.int64)

    def matched_words(self, words: Sequence[str], ids: Collection[int]) -> dict[int, tuple[str, ...]]:
        """Of each of these moments, those of ``words`` that are said in it, by stem."""
        wanted = json.dumps([int(i) for i in ids])
        found: dict[int, list[str]] = {int(i): [] for i in ids}
        for word in words:
            rows = self._db.execute(
                "SELECT rowid FROM words WHERE words MATCH ? AND rowid IN (SELECT value FROM json_each(?))",
                (_phrase(word), wanted),
            )
            for (moment,) in rows:
                found[moment].append(word)
        return {moment: tuple(matched) for moment, matched in found.items()}

    def _moments_with(self, word: str) -> int:
        (count,) = self._db.execute(
            "SELECT count(*) FROM words WHERE words MATCH ?", (_phrase(word),)
        ).fetchone()
        return count


def _phrase(word: str) -> str:
    return f'"{word}"'


def _segment(row: tuple) -> Segment:
    video, start, end, text, tokens = row
    return Segment(video, start, end, text, tuple(np.frombuffer(tokens, TOKEN).tolist()))
