"""Cues: the texts of a caption file with their times, their markup, and writing them as WebVTT and SRT."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from speech.control_characters import without_controls

CLOCK = r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})(?:(?:[.,]|:(?=\d{3}(?!\d)))(\d{1,9}))?"
"""Hours, minutes, seconds and the fraction of a second, of which WebVTT has three digits and other programs any number."""
INNER_TIME = re.compile(rf"<{CLOCK}>")
TAG = re.compile(r"</?[A-Za-z][^<>]*>|<>|</>|\{\\[^{}]*\}")
READING = re.compile(r"<rt(?:\.[^<>]*)?>[^<>]*(?:</rt>)?")
"""Ruby text: how the characters before it are read."""


@dataclass(frozen=True)
class Cue:
    """`start` and `end` in seconds, whole milliseconds. `text`: WebVTT markup, its lines joined by line feeds."""

    start: float
    end: float
    text: str


def plain(text: str) -> str:
    """A cue's text without markup: tags, word times and ruby text removed, entities resolved, control characters lost."""
    return without_controls(html.unescape(TAG.sub("", READING.sub("", INNER_TIME.sub("", text)))))


def seconds_of(clock: Sequence[str | None]) -> float:
    """Seconds of the four groups of CLOCK, to the millisecond."""
    hours, minutes, seconds = (int(part or 0) for part in clock[:3])
    milliseconds = round(int(clock[3]) * 10 ** (3 - len(clock[3]))) if clock[3] else 0
    return ((hours * 60 + minutes) * 60_000 + seconds * 1000 + milliseconds) / 1000


def clock_of(seconds: float) -> str:
    """WebVTT's time stamp."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}.{milliseconds % 1000:03}"


def write_webvtt(cues: Iterable[Cue]) -> str:
    """A WebVTT file of the cues. Raises ValueError for a text with an empty line or "-->", and for other times than
    0 <= start <= end."""
    parts = ["WEBVTT\n"]
    for cue in cues:
        if re.search(r"^\n|\n\n|\n$|-->|\r", cue.text):
            raise ValueError(f"text={shortened(cue.text)}: must hold no empty line and no '-->'")
        if not 0 <= cue.start <= cue.end < math.inf:
            raise ValueError(f"start={cue.start}, end={cue.end}: must be 0 <= start <= end")
        parts.append(f"{clock_of(cue.start)} --> {clock_of(cue.end)}\n{cue.text}\n")
    return "\n".join(parts)


def write_srt(cues: Iterable[Cue]) -> str:
    """An SRT file of the cues, whose markup is left out."""
    parts = []
    for number, cue in enumerate(cues, start=1):
        times = f"{clock_of(cue.start)} --> {clock_of(cue.end)}".replace(".", ",")
        parts.append(f"{number}\n{times}\n{plain(cue.text).replace('-->', '->')}\n\n")
    return "".join(parts)


def cues_of(rows: Iterable[tuple[float, float, str]]) -> list[Cue]:
    """Cues of plain texts from ``start`` to ``end`` seconds, in order of time, each on one line.

    Times before 0, which no caption file can hold, become 0. A text that is then shown for no time is left out.
    """
    clamped = [(max(start, 0.0), max(end, 0.0), text) for start, end, text in rows]
    clamped.sort(key=lambda row: row[:2])
    return [
        Cue(start, end, html.escape(" ".join(text.split()), quote=False))
        for start, end, text in clamped
        if end > start
    ]


def shortened(text: str) -> str:
    """The text as a literal of at most 62 characters, for messages."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def counted(number: int, noun: str) -> str:
    """`1 cue`, `2 cues`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
