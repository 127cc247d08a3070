"""Stems and stop words of languages beside English, for search by words.

The stemmers are those of Snowball (Porter 2001), the stop words those of the package ``stop-words``; English has Porter's
stemmer in FTS5 and a list of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

import Stemmer
import stop_words

from multimodal.answers.scripts import UNSPACED, folded, without_vowel_marks
from multimodal.answers.token_names import STOP_WORDS

ENGLISH = "en"
STEMMERS = {
    "ar": "arabic", "hy": "armenian", "eu": "basque", "ca": "catalan", "cs": "czech", "da": "danish", "nl": "dutch",
    "et": "estonian", "fi": "finnish", "fr": "french", "de": "german", "el": "greek", "hi": "hindi", "hu": "hungarian",
    "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "no": "norwegian", "nn": "norwegian",
    "fa": "persian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "es": "spanish", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
"""The name of a language's stemmer, by its code."""
_PREFIX = re.compile("^[وفبك](?=ال)")
"""Arabic's "and", "so", "with", "like", written to the article of the word behind: Snowball leaves them there."""
_WORD = re.compile(r"[^\W\d_]+")
LEAST_STOP_WORDS = 0.1
"""Share of the words of a text that are stop words of its language, at least. In running text it is a third to a half."""


@lru_cache
def _stemmer(language: str) -> Stemmer.Stemmer:
    return Stemmer.Stemmer(STEMMERS[language])


@lru_cache(maxsize=100_000)
def stems(word: str, language: str) -> tuple[str, ...]:
    """The folded stems of a word, as it is written and without its accents; empty for a language without a stemmer."""
    if language not in STEMMERS or UNSPACED.search(word):
        return ()
    word = _PREFIX.sub("", word.lower())
    found = [folded(_stemmer(language).stemWord(form)) for form in (word, folded(word))]
    if (
        language == "ar"
    ):  # what begins with the letter of a preposition loses it: "potatoes" is "with otatoes"
        found.append(folded(word.removeprefix("ال")))
    return tuple(dict.fromkeys(stem for stem in found if stem))


def stemmed(text: str, language: str | None) -> str:
    """The stems of the content words of a text; empty for English, which FTS5 stems, and for an unknown language."""
    if language not in STEMMERS:
        return ""
    said = (word for word in _WORD.findall(text) if not is_stop_word(word, language))
    return " ".join(stem for word in said for stem in stems(word, language))


@lru_cache
def _listed(language: str) -> frozenset[str]:
    """The stop words of a language as they are written; empty where there is no list.

    Scripts without spaces have none: a word there is any run of characters.
    """
    if language == ENGLISH:
        return STOP_WORDS
    code = "nb" if language in ("no", "nn") else language
    if code not in stop_words.LANGUAGE_MAPPING:
        return frozenset()
    return frozenset(word.lower() for word in stop_words.get_stop_words(code) if not UNSPACED.search(word))


@lru_cache
def _without_accents(language: str) -> frozenset[str]:
    return frozenset(map(folded, _listed(language)))


def is_stop_word(word: str, language: str | None = ENGLISH) -> bool:
    """Whether a word says nothing of what is looked for. A single Latin letter is mostly the rest of a contraction."""
    if len(word) == 1 and word.isascii() and word.isalpha():
        return True
    # As it is written, or typed without accents: "thé" is not "the", but "fur" may be "für".
    language, word = language or ENGLISH, without_vowel_marks(word).lower()
    return word in _listed(language) or word in _without_accents(language)


def guessed(texts: Iterable[str], among: Collection[str] | None = None) -> str | None:
    """The language of which most words of ``texts`` are stop words, ``None`` where these are too few. ``among``: codes."""
    words = [word.lower() for text in texts for word in _WORD.findall(without_vowel_marks(text))]
    candidates = (ENGLISH, *(STEMMERS if among is None else sorted(among)))
    counts = {code: sum(word in _listed(code) for word in words) for code in candidates}
    best = max(counts, key=counts.__getitem__)
    return best if words and counts[best] >= LEAST_STOP_WORDS * len(words) else None
