"""Transcripts in JSON: one of Whisper's or ours, or those of many videos as HowTo100M, YouCook2 and ActivityNet have them.

Also the list of rows that programs write which fetch captions from YouTube, ``[{"text", "start", "duration"}, …]``, by itself,
as ``snippets``, or one for each video; and the ``transcription`` of whisper.cpp.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from multimodal.store import InputError
from speech import imported
from speech.cues import counted
from speech.errors import SpeechError
from speech.imported import LONGEST_SECONDS, Row
from speech.sentences import Transcript

Rows = list[tuple[Any, Any, Any]]
"""Start, end and text as the file has them."""


@dataclasses.dataclass(frozen=True)
class JsonTranscript:
    """The ``transcript`` of the video ``label`` (empty: the file's own), or the ``problem`` with it."""

    label: str
    transcript: Transcript | None = None
    problem: str = ""


def read_json(text: str) -> tuple[int, Iterator[JsonTranscript]]:
    """The number of videos in a file, and their transcripts. Raises SpeechError and InputError where it holds none."""
    data = imported.load(text)
    videos = _videos(data)
    if videos is None:
        return 1, iter([JsonTranscript("", imported.from_json(data, {}))])
    if not videos:
        raise InputError("holds no video; leave it out")
    return len(videos), (_transcript(label, rows) for label, rows in videos.items())


def _videos(data: Any) -> dict[str, Rows | str] | None:
    """The rows of each video, or why there are none; ``None`` where the file has another form."""
    if _are_rows(data):
        return {"": [_row(row) for row in data]}
    if not isinstance(data, dict):
        return None
    for name in ("snippets", "transcription"):
        if _are_rows(data.get(name)):
            return {"": [_row(row) for row in data[name]]}
    if isinstance(data.get("segments", data.get("sentences")), list):
        return None
    database = data.get("database")
    if isinstance(database, dict):
        return {str(label): _annotations(video) for label, video in database.items()}
    if data and all(isinstance(video, dict) and _has_columns(video) for video in data.values()):
        return {label: _columns(video) for label, video in data.items()}
    if data and all(map(_are_rows, data.values())):
        return {label: [_row(row) for row in rows] for label, rows in data.items()}
    return None


def _are_rows(rows: Any) -> bool:
    return isinstance(rows, list) and bool(rows) and isinstance(rows[0], dict) and "text" in rows[0]


def _row(row: Any) -> tuple[Any, Any, Any]:
    if not isinstance(row, dict):
        return None, None, None
    start, end = row.get("start"), row.get("end")
    if isinstance(offsets := row.get("offsets"), dict):  # whisper.cpp's, in milliseconds
        start, end = (ms / 1000 if _is_number(ms) else ms for ms in (offsets.get("from"), offsets.get("to")))
    if end is None and _is_number(start) and _is_number(row.get("duration")):
        end = start + row["duration"]
    return start, end, row.get("text")


def _annotations(video: Any) -> Rows | str:
    """YouCook2's `annotations`, each with a `segment` of start and end and a `sentence`."""
    annotations = video.get("annotations") if isinstance(video, dict) else None
    if not isinstance(annotations, list):
        return "has no list of annotations"
    rows: Rows = []
    for annotation in annotations:
        about = annotation if isinstance(annotation, dict) else {}
        segment = about.get("segment")
        start, end = segment if isinstance(segment, list) and len(segment) == 2 else (None, None)
        rows.append((start, end, about.get("sentence")))
    return rows


def _has_columns(video: dict) -> bool:
    return {"start", "text"} <= video.keys() or {"timestamps", "sentences"} <= video.keys()


def _columns(video: dict) -> Rows | str:
    """HowTo100M's lists `start`, `end`, `text`; ActivityNet's `timestamps` (pairs) and `sentences`."""
    if "timestamps" in video:
        pairs, texts = video["timestamps"], video["sentences"]
        if not isinstance(pairs, list) or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
            return "its timestamps are no pairs of start and end"
        starts, ends = ([pair[n] for pair in pairs] for n in (0, 1))
    else:
        # pandas writes a column as a list, or as an object of its rows' numbers.
        video = {
            name: list(column.values()) if isinstance(column, dict) else column
            for name, column in video.items()
        }
        starts, texts = video["start"], video["text"]
        ends = video.get("end", [None] * len(starts) if isinstance(starts, list) else None)
    columns = (starts, ends, texts)
    if not all(isinstance(column, list) for column in columns) or len({len(c) for c in columns}) > 1:
        return "its starts, ends and texts are not lists of one length"
    return list(zip(*columns, strict=True))


def _transcript(label: str, rows: Rows | str) -> JsonTranscript:
    """A sentence a row, in the order of their starts; a bad row is left out and counted."""
    if isinstance(rows, str):
        return JsonTranscript(label, problem=f"{rows}; correct it")
    good: list[Row] = []
    bad: list[str] = []
    for n, (start, end, text) in enumerate(rows):
        if text is None or (isinstance(text, float) and math.isnan(text)):
            text = ""  # a row of silence, as pandas writes it
        if end is not None and not _is_number(end):
            bad.append(f"row {n}: its end is no number of seconds")
        elif not _is_number(start) or not isinstance(text, str):
            bad.append(f"row {n}: needs a start in seconds and a text")
        elif not 0 <= start <= (start if end is None else end) <= LONGEST_SECONDS:
            bad.append(f"row {n}: {start:g} to {'?' if end is None else f'{end:g}'} s are no times")
        else:
            good.append(Row(float(start), None if end is None else float(end), text, f"row {n}"))
    if bad and not good:
        return JsonTranscript(label, problem=f"{bad[0]}; correct it")
    good.sort(key=lambda row: row.start)
    try:
        transcript = imported.from_rows(good, {})
    except SpeechError as error:
        return JsonTranscript(label, problem=str(error))
    notes = _notes(bad, len(rows))
    return JsonTranscript(label, dataclasses.replace(transcript, notes=(*notes, *transcript.notes)))


def _notes(bad: Sequence[str], count: int) -> list[str]:
    return [f"{len(bad)} of {counted(count, 'row')} left out ({bad[0]})"] if bad else []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
