"""Transcripts: words with times, the sentences they are cut into, and the JSON that stores them."""

from __future__ import annotations

import dataclasses
import re
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, FailFast, Field, TypeAdapter, ValidationError

from speech.errors import SpeechError

Text = Annotated[str, Field(strict=True)]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Probability = Annotated[float, Field(strict=True, ge=0, le=1)]

LEAST_CONFIDENCE = 0.7
"""Mean probability of Whisper's words below which they are no transcript. Real speech had 0.73 to 0.96 by tiny.en, that of
another language 0.52, and words over frying and music 0.69 (docs/decisions.md)."""


def _in_order(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Words or sentences, unchanged. Raises ValueError where times run backwards."""
    earliest = float("-inf")
    for n, item in enumerate(items):
        if item.end < item.start:
            raise ValueError(f"[{n}] ends at {item.end:g}, before it starts at {item.start:g}")
        if item.start < earliest:
            raise ValueError(f"[{n}] starts at {item.start:g}, before [{n - 1}]; sort them by start")
        earliest = item.start
    return items


@dataclass(frozen=True)
class Word:
    """`start` and `end` in seconds from the file's start, [start, end); `probability` None if unknown."""

    start: Seconds
    end: Seconds
    text: Text
    probability: Probability | None = None


@dataclass(frozen=True)
class Sentence:
    """Neighbouring words. `start` of the first and `end` of the last, in seconds from the file's start."""

    start: Seconds
    end: Seconds
    text: Text
    words: Annotated[tuple[Word, ...], FailFast(), AfterValidator(_in_order)]


@dataclass(frozen=True)
class Transcript:
    """A video's sentences in order of time.

    `language`: a code such as "en", or None if unknown. `source`: what made the transcript. `notes`: remarks for a
    person, such as "no speech found".
    """

    language: Text | None
    source: dict
    sentences: Annotated[tuple[Sentence, ...], FailFast(), AfterValidator(_in_order)]
    notes: Annotated[tuple[Text, ...], FailFast()] = ()

    @property
    def is_understood(self) -> bool:
        """False where Whisper was so unsure of its words that they are no transcript: of a language that it does not know."""
        confidence = self.source.get("confidence")
        return not isinstance(confidence, float) or confidence >= LEAST_CONFIDENCE

    def to_dict(self) -> dict:
        """The transcript as JSON types; `from_dict` gives back an equal transcript."""
        return {
            "language": self.language,
            "source": dict(self.source),
            "sentences": [_to_dict(sentence) for sentence in self.sentences],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: object) -> Transcript:
        """Checks every field; unknown fields are ignored. Raises SpeechError that names field, value and rule."""
        if isinstance(data, dict):
            data = {"language": None} | data
        try:
            return _adapter().validate_python(data)
        except ValidationError as error:
            raise SpeechError(first_problem(error, "transcript")) from error

    @classmethod
    def from_json(cls, data: bytes) -> Transcript:
        """The same of JSON text: straight from bytes to dataclasses, twice as fast as by way of `json.loads`."""
        try:
            return _adapter().validate_json(data)
        except ValidationError as error:
            raise SpeechError(first_problem(error, "transcript")) from error


def read_transcript(path: Path) -> Transcript:
    """The transcript stored at `path`. Raises SpeechError that names file, field, value and rule, and OSError."""
    try:
        return Transcript.from_json(path.read_bytes())
    except SpeechError as error:
        raise SpeechError(f"{path.name}: {error}; make it again") from error


@cache
def _adapter() -> TypeAdapter[Transcript]:
    return TypeAdapter(Transcript)


def first_problem(error: ValidationError, whole: str) -> str:
    """The first field that breaks its rule, as one line: place, value, rule. `whole` names the document itself."""
    problem = error.errors(include_url=False)[0]
    path, rule = problem["loc"], problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{_place(path) or whole}{rule}"
    if problem["type"] == "missing":
        return f"{_place(path[:-1]) or whole}: has no {str(path[-1])!r}"
    return f"{_place(path) or whole}={_shortened(problem['input'])}: {rule[:1].lower()}{rule[1:]}"


def _place(path: Sequence[str | int]) -> str:
    """A path such as ("sentences", 0, "text") as sentences[0].text."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _shortened(value: object) -> str:
    text = reprlib.repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _to_dict(sentence: Sentence) -> dict:
    words = [
        {"start": word.start, "end": word.end, "text": word.text, "probability": word.probability}
        for word in sentence.words
    ]
    return {"start": sentence.start, "end": sentence.end, "text": sentence.text, "words": words}


@dataclass(frozen=True)
class SentenceOptions:
    """Where a run of words is cut into sentences.

    `long_pause`: a silence of this many seconds always ends a sentence. `pause`: a silence of this many seconds ends
    one where no punctuation does. `most_words`, `most_seconds`: a longer sentence is cut at its longest pause.
    `fewest_words`: a cut for length or at a `pause` leaves at least this many words on each side. Raises ValueError.
    """

    long_pause: float = 2.0
    pause: float = 0.7
    most_words: int = 30
    most_seconds: float = 15.0
    fewest_words: int = 3

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name}={getattr(self, field.name)}: must be above 0")
        if self.most_words < 2 * self.fewest_words:
            raise ValueError(
                f"most_words={self.most_words}: must be at least twice fewest_words={self.fewest_words}"
            )


END_MARKS = ".!?…。｡！？؟۔।॥։።။៕"
"""Among them Arabic's question mark, Urdu's full stop, the danda of Hindi, those of Armenian, Amharic, Burmese, Khmer."""
CERTAIN_MARKS = frozenset(END_MARKS) - frozenset(".…")
OPENERS = "\"'“‘«(["
CLOSERS = "\"'”’»)]」』）】》"
# Abbreviations after which a sentence goes on, whatever follows.
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


def is_ended(text: str) -> bool:
    """Whether the text ends by a mark, quotation marks and brackets aside."""
    return text.rstrip(CLOSERS).endswith(tuple(END_MARKS))


def with_end(text: str) -> str:
    """The text with a full stop where it has no mark at its end."""
    return text if is_ended(text) else text + ("。" if UNSPACED.match(text[-1:]) else ".")


def sentences(words: Sequence[Word], options: SentenceOptions | None = None) -> tuple[Sentence, ...]:
    """Cuts `words` (in order of start) into sentences: by punctuation, else by pauses and length.

    Every word is in exactly one sentence, in the same order.
    """
    options = options or SentenceOptions()

    def ends_after(n: int) -> bool:
        return _ends_sentence(words, n) or _pause_after(words, n) >= options.long_pause

    marked = _cut_after(words, ends_after)
    return tuple(_sentence(part) for run in marked for part in _shorten(run, options))


def text_of(words: Sequence[Word]) -> str:
    """The words as running text: spaces between them, except in scripts that have none."""
    texts = [word.text for word in words]
    if "".join(texts).isascii():
        return " ".join(texts)
    return "".join(with_spaces(words))


def with_spaces(words: Sequence[Word]) -> list[str]:
    """The text of each word with the space before it, where there is one in running text."""
    parts = []
    for n, word in enumerate(words):
        unspaced = n and UNSPACED.match(word.text) and UNSPACED.match(words[n - 1].text[-1:])
        parts.append(word.text if not n or unspaced else f" {word.text}")
    return parts


def _sentence(words: Sequence[Word]) -> Sentence:
    return Sentence(words[0].start, max(word.end for word in words), text_of(words), tuple(words))


def _cut_after(words: Sequence[Word], ends_after: Callable[[int], bool]) -> list[Sequence[Word]]:
    cuts = [0, *(n + 1 for n in range(len(words) - 1) if ends_after(n)), len(words)]
    return [words[start:end] for start, end in zip(cuts, cuts[1:], strict=False) if end > start]


def _pause_after(words: Sequence[Word], n: int) -> float:
    return words[n + 1].start - words[n].end


def split_end_marks(word: str) -> tuple[str, str]:
    """The word without its closing punctuation, and those of its marks that can end a sentence."""
    if word[-1:].isalnum():  # most words, and asked often
        return word, ""
    body = word.rstrip(CLOSERS)
    stem = body.rstrip(END_MARKS)
    return stem, body[len(stem) :]


def _ends_sentence(words: Sequence[Word], n: int) -> bool:
    """Whether punctuation ends a sentence after word `n`, which is not the last."""
    stem, mark = split_end_marks(words[n].text)
    if not mark or not CERTAIN_MARKS.isdisjoint(mark):
        return bool(mark)
    following = words[n + 1].text.lstrip(OPENERS)
    # A full stop or an ellipsis is left, and either may stand within a sentence. The word before it and the letter
    # after it decide.
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
    # An ellipsis before a small letter is hesitation.
    return mark == "." or not following[:1].islower()


def _opens_sentence(words: Sequence[Word], n: int) -> bool:
    if n == 0:
        return True
    stem, mark = split_end_marks(words[n - 1].text)
    return bool(mark) and not BEFORE_NUMBER.fullmatch(stem.casefold())


def _shorten(words: Sequence[Word], options: SentenceOptions) -> list[Sequence[Word]]:
    """Cuts one sentence, as punctuation has it, until no part is too long."""
    parts, waiting = [], [words]
    # Punctuation is trusted over pauses: a speaker may think within a sentence. Only a sentence that no mark ends is
    # cut at a pause although it is short enough.
    marked = bool(split_end_marks(words[-1].text)[1])
    while waiting:
        run = waiting.pop()
        cut = None
        too_long = len(run) > options.most_words or run[-1].end - run[0].start > options.most_seconds
        if len(run) >= 2 * options.fewest_words and (too_long or not marked):
            cut = _best_cut(run, options, too_long)
            if not too_long and _pause_after(run, cut - 1) < options.pause:
                cut = None
        if cut is None:
            parts.append(run)
        else:
            # The first half is taken next, so that parts come out in order.
            waiting += [run[cut:], run[:cut]]
    return parts


def _best_cut(words: Sequence[Word], options: SentenceOptions, too_long: bool) -> int:
    """The number of words before the best cut: the longest pause, then after a comma, then nearest the middle."""
    # A run that is too long is cut in its middle half: the parts shrink at every step, and 100,000 words without a
    # mark take n log n steps.
    margin = max(options.fewest_words, len(words) // 4) if too_long else options.fewest_words
    middle = len(words) / 2

    def preference(n: int) -> tuple[float, bool, float]:
        return (
            round(_pause_after(words, n - 1), 2),
            words[n - 1].text.endswith((",", ";", ":", "–", "—")),
            -abs(n - middle),
        )

    return max(range(margin, len(words) - margin + 1), key=preference)
