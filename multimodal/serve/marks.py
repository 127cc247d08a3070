"""The words of a text that a query found, marked: by their stems as search compares them, else as beginnings of words."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

from multimodal.answers.lexical import any_of
from multimodal.answers.scripts import pairs

Part = tuple[str, bool]
"""A part of a text, and whether it is marked."""
_OPEN, _CLOSE = "\ue000", "\ue001"


def marked(texts: Sequence[str], words: Sequence[Sequence[str]]) -> list[list[Part]]:
    """Each text in parts; ``words``: for each text the words and phrases of the query that are said in it."""
    db = sqlite3.connect(":memory:")
    try:
        db.execute("CREATE VIRTUAL TABLE said USING fts5(text, tokenize='porter unicode61')")
        plain = [text.replace(_OPEN, "").replace(_CLOSE, "") for text in texts]
        db.executemany("INSERT INTO said (rowid, text) VALUES (?, ?)", enumerate(plain))
        return [_parts(db, number, text, words[number]) for number, text in enumerate(plain)]
    finally:
        db.close()


def _parts(db: sqlite3.Connection, number: int, text: str, words: Sequence[str]) -> list[Part]:
    if not words:
        return [(text, False)]
    for expression in (any_of(words), " OR ".join(f"{any_of([word])}*" for word in words)):
        row = db.execute(
            "SELECT highlight(said, 0, ?, ?) FROM said WHERE said MATCH ? AND rowid = ?",
            (_OPEN, _CLOSE, expression, number),
        ).fetchone()
        if row is not None:
            return [
                (part, place % 2 == 1)
                for place, part in enumerate(re.split(f"[{_OPEN}{_CLOSE}]", row[0]))
                if part
            ]
    # Scripts without spaces are looked up two characters at a time.
    found = [piece for word in words for piece in (*pairs(word), word) if piece and piece in text]
    if not found:
        return [(text, False)]
    cut = re.split(f"({'|'.join(map(re.escape, found))})", text)
    return [(part, place % 2 == 1) for place, part in enumerate(cut) if part]
