"""Lexical search: words in FTS5 by stem, by prefix and by near spelling, ranked by BM25.

English is stemmed by FTS5 (Porter), other languages by Snowball (:mod:`multimodal.answers.languages`). Beside its stems each
word is there as it is written, so a word of any language is found.
"""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from multimodal.answers.languages import STEMMERS, is_stop_word, stemmed, stems
from multimodal.answers.query import (
    Query,
    most_edits,
    near_spelling,
    without_stop_words,
)
from multimodal.answers.scripts import HAN, folded, pairs, spaced

LEAST_PREFIX = 3
"""Letters of a word that is looked up as a prefix, at least."""
LEAST_PAIRS = 1 / 3
"""Share of the pairs of a run without spaces that a text has, at least: the others reach over the ends of words."""
MOST_FORMS = 50
"""Words that one prefix stands for at most, the most frequent ones."""
MOST_RESPELLED = 10
"""Words of one query whose near spellings are looked for: of a pasted page there may be thousands."""
MOST_COUNTED = 60
"""Words of a query of which it is told which texts have them: a bit each in SQLite's integers."""
MOST_NAMED = 10
"""Words of a query that a reason names."""
TextMatch = tuple[int, float, int, int]
"""A text that was found: its number, its BM25, the words of the query that it has, a bit for each, and how many they are."""
Forms = Mapping[str, Sequence[str]]
"""The words that stand for each word of a query; FTS5 finds each by its stem."""


