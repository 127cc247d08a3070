"""Scripts: words as search compares them, whatever marks they are written with, in scripts with and without spaces.

FTS5's tokenizer splits a text at what is no letter. Scripts that put no space between words are looked up by characters: a
word is a phrase of them, as SQLite has no dictionary of Chinese, Japanese or Thai.
"""

from __future__ import annotations

import re
import unicodedata

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
UNSPACED = re.compile(f"[{_UNSPACED}]")
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_VOWEL_MARKS = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed]"
)
"""Of Hebrew and Arabic, with the stroke that lengthens a word: most texts leave them out."""
_VOICED = "\u3099\u309a"
"""Marks of Japanese that make another sound of a letter."""
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
ISOLATE, END_ISOLATE = "\u2068", "\u2069"


def without_vowel_marks(text: str) -> str:
    """The text without the marks that Hebrew and Arabic may be written with."""
    return _VOWEL_MARKS.sub("", text)


def folded(text: str) -> str:
    """A text in small letters and without accents, as FTS5's tokenizer ``unicode61`` writes it; ``ß`` becomes ``ss``."""
    # What follows would leave it as it is, and takes longer than all else of a large library's titles.
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFKD", without_vowel_marks(text).lower().replace("ß", "ss"))
    plain = "".join(c for c in parts if c in _VOICED or not unicodedata.combining(c))
    return unicodedata.normalize("NFC", plain)


def spaced(text: str) -> str:
    """The folded text with spaces around each character of a script without spaces."""
    return UNSPACED.sub(lambda character: f" {character[0]} ", folded(text))


def pairs(word: str) -> tuple[str, ...]:
    """The neighbouring characters of a word in a script without spaces, two by two; empty for other words.

    A query in such a script is one run of characters, of which a text may hold a part.
    """
    if len(word) < 3 or not UNSPACED.search(word):
        return ()
    return tuple(word[n : n + 2] for n in range(len(word) - 1))


def isolated(text: str) -> str:
    """The text, kept apart in a line for people where it is written from right to left (Unicode's bidirectional algorithm).

    Else the numbers and names beside it would be drawn in another order.
    """
    return f"{ISOLATE}{text}{END_ISOLATE}" if RIGHT_TO_LEFT.search(text) else text
