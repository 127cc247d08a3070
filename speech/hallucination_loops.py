"""Hallucination loops: a phrase that Whisper repeats without end is cut to one occurrence."""

from __future__ import annotations

from collections.abc import Sequence

from speech.sentences import Word

LONGEST_PHRASE = 12
# "No, no, no!" is speech. A phrase that comes more often than this, and makes this many words, is a loop.
MOST_REPEATS = 3
FEWEST_WORDS = 6


def remove_loops(words: Sequence[Word]) -> tuple[list[Word], int]:
    """The words with each loop cut to its first occurrence, and the number of words dropped.

    Case and punctuation do not tell phrases apart.
    """
    keys = ["".join(filter(str.isalnum, word.text.casefold())) for word in words]
    kept: list[Word] = []
    n = 0
    while n < len(words):
        length, repeats = _loop_at(keys, n)
        kept += words[n : n + length]
        n += length * repeats
    return kept, len(words) - len(kept)


def _loop_at(keys: Sequence[str], n: int) -> tuple[int, int]:
    """The length in words of the phrase that loops from word `n` on, and how often it comes; (1, 1) for none."""
    # The shortest phrase first: "go go go go" is also a loop of "go go".
    for length in range(1, LONGEST_PHRASE + 1):
        phrase = keys[n : n + length]
        repeats = 1
        while keys[n + repeats * length : n + (repeats + 1) * length] == phrase:
            repeats += 1
        if repeats > MOST_REPEATS and repeats * length >= FEWEST_WORDS:
            return length, repeats
    return 1, 1