class Words:
    """The words of numbered texts in FTS5: in the table ``words`` content words by stem, in ``spellings`` every word as it is
    written, in ``terms`` each of these once. ``words`` has the stems of other languages than English in a column of their
    own; ``stemmed_languages`` says which languages these are."""

    def __init__(self, db: sqlite3.Connection):
        self._db = db

    @classmethod
    def create(cls, db: sqlite3.Connection) -> Words:
        """New tables in a database."""
        db.execute(
            "CREATE VIRTUAL TABLE words USING fts5(text, stems, content='', tokenize='porter unicode61')"
        )
        db.execute("CREATE VIRTUAL TABLE spellings USING fts5(text, content='', tokenize='unicode61')")
        db.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(spellings, row)")
        db.execute("CREATE TABLE stemmed_languages (code TEXT PRIMARY KEY)")
        return cls(db)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages beside English whose stems are here."""
        return tuple(code for (code,) in self._db.execute("SELECT code FROM stemmed_languages ORDER BY code"))

    def add(self, texts: Iterable[tuple[int, str, str | None]]) -> None:
        """Adds numbered texts, each with its language where that is known."""
        rows = list(texts)
        # By their stems stop words are like other words: "us" like "use", "can" like "cans".
        content = (
            (i, spaced(without_stop_words(text, code)), stemmed(text, code) if code else "")
            for i, text, code in rows
        )
        self._db.executemany("INSERT INTO words (rowid, text, stems) VALUES (?, ?, ?)", content)
        codes = {(code,) for _, _, code in rows if code in STEMMERS}
        self._db.executemany("INSERT OR IGNORE INTO stemmed_languages VALUES (?)", sorted(codes))
        verbatim = ((i, spaced(text)) for i, text, _ in rows)
        self._db.executemany("INSERT INTO spellings (rowid, text) VALUES (?, ?)", verbatim)

    def clear(self) -> None:
        for table in ("words", "spellings"):
            self._db.execute(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")

    def has(self, word: str) -> bool:
        """Whether a text has the word, by stem."""
        found = self._db.execute("SELECT 1 FROM words WHERE words MATCH ? LIMIT 1", (self._any_of([word]),))
        return found.fetchone() is not None

    def forms(self, word: str) -> tuple[str, ...]:
        """The word itself where a text has it by its stem, else the words that begin with it.

        Of a run of characters in a script without spaces, the pairs that a text has, where these are a third of them.
        """
        if self.has(word):
            return (word,)
        if two_by_two := pairs(word):
            said = tuple(pair for pair in two_by_two if self.has(pair))
            # Two Chinese characters are a word; two syllables are in many.
            enough = len(said) > 1 or any(HAN.search(pair) for pair in said)
            return said if enough and len(said) >= LEAST_PAIRS * len(two_by_two) else ()
        prefix = folded(word)
        if (
            len(unicodedata.normalize("NFD", prefix)) < LEAST_PREFIX
        ):  # a syllable of Korean has two or three letters
            return ()
        # The beginning of a whole word, not of a stem: some words have a stem of two or three letters.
        rows = self._db.execute(
            "SELECT term FROM terms WHERE term >= ? AND term < ? ORDER BY doc DESC, term LIMIT ?",
            (prefix, _after(prefix), MOST_FORMS),
        )
        return tuple(term for (term,) in rows if not is_stop_word(term))

    def near(self, word: str) -> list[tuple[str, int]]:
        """The words of the same first letter and about the same length, with the number of texts that have each."""
        word = folded(word)
        lengths = (len(word) - most_edits(word), len(word) + most_edits(word))
        rows = self._db.execute(
            "SELECT term, doc FROM terms WHERE term >= ? AND term < ? AND length(term) BETWEEN ? AND ?",
            (word[:1], _after(word[:1]), *lengths),
        )
        return [(term, count) for term, count in rows if not is_stop_word(term)]

    def search(self, match: QueryMatch, forms: Forms) -> Iterator[TextMatch]:
        """The texts that have every phrase or, without phrases, any word, and nothing that is excluded; best first.

        Those with most of the words of :attr:`QueryMatch.counted` first, of these by BM25. The words count beside phrases too,
        for the order.
        """
        # Each word by itself, so that it is known who has it; FTS5's BM25 of several is the sum of theirs.
        counted = [(1 << n, forms[word]) for n, word in enumerate(match.counted) if word in forms]
        rest = [form for word, of in forms.items() if word not in match.counted for form in of]
        asked = [("words", bit, self._any_of(of)) for bit, of in [*counted, (0, rest)] if of]
        quoted = " AND ".join(map(_phrase, match.query.phrases))
        asked += [("spellings", 0, quoted)] if quoted else []
        if not asked:
            return
        each = " UNION ALL ".join(
            f"SELECT rowid AS id, -rank AS score, {bit} AS bit FROM {table} WHERE {table} MATCH ?"
            for table, bit, _ in asked
        )
        kept, values = [], [expression for _, _, expression in asked]
        if quoted:
            kept.append("id IN (SELECT rowid FROM spellings WHERE spellings MATCH ?)")
            values.append(quoted)
        excluded, excluding = self._excluded(match.query)
        if excluding:
            kept.append(f"id NOT IN ({excluded})")
            values += excluding
        yield from self._db.execute(
            f"SELECT id, SUM(score), SUM(bit), SUM(bit > 0) FROM ({each}) {'WHERE ' + ' AND '.join(kept) if kept else ''} "
            "GROUP BY id ORDER BY 4 DESC, 2 DESC, 1",
            values,
        )

    def excluded(self, query: Query) -> set[int]:
        """The texts that have what the query excludes: a content word by its stem, all else as it is written."""
        sql, values = self._excluded(query)
        return {i for (i,) in self._db.execute(sql, values)} if values else set()

    def _excluded(self, query: Query) -> tuple[str, list[str]]:
        """The question to SQLite for them, and its values; none where nothing is excluded."""
        stemmed = [text for text in query.excluded if " " not in text and not is_stop_word(text)]
        verbatim = [text for text in query.excluded if text not in stemmed]
        asked = [("words", self._any_of(stemmed))] if stemmed else []
        asked += [("spellings", any_of(verbatim))] if verbatim else []
        sql = " UNION ALL ".join(f"SELECT rowid FROM {table} WHERE {table} MATCH ?" for table, _ in asked)
        return sql, [expression for _, expression in asked]

    def _any_of(self, words: Sequence[str]) -> str:
        """FTS5's expression for one of several words, by their stems in every language that is here."""
        own = any_of(words)
        found = {stem for word in words for code in self.languages for stem in stems(word, code)}
        if not found:
            return f"text : ({own})"
        return f"text : ({own}) OR stems : ({any_of(sorted(found))})"


