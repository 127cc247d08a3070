"""Text queries: what is looked up, what must be said, what must not be, and the near spellings of a word."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping

from multimodal.answers.languages import guessed, is_stop_word
from multimodal.answers.scripts import folded, without_vowel_marks
from multimodal.store import InputError

QUOTES = str.maketrans(dict.fromkeys("“”„«»", '"'))
_WORD = re.compile(r"[^\W_]+")
_PART = re.compile(r'(?<!\S)-(?:"(?P<not_phrase>[^"]*)"|(?P<not_word>\w\S*))|"(?P<phrase>[^"]*)"')


@dataclasses.dataclass(frozen=True)
class Query:
    """A text as search reads it.

    ``words``: the content words outside of quotes, each once. ``phrases``: what is quoted, which a hit must say or have as
    its title. ``excluded``: words and phrases after a minus sign, which a hit must not. ``ignored``: the stop words outside
    of quotes. ``plain``: the text without minus signs and what they exclude, and without quotes.
    """

    words: tuple[str, ...]
    phrases: tuple[str, ...]
    excluded: tuple[str, ...]
    ignored: tuple[str, ...]
    plain: str

    @classmethod
    def of(cls, text: str, languages: Collection[str] = ()) -> Query:
        """``languages``: those of the library beside English; stop words are those of the text's own, as far as it shows.

        Raises :class:`InputError` for a text without a word, or in which every word is excluded.
        """
        phrases: list[str] = []
        excluded: list[str] = []
        outside: list[str] = []
        plain: list[str] = []
        text, done = without_vowel_marks(text.translate(QUOTES)), 0
        for part in _PART.finditer(text):
            before, done = text[done : part.start()], part.end()
            outside.append(before)
            plain.append(before)
            if part["phrase"] is None:
                excluded.append(" ".join(_WORD.findall(part["not_phrase"] or part["not_word"] or "")))
            else:
                phrases.append(" ".join(_WORD.findall(part["phrase"])))
                plain.append(part["phrase"])
        outside.append(text[done:])
        plain.append(text[done:])
        words = list({word.casefold(): word for word in _WORD.findall(" ".join(outside))}.values())
        language = guessed([text], languages)
        query = cls(
            tuple(word for word in words if not is_stop_word(word, language)),
            tuple(filter(None, phrases)),
            tuple(filter(None, excluded)),
            tuple(word for word in words if is_stop_word(word, language)),
            " ".join(" ".join(plain).replace('"', " ").split()),
        )
        if not (query.words or query.phrases or query.ignored):
            lacks = "excludes words and names none" if query.excluded else "has no word in it"
            raise InputError(f"TEXT {text!r}: {lacks}; say what you look for")
        return query

    @property
    def asks(self) -> bool:
        """Whether anything is looked up: stop words alone are not."""
        return bool(self.words or self.phrases)

    def with_words(self, replaced: Mapping[str, str]) -> str:
        """:attr:`plain` with other words in the place of some."""
        by_word = {word.casefold(): other for word, other in replaced.items()}
        return _WORD.sub(lambda word: by_word.get(word[0].casefold(), word[0]), self.plain)


def without_stop_words(text: str, language: str | None) -> str:
    return _WORD.sub(lambda word: "" if is_stop_word(word[0], language) else word[0], text)


def most_edits(word: str) -> int:
    """The edits in which a near spelling may differ: none up to 2 letters, 1 up to 5, else 2.

    Source: ``fuzziness: AUTO`` of Elasticsearch and Lucene.
    """
    return 0 if len(word) < 3 else 1 if len(word) < 6 else 2


def near_spelling(word: str, known: Iterable[tuple[str, int]]) -> str | None:
    """The word of ``known`` (word, count) that takes the fewest edits, of equals the most frequent; ``None`` for none.

    The first letter is the same, as misspellings seldom change it.
    """
    word, most = folded(word), most_edits(folded(word))
    found = [
        (distance, -count, other)
        for other, count in known
        if abs(len(other) - len(word)) <= most
        and other[:1] == word[:1]
        and (distance := edit_distance(word, other)) <= most
    ]
    return min(found)[2] if found else None


def edit_distance(a: str, b: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours that make ``b`` of ``a``: optimal string alignment."""
    before, last = [0], list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
