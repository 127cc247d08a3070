"""Owns the reading of tables made elsewhere, CSV or Parquet: their columns by name, their rows video by video."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TABLES = (".csv", ".tsv", ".parquet")
LARGEST_TEXT = 1 << 30
DELIMITERS = ",\t;|"


class TableError(ValueError):
    """A table, or a row of it, that is not what it must be; the message says where, what and the remedy."""


COLUMNS = {
    "video": ("video", "video_id", "name"),
    "start": ("start", "starts"),
    "end": ("end", "ends"),
    "text": ("text", "sentence", "caption"),
    "token": ("token", "token_id"),
    "features": ("features", "feature", "values", "embedding"),
}
"""The names that a column may have, in any case."""
WANTED = {"transcripts": "text", "tokens": "token", "features": "features"}


@dataclasses.dataclass
class Video:
    """The rows of one video (``label`` empty where the table names none), or why they cannot be used.

    ``values``: a text or a token a row, or features float [n, d]; ``places`` says where each row stands.
    """

    label: str
    starts: list[float | None] = dataclasses.field(default_factory=list)
    ends: list[float | None] = dataclasses.field(default_factory=list)
    values: Any = dataclasses.field(default_factory=list)
    places: list[str] = dataclasses.field(default_factory=list)
    problem: str = ""


def read_table(
    file: Path, kind: str | None, stride: float | None, *, timed: bool = True
) -> tuple[str, Iterable[Video]]:
    """What kind of rows a table holds, told by its columns where ``kind`` is ``None``, and its videos in order.

    Without ``stride`` each row needs a start, if rows are ``timed``. Raises :class:`TableError` where the table as a whole cannot be used.
    """
    return (_parquet if file.suffix.lower() == ".parquet" else _csv)(file, kind, stride, timed)


def _roles(
    names: list[str], kind: str | None, stride: float | None, timed: bool
) -> tuple[str, dict[str, int]]:
    """The kind of table and, by role, the number of each column that is used."""
    lower = [name.strip().lower() for name in names]
    shown = ", ".join(names)[:200]
    roles: dict[str, int] = {}
    for role, known in COLUMNS.items():
        found = [n for n, name in enumerate(lower) if name in known]
        if len(found) > 1:
            raise TableError(
                f"columns {', '.join(names[n] for n in found)} could each be the {role}; keep one"
            )
        if found:
            roles[role] = found[0]
    kinds = [k for k, role in WANTED.items() if role in roles and kind in (None, k)]
    if len(kinds) > 1:
        raise TableError(f"columns {shown}: could be {' or '.join(kinds)}; say which with --import-kind")
    if not kinds:
        wanted = WANTED[kind] if kind else "text (transcripts), token (tokens) or features (Parquet alone)"
        raise TableError(f"columns {shown}: none is {wanted}; name the columns in the first line")
    if timed and "start" not in roles and (stride is None or kinds[0] == "transcripts"):
        raise TableError(f"columns {shown}: none is start; add the second at which each row begins")
    needed = {"video", "start", "end", WANTED[kinds[0]]}
    return kinds[0], {role: n for role, n in roles.items() if role in needed}


def _csv(file: Path, kind: str | None, stride: float | None, timed: bool) -> tuple[str, Iterable[Video]]:
    lines = csv.reader(io.StringIO(text := _text(file), newline=""), delimiter=_delimiter(text), strict=True)
    videos: dict[str, Video] = {}
    try:
        header = next(lines, [])
        found, roles = _roles(header, kind, stride, timed)
        if found == "features":
            raise TableError(
                "holds features, which a CSV cannot; save them as Parquet, with a list of numbers a row"
            )
        for cells in lines:
            if not any(cells):
                continue
            place = f"line {lines.line_num}"
            label = cells[roles["video"]].strip() if "video" in roles and len(cells) > roles["video"] else ""
            video = videos.setdefault(label, Video(label))
            if video.problem:
                continue
            if len(cells) != len(header):
                video.problem = f"{place}: {len(cells)} cells where the first line has {len(header)}; put quotes around text with a separator in it"
            elif "video" in roles and not label:
                video.problem = f"{place}: names no video; fill the column in"
            else:
                _add(video, {role: cells[n] for role, n in roles.items()}, found, place)
    except csv.Error as error:
        raise TableError(f"line {lines.line_num}: {error}; write it as CSV with quotes in pairs") from error
    if not videos:
        raise TableError("holds no row below its first line; leave it out")
    return found, videos.values()


def _text(file: Path) -> str:
    size = file.stat().st_size
    if size > LARGEST_TEXT:
        raise TableError(
            f"{size} bytes; a text file has at most {LARGEST_TEXT}; split it, or save it as Parquet"
        )
    data = file.read_bytes()
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TableError(f"line {line}: is not UTF-8 text; save the file as UTF-8") from error
    if (at := text.find("\0")) >= 0:
        raise TableError(
            f"line {text.count(chr(10), 0, at) + 1}: holds a NUL, which no text does; save the file as UTF-8"
        )
    return text


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0]
    return max(DELIMITERS, key=first.count)


def _add(video: Video, cells: dict[str, str], kind: str, place: str) -> None:
    """One row of a CSV, or the problem that ends the video."""
    times: dict[str, float | None] = {"start": None, "end": None}
    for name in times:
        text = cells.get(name, "").strip()
        if not text and (name == "end" or name not in cells):
            continue
        try:
            times[name] = float(text)
        except ValueError:
            video.problem = f"{place}: {name} {text[:30]!r} must be a number of seconds"
            return
        if not math.isfinite(times[name]):
            video.problem = f"{place}: {name} {text[:30]!r} must be a finite number of seconds"
            return
    value: str | int = cells[WANTED[kind]]
    if kind == "tokens":
        if not value.strip().isdecimal() or len(value.strip()) > 18:
            video.problem = f"{place}: token {value[:30]!r} must be a whole number, 0 or more"
            return
        value = int(value)
    video.starts.append(times["start"])
    video.ends.append(times["end"])
    video.values.append(value)
    video.places.append(place)


def _parquet(file: Path, kind: str | None, stride: float | None, timed: bool) -> tuple[str, Iterable[Video]]:
    try:
        opened = pq.ParquetFile(file)
        schema = opened.schema_arrow
        found, roles = _roles(schema.names, kind, stride, timed)
        types = {role: schema.types[n] for role, n in roles.items()}
        for role, type_ in types.items():
            plain = type_.value_type if pa.types.is_dictionary(type_) else type_
            if not any(fits(plain) for fits in _FITTING[role]):
                raise TableError(f"column {schema.names[roles[role]]} is {type_}; {_NEEDED[role]} are needed")
        table = opened.read(columns=[schema.names[n] for n in roles.values()])
    except (pa.ArrowException, OSError) as error:
        raise TableError(
            f"is no Parquet file that can be read ({' '.join(str(error).split())[:120]}); save it again"
        ) from error
    if not table.num_rows:
        raise TableError("holds no row; leave it out")
    read = {role: _plain(table.column(schema.names[n])) for role, n in roles.items()}
    return found, _videos(read, found, table.num_rows)


def _is_list_of_numbers(type_: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(fits(type_) for fits in lists) and any(fits(type_.value_type) for fits in _NUMBERS)


_NUMBERS = (pa.types.is_integer, pa.types.is_floating)
_TEXTS = (pa.types.is_string, pa.types.is_large_string)
_FITTING = {"video": (*_TEXTS, pa.types.is_integer), "text": _TEXTS, "start": _NUMBERS, "end": _NUMBERS,
            "token": (pa.types.is_integer,), "features": (_is_list_of_numbers,)}  # fmt: skip
_NEEDED = {"video": "names", "text": "texts", "start": "seconds, as numbers,", "end": "seconds, as numbers,",
           "token": "whole numbers", "features": "lists of numbers"}  # fmt: skip


def _plain(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _videos(read: dict[str, pa.Array], kind: str, rows: int) -> Iterator[Video]:
    labels = (
        [None if v is None else str(v) for v in read["video"].to_pylist()] if "video" in read else [""] * rows
    )
    groups: dict[str | None, list[int]] = {}
    for n, label in enumerate(labels):
        groups.setdefault(label, []).append(n)
    if None in groups:
        yield Video("", problem=f"row {groups.pop(None)[0]}: names no video; fill the column in")
    for label, numbers in groups.items():
        video = Video(label, places=[f"row {n}" for n in numbers])
        part = {role: array.take(pa.array(numbers)) for role, array in read.items()}
        video.starts = (
            part["start"].cast(pa.float64()).to_pylist() if "start" in part else [None] * len(numbers)
        )
        video.ends = part["end"].cast(pa.float64()).to_pylist() if "end" in part else [None] * len(numbers)
        values = part[WANTED[kind]]
        empty = [n for n, v in enumerate(values.is_null().to_pylist()) if v]
        bad = [
            n for n, s in enumerate(video.starts) if "start" in part and (s is None or not math.isfinite(s))
        ]
        bad_end = [n for n, e in enumerate(video.ends) if e is not None and not math.isfinite(e)]
        for wrong, what in ((bad, "start"), (bad_end, "end"), (empty, WANTED[kind])):
            if wrong and not video.problem:
                video.problem = f"{video.places[wrong[0]]}: its {what} is missing or no finite number; fill it in or leave the row out"
        if not video.problem:
            video.values = values.to_pylist() if kind != "features" else _matrix(values, video)
        yield video


def _matrix(values: pa.Array, video: Video) -> np.ndarray:
    """float [n, d] from a list a row; rows of unequal length are the video's problem."""
    lengths = np.asarray(pc.list_value_length(values))
    odd = np.flatnonzero(lengths != lengths[0])
    if len(odd):
        video.problem = f"{video.places[odd[0]]}: {lengths[odd[0]]} features where the row above has {lengths[0]}; give all rows as many"
        return np.zeros((0, 0))
    return np.asarray(values.flatten().to_numpy(zero_copy_only=False)).reshape(len(values), int(lengths[0]))
