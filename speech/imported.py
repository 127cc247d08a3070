"""Imported transcripts: rows of a table, and the JSON that Whisper and programs with its format write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    FailFast,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from speech.captions import spoken_seconds, spread
from speech.errors import SpeechError
from speech.sentences import Probability, Sentence, Text, Transcript, Word, first_problem, sentences

LONGEST_SECONDS = 24 * 3600.0
SLACK_SECONDS = 1.0
"""The times of Whisper's words may reach out of their segment by this much."""


@dataclass(frozen=True)
class Row:
    """`text` spoken from `start` to `end` in seconds; `end` None where it is not known. `place`: the row's, for messages."""

    start: float
    end: float | None
    text: str
    place: str


def from_rows(rows: Sequence[Row], source: dict, *, language: str | None = None) -> Transcript:
    """The transcript of a table, one sentence a row. Rows may overlap but not go back in time. Raises SpeechError.

    A missing end is the next row's start, or, if that is earlier, when the words have been spoken.
    """
    check_times([(row.start, row.end, row.place) for row in rows])
    spoken = [row for row in rows if row.text.strip()]
    found, estimated = [], 0
    for n, row in enumerate(spoken):
        texts = row.text.split()
        end = row.end
        if end is None:
            end = row.start + spoken_seconds(texts)
            following = next((r.start for r in spoken[n + 1 :] if r.start > row.start), end)
            end, estimated = round(min(end, following), 3), estimated + 1
        words = tuple(spread(texts, row.start, end, timed=False))
        found.append(Sentence(row.start, end, " ".join(texts), words))
    notes = [f"{len(rows) - len(spoken)} rows without words left out"] if len(spoken) < len(rows) else []
    notes += [f"{estimated} of {len(spoken)} sentences had no end: it was estimated"] if estimated else []
    return Transcript(language, dict(source), tuple(found), tuple(notes))


def check_times(times: Sequence[tuple[float, float | None, str]]) -> None:
    """Checks (start, end, place) of rows in their order. Raises SpeechError that names the place, value and rule.

    Times are seconds from 0 to LONGEST_SECONDS. No row ends before it starts, or starts before the one above.
    """
    above = 0.0
    for start, end, place in times:
        for name, value in (("start", start), ("end", end)):
            if value is not None and not 0 <= value <= LONGEST_SECONDS:
                raise SpeechError(
                    f"{place}: {name} {value:g} must be seconds from 0 to {LONGEST_SECONDS:.0f}"
                )
        if end is not None and end < start:
            raise SpeechError(f"{place}: ends at {end:g} before it starts at {start:g}; correct the times")
        if start < above:
            raise SpeechError(
                f"{place}: starts at {start:g}, before the one above ({above:g}); sort them by start"
            )
        above = start


Seconds = Annotated[float, Field(strict=True, ge=-LONGEST_SECONDS * 1000, le=LONGEST_SECONDS * 1000)]


def _or_none(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """The value, or None where it breaks a rule: programs leave times out, or write a null or a NaN for them."""
    try:
        return validate(value)
    except ValidationError:
        return None


class _Word(BaseModel):
    """A word as Whisper ("word", "probability"), faster-whisper and WhisperX ("score") write it."""

    start: Seconds
    end: Seconds
    text: Annotated[Text, Field(validation_alias=AliasChoices("word", "text"), min_length=1)]
    probability: Annotated[
        Probability | None,
        WrapValidator(_or_none),
        Field(validation_alias=AliasChoices("probability", "score")),
    ] = None


class _Segment(BaseModel):
    """A segment as Whisper writes it. `words` is None unless every word has its times."""

    start: Seconds
    end: Seconds
    text: Text = ""
    words: Annotated[list[_Word] | None, WrapValidator(_or_none)] = None


class _Whisper(BaseModel):
    language: Annotated[Text | None, WrapValidator(_or_none)] = None
    segments: Annotated[list[_Segment], FailFast()]


def load(text: str) -> Any:
    """The content of a JSON file. Raises SpeechError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpeechError(f"is not JSON ({str(error)[:80] or 'nested too deep'})") from error


def from_json(data: Any, source: dict) -> Transcript:
    """The transcript of Whisper's JSON (or of a program with its format), or of our own. Raises SpeechError.

    The words of all segments are cut into sentences anew. Where a segment's words have no times, they share its own.
    """
    if not isinstance(data, dict) or not isinstance(data.get("segments", data.get("sentences")), list):
        raise SpeechError('holds no list "segments"; give what Whisper writes with --output_format json')
    if "segments" not in data:
        ours = Transcript.from_dict({"source": source} | data)
        check_times([(s.start, s.end, f"sentences[{n}]") for n, s in enumerate(ours.sentences)])
        return Transcript(ours.language, dict(source), ours.sentences, ours.notes)
    try:
        whisper = _Whisper.model_validate(data)
    except ValidationError as error:
        raise SpeechError(first_problem(error, "the file")) from error
    check_times([(s.start, s.end, f"segments[{n}]") for n, s in enumerate(whisper.segments)])
    words: list[Word] = []
    for n, segment in enumerate(whisper.segments):
        for word in _words(segment, f"segments[{n}]"):
            # Whisper's words may overlap a little where segments meet.
            start = max(word.start, words[-1].start if words else 0.0)
            words.append(Word(start, max(word.end, start), word.text, word.probability))
    return Transcript(whisper.language, dict(source), sentences(words))


def _words(segment: _Segment, place: str) -> list[Word]:
    """The words of a segment in seconds. Raises SpeechError where one lies outside its segment."""
    start, end = segment.start, segment.end
    if not segment.words:
        return spread(segment.text.split(), start, end, timed=False)
    for word in segment.words:
        if not start - SLACK_SECONDS <= word.start <= word.end <= end + SLACK_SECONDS:
            raise SpeechError(
                f"{place}: the word {word.text[:20]!r} lies at {word.start:g} to {word.end:g}, outside its segment"
            )
    # Where words begin with a space, as Whisper's own do, one without is the rest of the word before ("3" and ".5").
    spaced = any(word.text.startswith(" ") for word in segment.words)
    words: list[Word] = []
    for word in segment.words:
        text = word.text.strip()
        if words and spaced and not word.text.startswith(" "):
            last = words.pop()
            words.append(Word(last.start, word.end, last.text + text, last.probability))
        elif text:
            words.append(Word(word.start, word.end, text, word.probability))
    return words
