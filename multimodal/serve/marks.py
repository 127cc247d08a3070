"""The words of a text that a query found, marked: by their stems as search compares them, else as beginnings of words."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Sequence

from multimodal.answers.languages import stems
from multimodal.answers.lexical import any_of
from multimodal.answers.scripts import pairs

Part = tuple[str, bool]
"""A part of a text, and whether it is marked."""
_OPEN, _CLOSE = "\ue000", "\ue001"
_WORD = re.compile(r"[^\W_]+")


def marked(
    texts: Sequence[str], words: Sequence[Sequence[str]], languages: Collection[str] = ()
) -> list[list[Part]]:
    """Each text in parts. ``words``: for each text the words and phrases of the query that are said in it; ``languages``:
    those whose stems are looked up beside Porter's."""
    db = sqlite3.connect(":memory:")
    try:
        db.execute("CREATE VIRTUAL TABLE said USING fts5(text, tokenize='porter unicode61')")
        plain = [text.replace(_OPEN, "").replace(_CLOSE, "") for text in texts]
        db.executemany("INSERT INTO said (rowid, text) VALUES (?, ?)", enumerate(plain))
        return [_parts(db, number, text, words[number], languages) for number, text in enumerate(plain)]
    finally:
        db.close()


def _parts(
    db: sqlite3.Connection, number: int, text: str, words: Sequence[str], languages: Collection[str]
) -> list[Part]:
    if not words:
        return [(text, False)]
    forms = f"({any_of(words)})"
    if said := _of_one_stem(text, words, languages):
        forms += " OR " + " OR ".join(f'"{word}"' for word in said)
    for expression in (forms, " OR ".join(f"{any_of([word])}*" for word in words)):
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


def _of_one_stem(text: str, words: Sequence[str], languages: Collection[str]) -> list[str]:
    """The words of the text that have a stem of one of ``words`` in one of the languages."""
    asked = {(code, stem) for word in words for code in languages for stem in stems(word, code)}
    if not asked:
        return []
    said = dict.fromkeys(_WORD.findall(text))
    return [w for w in said if any((code, stem) in asked for code in languages for stem in stems(w, code))]
