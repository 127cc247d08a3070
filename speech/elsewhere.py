"""Transcripts made elsewhere: rows of a table, and the JSON that Whisper programs write."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from speech.captions import SECONDS_PER_LETTER, SECONDS_PER_WORD, spread
from speech.sentences import Sentence, Transcript, TranscriptError, Word, sentences

LONGEST_SECONDS = 24 * 3600.0
SLACK_SECONDS = 1.0
"""Whisper's words may reach out of their segment by this much."""


@dataclass(frozen=True)
class Row:
    """`text` said from `start` to `end` seconds; `end` None where it is not known. `place` says where the row stands."""

    start: float
    end: float | None
    text: str
    place: str


def from_rows(rows: Sequence[Row], source: dict, *, language: str | None = None) -> Transcript:
    """A sentence a row, as whoever made the table cut them. Raises TranscriptError.

    A missing end is the next row's start, but no later than the words take to say. Rows may overlap, not go back.
    """
    check_times([(row.start, row.end, row.place) for row in rows])
    said = [row for row in rows if row.text.strip()]
    found, guessed = [], 0
    for n, row in enumerate(said):
        texts = row.text.split()
        end = row.end
        if end is None:
            end = row.start + sum(SECONDS_PER_WORD + SECONDS_PER_LETTER * len(text) for text in texts)
            following = next((r.start for r in said[n + 1 :] if r.start > row.start), end)
            end, guessed = round(min(end, following), 3), guessed + 1
        words = tuple(spread(texts, row.start, end, timed=False))
        found.append(Sentence(row.start, end, " ".join(texts), words))
    notes = [f"{len(rows) - len(said)} rows without words left out"] if len(said) < len(rows) else []
    notes += [f"{guessed} of {len(said)} sentences had no end: it was estimated"] if guessed else []
    return Transcript(language, dict(source), tuple(found), tuple(notes))


def check_times(times: Sequence[tuple[float, float | None, str]]) -> None:
    """Each (start, end, place) is seconds of a day at most, ends after it starts, and none starts before the one above."""
    above = 0.0
    for start, end, place in times:
        for name, value in (("start", start), ("end", end)):
            if value is not None and not 0 <= value <= LONGEST_SECONDS:
                raise TranscriptError(
                    f"{place}: {name} {value:g} must be seconds from 0 to {LONGEST_SECONDS:.0f}"
                )
        if end is not None and end < start:
            raise TranscriptError(
                f"{place}: ends at {end:g} before it starts at {start:g}; correct the times"
            )
        if start < above:
            raise TranscriptError(
                f"{place}: starts at {start:g}, before the one above ({above:g}); sort them by start"
            )
        above = start


def from_json(text: str, source: dict) -> Transcript:
    """What Whisper (or a program with its format) wrote, or a transcript of our own. Raises TranscriptError.

    Words with times make new sentences; a segment whose words have none is spread over its time.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TranscriptError(f"is not JSON ({str(error)[:80] or 'nested too deep'})") from error
    if not isinstance(data, dict) or not isinstance(data.get("segments", data.get("sentences")), list):
        raise TranscriptError('holds no list "segments"; give what Whisper writes with --output_format json')
    if "segments" not in data:
        ours = Transcript.from_dict({"source": source} | data)
        check_times([(s.start, s.end, f"sentences[{n}]") for n, s in enumerate(ours.sentences)])
        return Transcript(ours.language, dict(source), ours.sentences, ours.notes)
    segments = [_segment(item, f"segments[{n}]") for n, item in enumerate(data["segments"])]
    check_times([(start, end, f"segments[{n}]") for n, (start, end, _) in enumerate(segments)])
    words: list[Word] = []
    for start, end, found in segments:
        for word in found if isinstance(found, list) else spread(found.split(), start, end, timed=False):
            first = max(word.start, words[-1].start if words else 0.0)
            words.append(Word(first, max(word.end, first), word.text, word.probability))
    language = data.get("language")
    return Transcript(language if isinstance(language, str) else None, dict(source), sentences(words))


def _segment(item: object, place: str) -> tuple[float, float, list[Word] | str]:
    """Start and end of a segment, and its words: with times where all have them, else its text."""
    if not isinstance(item, dict) or not isinstance(item.get("text", ""), str):
        raise TranscriptError(f'{place}: must be an object with "start", "end" and "text"')
    start, end = _number(item.get("start")), _number(item.get("end"))
    if start is None or end is None:
        raise TranscriptError(f"{place}: start and end must be numbers of seconds")
    listed = item.get("words")
    heard = [_word(part) for part in listed] if isinstance(listed, list) else []
    if not heard or None in heard:
        return start, end, item.get("text", "")
    spaced = any(word.text.startswith(" ") for word in heard)
    words: list[Word] = []
    for word in heard:
        if not start - SLACK_SECONDS <= word.start <= word.end <= end + SLACK_SECONDS:
            raise TranscriptError(
                f"{place}: the word {word.text[:20]!r} lies at {word.start:g} to {word.end:g}, outside its segment"
            )
        text = word.text.strip()
        if words and spaced and not word.text.startswith(" "):
            last = words.pop()
            words.append(Word(last.start, word.end, last.text + text, last.probability))
        elif text:
            words.append(Word(word.start, word.end, text, word.probability))
    return start, end, words


def _word(part: object) -> Word | None:
    """A word as Whisper gives it; None where it lacks its times."""
    text = part.get("word", part.get("text")) if isinstance(part, dict) else None
    start, end = (_number(part.get(name)) for name in ("start", "end")) if text else (None, None)
    if not isinstance(text, str) or start is None or end is None:
        return None
    probability = _number(part.get("probability", part.get("score")))
    return Word(start, end, text, probability if probability is not None and 0 <= probability <= 1 else None)


def _number(value: object) -> float | None:
    """A finite number, or None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LONGEST_SECONDS * 1000:
        return None
    return float(value) if math.isfinite(value) else None
