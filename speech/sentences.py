"""Words with times, and the sentences that they make."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass


class TranscriptError(ValueError):
    """A transcript that breaks its format; the message names the place, the value and the rule."""


@dataclass(frozen=True)
class Word:
    """`start` and `end` in seconds on the container's timeline, [start, end); `probability` None if unknown."""

    start: float
    end: float
    text: str
    probability: float | None = None


@dataclass(frozen=True)
class Sentence:
    """Neighbouring words; `start` of the first, `end` of the last, in seconds."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Transcript:
    """A video's sentences in order of time, where they come from, and what to know about them (`notes`)."""

    language: str | None
    source: dict
    sentences: tuple[Sentence, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict:
        """The transcript as JSON types; `from_dict` gives back an equal transcript."""
        return {
            "language": self.language,
            "source": dict(self.source),
            "sentences": [_sentence_to_dict(sentence) for sentence in self.sentences],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: object) -> Transcript:
        """Check every field; unknown fields are passed over. Raises TranscriptError."""
        record = _typed(data, dict, "transcript")
        language = record.get("language")
        if language is not None:
            _typed(language, str, "language")
        notes = tuple(
            _typed(note, str, f"notes[{n}]")
            for n, note in enumerate(_typed(record.get("notes", []), list, "notes"))
        )
        sentences = tuple(
            _sentence_from_dict(item, f"sentences[{n}]")
            for n, item in enumerate(_field(record, "sentences", list, "transcript"))
        )
        _check_order(sentences, "sentences")
        return cls(language, dict(_field(record, "source", dict, "transcript")), sentences, notes)


@dataclass(frozen=True)
class SentenceOptions:
    """When a run of words is cut.

    `long_pause`: silence in seconds that always ends a sentence. `most_words` and `most_seconds`: a sentence
    longer than either is cut at its longest pause, and only words that no mark ends are cut at a `pause`, too.
    `fewest_words`: no such cut leaves less than this.
    """

    long_pause: float = 2.0
    pause: float = 0.7
    most_words: int = 30
    most_seconds: float = 15.0
    fewest_words: int = 3

    def __post_init__(self):
        for name in ("long_pause", "pause", "most_words", "most_seconds", "fewest_words"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be above 0")
        if self.most_words < 2 * self.fewest_words:
            raise ValueError(
                f"most_words={self.most_words}: must be at least twice fewest_words={self.fewest_words}"
            )


END_MARKS = ".!?…。！？"
CERTAIN_MARKS = frozenset("!?。！？")
OPENERS = "\"'“‘«(["
CLOSERS = "\"'”’»)]」』"
ABBREVIATIONS = re.compile(
    r"dr|mr|mrs|ms|prof|st|vs|e\.g|i\.e|cf|approx|dept|est|gen|capt|lt|rev|hon|ca|jan|feb|apr|aug|sept?|oct|nov|dec"
)
# Abbreviations that can also close a sentence: they do so when a capital letter follows.
CAN_CLOSE = re.compile(r"etc|inc|ltd|co|corp|jr|sr|al|oz|lbs?|tbsp|tsp|min|max|ave|blvd")
# Words that are abbreviations before a number only: "No. 5", "Fig. 2".
BEFORE_NUMBER = re.compile(r"nos?|figs?|vol|pp?|ch|sec")
INITIALS = re.compile(r"(?:[^\W\d_]\.)+")
# Scripts written without spaces between words: kana, Han, Thai, Lao, Burmese, Khmer.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")


def sentences(words: Sequence[Word], options: SentenceOptions | None = None) -> tuple[Sentence, ...]:
    """Cut `words` (in order of start) into sentences: by their own punctuation, else by pauses and length.

    Every word is in exactly one sentence, in the same order.
    """
    options = options or SentenceOptions()
    ended = _cut_after(words, lambda n: _ends_sentence(words, n) or _gap(words, n) >= options.long_pause)
    return tuple(_sentence(part) for run in ended for part in _shorten(run, options))


def text_of(words: Sequence[Word]) -> str:
    """The words as running text: spaces between them except in scripts that have none."""
    parts = []
    for n, word in enumerate(words):
        if n and not (UNSPACED.match(word.text) and UNSPACED.match(words[n - 1].text[-1:])):
            parts.append(" ")
        parts.append(word.text)
    return "".join(parts)


def _sentence(words: Sequence[Word]) -> Sentence:
    return Sentence(words[0].start, max(word.end for word in words), text_of(words), tuple(words))


def _cut_after(words: Sequence[Word], ends) -> list[Sequence[Word]]:
    cuts = [0, *(n + 1 for n in range(len(words) - 1) if ends(n)), len(words)]
    return [words[start:end] for start, end in zip(cuts, cuts[1:], strict=False) if end > start]


def _gap(words: Sequence[Word], n: int) -> float:
    return words[n + 1].start - words[n].end


def end_mark(word: str) -> tuple[str, str]:
    """The word without its closing marks, and those of them that end a sentence."""
    body = word.rstrip(CLOSERS)
    stem = body.rstrip(END_MARKS)
    return stem, body[len(stem) :]


def _ends_sentence(words: Sequence[Word], n: int) -> bool:
    following = words[n + 1].text.lstrip(OPENERS)
    stem, mark = end_mark(words[n].text)
    if not mark or not CERTAIN_MARKS.isdisjoint(mark):
        return bool(mark)
    stem = stem.lstrip(OPENERS).casefold()
    capital = following[:1].isupper()
    if CAN_CLOSE.fullmatch(stem):
        return capital
    if BEFORE_NUMBER.fullmatch(stem):
        return not following[:1].isdigit()
    if ABBREVIATIONS.fullmatch(stem) or INITIALS.fullmatch(stem + "."):
        return False
    if stem.isdigit() and _opens_sentence(words, n):
        return False  # "1." counts an item of a list
    return mark == "." or not following[:1].islower()


def _opens_sentence(words: Sequence[Word], n: int) -> bool:
    if n == 0:
        return True
    stem, mark = end_mark(words[n - 1].text)
    return bool(mark) and not BEFORE_NUMBER.fullmatch(stem.casefold())


def _shorten(words: Sequence[Word], options: SentenceOptions) -> list[Sequence[Word]]:
    """Cut a run of words that is too long, at its longest pause not near its ends, until no part is."""
    parts, waiting = [], [words]
    marked = bool(end_mark(words[-1].text)[1])
    while waiting:
        run = waiting.pop()
        cut = None
        if len(run) >= 2 * options.fewest_words:
            too_long = len(run) > options.most_words or run[-1].end - run[0].start > options.most_seconds
            cut = _best_cut(run, options, too_long)
            if not too_long and (marked or _gap(run, cut - 1) < options.pause):
                cut = None
        if cut is None:
            parts.append(run)
        else:
            waiting += [run[cut:], run[:cut]]
    return parts


def _best_cut(words: Sequence[Word], options: SentenceOptions, too_long: bool) -> int:
    """The number of words before the best cut: the longest pause, then after a comma, then nearest the middle."""
    # The middle half when the run must become shorter, so that the parts shrink at every step.
    margin = max(options.fewest_words, len(words) // 4) if too_long else options.fewest_words
    middle = len(words) / 2

    def merit(n: int):
        return (
            round(_gap(words, n - 1), 2),
            words[n - 1].text.endswith((",", ";", ":", "–", "—")),
            -abs(n - middle),
        )

    return max(range(margin, len(words) - margin + 1), key=merit)


def _sentence_to_dict(sentence: Sentence) -> dict:
    words = [
        {"start": word.start, "end": word.end, "text": word.text, "probability": word.probability}
        for word in sentence.words
    ]
    return {"start": sentence.start, "end": sentence.end, "text": sentence.text, "words": words}


def _sentence_from_dict(data: object, place: str) -> Sentence:
    record = _typed(data, dict, place)
    start, end = _times(record, place)
    words = tuple(
        _word_from_dict(item, f"{place}.words[{n}]")
        for n, item in enumerate(_field(record, "words", list, place))
    )
    _check_order(words, f"{place}.words")
    return Sentence(start, end, _field(record, "text", str, place), words)


def _word_from_dict(data: object, place: str) -> Word:
    record = _typed(data, dict, place)
    start, end = _times(record, place)
    probability = record.get("probability")
    if probability is not None:
        probability = _number(probability, f"{place}.probability")
        if not 0 <= probability <= 1:
            raise TranscriptError(f"{place}.probability={probability}: must be from 0 to 1, or null")
    return Word(start, end, _field(record, "text", str, place), probability)


def _times(record: dict, place: str) -> tuple[float, float]:
    for name in ("start", "end"):
        if name not in record:
            raise TranscriptError(f"{place}: has no {name!r}; give seconds")
    start, end = _number(record["start"], f"{place}.start"), _number(record["end"], f"{place}.end")
    if end < start:
        raise TranscriptError(
            f"{place}: ends at {end} before it starts at {start}; end must not be less than start"
        )
    return start, end


def _check_order(items: Sequence[Word] | Sequence[Sentence], place: str) -> None:
    for n in range(1, len(items)):
        if items[n].start < items[n - 1].start:
            raise TranscriptError(
                f"{place}[{n}].start={items[n].start}: is before {place}[{n - 1}]; sort them by start"
            )


def _number(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TranscriptError(f"{place}={_shown(value)}: must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise TranscriptError(f"{place}={_shown(value)}: must be a finite number")
    return number


def _field(record: dict, name: str, kind: type, place: str):
    if name not in record:
        raise TranscriptError(f"{place}: has no {name!r}; every transcript needs it")
    return _typed(record[name], kind, f"{place}.{name}")


def _typed(value: object, kind: type, place: str):
    if not isinstance(value, kind):
        names = {dict: "an object", list: "a list", str: "a text"}
        raise TranscriptError(f"{place}={_shown(value)}: must be {names[kind]}")
    return value


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 64 else "a very large number"
    return text if len(text) <= 40 else text[:37] + "..."