@dataclasses.dataclass(frozen=True)
class QueryMatch:
    """A query and how its words were found: ``said`` among the spoken words, ``titled`` among the titles.

    ``corrected``: the near spelling in whose place a word was looked up. ``unsaid``: words that nobody says and no title
    has. ``suggested``: near spellings of some of these, which were not looked up: the word itself is spelled right.
    """

    query: Query
    said: Forms
    titled: Forms
    corrected: Mapping[str, str]
    unsaid: tuple[str, ...]
    suggested: Mapping[str, str]

    @classmethod
    def of(
        cls, query: Query, said: Words, titles: Words, is_spelled_right: Callable[[str], bool]
    ) -> QueryMatch:
        forms: tuple[dict[str, Sequence[str]], ...] = ({}, {})
        corrected, suggested, unsaid = {}, {}, []
        for word in query.words:
            found = [table.forms(word) for table in (said, titles)]
            if not any(found):
                respelled = len(unsaid) + len(corrected) < MOST_RESPELLED
                near = near_spelling(word, [*said.near(word), *titles.near(word)] if respelled else [])
                if near is not None and not is_spelled_right(word):
                    corrected[word] = near
                    found = [table.forms(near) for table in (said, titles)]
                else:
                    unsaid.append(word)
                    suggested |= {word: near} if near else {}
            for of, to in zip(found, forms, strict=True):
                if of:
                    to[word] = of
        return cls(query, *forms, corrected, tuple(unsaid), suggested)

    @property
    def counted(self) -> tuple[str, ...]:
        """The words of which it is told which texts have them: the first that were found."""
        found = (word for word in self.query.words if word in self.said or word in self.titled)
        return tuple(itertools.islice(found, MOST_COUNTED))

    def named(self, words: int) -> tuple[str, ...]:
        """The phrases, and those of :attr:`counted` whose bits are set, a corrected one as it was looked up."""
        had = (word for n, word in enumerate(self.counted) if words >> n & 1)
        return (*self.query.phrases, *dict.fromkeys(self.corrected.get(word, word) for word in had))

    @property
    def plain(self) -> str:
        """The text with the near spellings that were looked up."""
        return self.query.with_words(self.corrected)

    @property
    def suggestion(self) -> str | None:
        """A text that may have been meant, ``None`` for none."""
        replaced = {**self.suggested, **self.corrected}
        return self.query.with_words(replaced) if replaced else None

    def why_nothing(self, with_model: bool) -> str:
        """Why the query has no hit, in words."""
        query = self.query
        if not (query.words or query.phrases):
            ignored = " ".join(query.ignored)
            return f'stop words alone are not looked up; with quotes they are: "{ignored}"'
        if query.phrases:
            quoted = " and ".join(f'"{phrase}"' for phrase in query.phrases)
            return f"nobody says {quoted}, and no title has it"
        if self.said or self.titled:
            return "what was found is excluded"
        reason = f"nobody says {' or '.join(query.words[:MOST_NAMED])}, and no title has it"
        return f"{reason}; nothing is nearer than random questions come" if with_model else reason


def any_of(texts: Sequence[str]) -> str:
    """FTS5's expression for one of several words or phrases."""
    return " OR ".join(map(_phrase, texts))


def _phrase(text: str) -> str:
    return f'"{spaced(text)}"'


def _after(prefix: str) -> str:
    """The least text above all that begin with ``prefix``, in the order of SQLite, by code points."""
    return prefix + chr(0x10FFFF)
