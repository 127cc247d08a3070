"""Owns the table of moments: what each one is, and which share a word with a text (SQLite and its FTS5)."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from multimodal.segments import Segment

COMMON = 0.25
"""A word said in more than this share of the moments tells little: it is asked for only where the text has no rarer one."""
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
    """Puts moments under the numbers from ``first`` on."""
    numbered = list(enumerate(moments, first))
    db.executemany(
        "INSERT INTO moments VALUES (?, ?, ?, ?, ?, ?)",
        ((i, m.video, m.start, m.end, m.text, np.array(m.tokens, TOKEN).tobytes()) for i, m in numbered),
    )
    db.executemany(
        "INSERT INTO words (rowid, text) VALUES (?, ?)", ((i, m.text) for i, m in numbered if m.text)
    )


def drop(db: sqlite3.Connection, ranges: Sequence[tuple[int, int]]) -> None:
    """Takes the moments of each ``[first, after)`` away, their words with them: no byte of either stays in the file."""
    db.execute("PRAGMA secure_delete = ON")
    db.executemany("DELETE FROM moments WHERE id >= ? AND id < ?", ranges)
    db.execute("INSERT INTO words (words) VALUES ('rebuild')")


class Moments:
    """The moments of some videos in a database; ``names`` is what each of these videos is called, by digest.

    Others in the database are not answered with.
    """

    def __init__(self, db: sqlite3.Connection, names: Mapping[str, str], count: int):
        self._db, self.names, self.count = db, dict(names), count

    @classmethod
    def of(cls, names: Mapping[str, str], moments: Sequence[Segment]) -> Moments:
        """In memory, numbered from 0."""
        db = sqlite3.connect(":memory:", check_same_thread=False)
        create(db)
        add(db, 0, moments)
        return cls(db, names, len(moments))

    def all(self) -> list[Segment]:
        rows = self._db.execute("SELECT video, start, end, text, tokens FROM moments ORDER BY id")
        return [_segment(row) for row in rows if row[0] in self.names]

    def some(self, numbers: Collection[int]) -> dict[int, Segment]:
        """The moments with these numbers; those that are gone since are left out."""
        rows = self._db.execute(
            "SELECT id, video, start, end, text, tokens FROM moments WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps([int(n) for n in numbers]),),
        )
        return {row[0]: _segment(row[1:]) for row in rows if row[1] in self.names}

    def of_video(self, video: str) -> dict[int, Segment]:
        """A video's moments by number, in their order in time."""
        rows = self._db.execute(
            "SELECT id, video, start, end, text, tokens FROM moments WHERE video = ? ORDER BY start, id",
            (video,),
        )
        return {row[0]: _segment(row[1:]) for row in rows}

    def asked_words(self, text: str) -> list[str]:
        """The words of ``text`` that are looked up: those that few moments share, or all where there are none such."""
        said = {word: self._moments_with(word) for word in dict.fromkeys(re.findall(r"\w+", text))}
        return [w for w, n in said.items() if 0 < n <= max(1, COMMON * self.count)] or [
            w for w, n in said.items() if n
        ]

    def by_words(self, words: Sequence[str], depth: int | None = None) -> np.ndarray:
        """The numbers int64 of the moments that share one of ``words`` by its stem, by BM25, ``depth`` at most."""
        if not words:
            return np.zeros(0, np.int64)
        rows = self._db.execute(
            "SELECT words.rowid, video FROM words JOIN moments ON moments.id = words.rowid WHERE words MATCH ? "
            "ORDER BY words.rank, words.rowid LIMIT ?",
            (" OR ".join(map(_phrase, words)), -1 if depth is None else depth),
        )
        return np.array([number for number, video in rows if video in self.names], np.int64)

    def saying(self, words: Sequence[str], numbers: Collection[int]) -> dict[int, tuple[str, ...]]:
        """Which of ``words`` each of these moments says, by stem."""
        wanted = json.dumps([int(n) for n in numbers])
        found: dict[int, list[str]] = {int(n): [] for n in numbers}
        for word in words:
            rows = self._db.execute(
                "SELECT rowid FROM words WHERE words MATCH ? AND rowid IN (SELECT value FROM json_each(?))",
                (_phrase(word), wanted),
            )
            for (number,) in rows:
                found[number].append(word)
        return {number: tuple(said) for number, said in found.items()}

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
