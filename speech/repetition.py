"""Loops of a speech recogniser: the same words over and over, of which one turn is kept."""

from __future__ import annotations

from collections.abc import Sequence

from speech.sentences import Word

LONGEST_PHRASE = 12
# "No, no, no!" is speech. A phrase that comes more often than this, and makes this many words, is a loop.
MOST_TURNS = 3
FEWEST_WORDS = 6


def without_repetition(words: Sequence[Word]) -> tuple[list[Word], int]:
    """The words with each loop cut to its first turn, and how many words were dropped."""
    keys = ["".join(filter(str.isalnum, word.text.casefold())) for word in words]
    kept: list[Word] = []
    n = 0
    while n < len(words):
        length, turns = _loop_at(keys, n)
        kept += words[n : n + length]
        n += length * turns
    return kept, len(words) - len(kept)


def _loop_at(keys: Sequence[str], n: int) -> tuple[int, int]:
    """Length of the phrase that loops from word `n` on, and how many whole turns it makes; (1, 1) for none."""
    for length in range(1, LONGEST_PHRASE + 1):
        phrase = keys[n : n + length]
        turns = 1
        while keys[n + turns * length : n + (turns + 1) * length] == phrase:
            turns += 1
        if turns > MOST_TURNS and turns * length >= FEWEST_WORDS:
            return length, turns
    return 1, 1
