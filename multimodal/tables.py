"""Tables of rows about moments of videos: CSV, TSV and Parquet, columns found by name, rows grouped by video.

The text of a table is data only: no cell is evaluated, and its size is limited.
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from multimodal.store import InputError

TABLES = (".csv", ".tsv", ".parquet")
LARGEST_TEXT = 1 << 30
LONGEST_CELL = 1 << 17
LONGEST_TOKEN = 18
DELIMITERS = ",\t;|"

COLUMNS = {
    "video": ("video", "video_id", "name"),
    "start": ("start", "starts"),
    "end": ("end", "ends"),
    "text": ("text", "sentence", "caption"),
    "token": ("token", "token_id"),
    "features": ("features", "feature", "values", "embedding"),
}
"""The names that a column may have, in any case, by role."""
WANTED = {"transcripts": "text", "tokens": "token", "features": "features"}
"""The role of the values in each kind of table."""


@dataclasses.dataclass
class VideoRows:
    """The rows of one video, or ``problem``: the reason why they cannot be used.

    ``label`` is empty where the table has no column of videos. ``starts`` and ``ends`` are seconds or ``None``.
    ``values``: a text or a token a row, or features float [n, d]. ``places`` names the line or row of each.
    """

    label: str
    starts: list[float | None] = dataclasses.field(default_factory=list)
    ends: list[float | None] = dataclasses.field(default_factory=list)
    values: Any = dataclasses.field(default_factory=list)
    places: list[str] = dataclasses.field(default_factory=list)
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """``kind`` of the rows, and the ``count`` ``videos`` in the order in which they first appear."""

    kind: str
    count: int
    videos: Iterator[VideoRows]


@dataclasses.dataclass
class _Cells:
    """The columns in use by role, row by row; ``problems`` of rows with a wrong number of cells, by label."""

    kind: str
    columns: dict[str, pa.Array]
    places: list[str]
    problems: dict[str, str] = dataclasses.field(default_factory=dict)


def read_table(file: Path, kind: str | None, stride: float | None, *, timed: bool = True) -> Table:
    """Reads a table. Where ``kind`` is ``None`` the columns decide what it holds.

    Without ``stride`` each row needs a start, unless ``timed`` is false. Raises :class:`~multimodal.store.InputError`
    where the table as a whole cannot be used; a bad row is the ``problem`` of its video alone.
    """
    read = _parquet if file.suffix.lower() == ".parquet" else _csv
    cells = read(file, kind, stride, timed)
    labels = [""] * len(cells.places)
    if "video" in cells.columns:
        labels = [str(label or "").strip() for label in cells.columns["video"].to_pylist()]
    groups: dict[str, list[int]] = {label: [] for label in cells.problems}
    for row, label in enumerate(labels):
        groups.setdefault(label, []).append(row)
    return Table(cells.kind, len(groups), (_rows(label, rows, cells) for label, rows in groups.items()))


def _rows(label: str, rows: list[int], cells: _Cells) -> VideoRows:
    """The given rows, checked. The first problem in them is the problem of the video."""
    video = VideoRows(
        label, places=[cells.places[row] for row in rows], problem=cells.problems.get(label, "")
    )
    if video.problem:
        return video
    if "video" in cells.columns and not label:
        return dataclasses.replace(video, problem=f"{video.places[0]}: names no video; fill the column in")
    taken = {role: column.take(pa.array(rows)) for role, column in cells.columns.items()}
    values = taken[WANTED[cells.kind]]
    try:
        video.starts = _seconds(taken, "start", video.places)
        video.ends = _seconds(taken, "end", video.places)
        if cells.kind == "features":
            video.values = _matrix(values, video.places)
        else:
            read = _token if cells.kind == "tokens" else _text
            video.values = [read(v, p) for v, p in zip(values.to_pylist(), video.places, strict=True)]
    except InputError as error:
        video.problem = str(error)
    return video


def _seconds(columns: dict[str, pa.Array], role: str, places: list[str]) -> list[float | None]:
    """Finite seconds a row; an end may be missing, as may all starts of a table without that column."""
    if role not in columns:
        return [None] * len(places)
    found: list[float | None] = []
    for cell, place in zip(columns[role].to_pylist(), places, strict=True):
        if role == "end" and (cell is None or str(cell).strip() == ""):
            found.append(None)
            continue
        try:
            seconds = float(cell)
        except (TypeError, ValueError):
            seconds = math.nan
        if not math.isfinite(seconds):
            raise InputError(f"{place}: {role} {_shown(cell)} must be a finite number of seconds; correct it")
        found.append(seconds)
    return found


def _token(cell: str | int | None, place: str) -> int:
    text = str(cell).strip()
    if not text.isdecimal() or len(text) > LONGEST_TOKEN:
        raise InputError(f"{place}: token {_shown(cell)} must be a whole number, 0 or more; correct it")
    return int(text)


def _text(cell: str | None, place: str) -> str:
    if cell is None or len(cell) > LONGEST_CELL:
        what = (
            "is missing" if cell is None else f"has {len(cell)} characters, at most {LONGEST_CELL} are read"
        )
        raise InputError(f"{place}: its text {what}; give a sentence a row")
    return cell


def _matrix(values: pa.Array, places: list[str]) -> np.ndarray:
    """Float [n, d] from a list of numbers a row."""
    empty = np.flatnonzero(np.asarray(values.is_null()))
    if len(empty):
        raise InputError(f"{places[empty[0]]}: its features are missing; fill them in or leave the row out")
    lengths = np.asarray(pc.list_value_length(values))
    odd = np.flatnonzero(lengths != lengths[0])
    if len(odd):
        raise InputError(
            f"{places[odd[0]]}: {lengths[odd[0]]} features where the first row has {lengths[0]}; give all rows as many"
        )
    return np.asarray(values.flatten().to_numpy(zero_copy_only=False)).reshape(len(values), int(lengths[0]))


def _shown(cell: object) -> str:
    return "(missing)" if cell is None else repr(cell if not isinstance(cell, str) else cell[:30])


def _roles(
    names: list[str], kind: str | None, stride: float | None, timed: bool
) -> tuple[str, dict[str, int]]:
    """The kind of the table, and the number of the column in each role that is used."""
    lower = [name.strip().lower() for name in names]
    shown = ", ".join(names)[:200]
    roles: dict[str, int] = {}
    for role, known in COLUMNS.items():
        found = [n for n, name in enumerate(lower) if name in known]
        if len(found) > 1:
            raise InputError(
                f"columns {', '.join(names[n] for n in found)} could each be the {role}; keep one"
            )
        if found:
            roles[role] = found[0]
    kinds = [k for k, role in WANTED.items() if role in roles and kind in (None, k)]
    if len(kinds) > 1:
        raise InputError(f"columns {shown}: could be {' or '.join(kinds)}; say which with --import-kind")
    if not kinds:
        wanted = WANTED[kind] if kind else "text (transcripts), token (tokens) or features (Parquet alone)"
        raise InputError(f"columns {shown}: none is {wanted}; name the columns in the first line")
    if timed and "start" not in roles and (stride is None or kinds[0] == "transcripts"):
        raise InputError(f"columns {shown}: none is start; add the second at which each row begins")
    needed = {"video", "start", "end", WANTED[kinds[0]]}
    return kinds[0], {role: n for role, n in roles.items() if role in needed}


def _csv(file: Path, kind: str | None, stride: float | None, timed: bool) -> _Cells:
    text = _decoded(file)
    delimiter = max(DELIMITERS, key=text.split("\n", 1)[0].count)
    _check_quotes(text, delimiter)
    misfits: list[pa.csv.InvalidRow] = []
    table = _parsed(text, delimiter, misfits)
    header = [column[0].as_py() for column in table.columns] if table.num_rows else []
    found, roles = _roles(header, kind, stride, timed)
    if found == "features":
        raise InputError(
            "holds features, which a CSV cannot; save them as Parquet, with a list of numbers a row"
        )
    lines = _lines(table, misfits)
    # Blank lines are rows of empty cells, which keeps the count of lines; they hold nothing.
    blank = np.logical_and.reduce([np.asarray(pc.equal(column, "")) for column in table.columns])
    blank[0] = True
    rows = pa.array(np.flatnonzero(~blank))
    if not len(rows) and not misfits:
        raise InputError("holds no row below its first line; leave it out")
    columns = {role: _whole(table.column(n)).take(rows) for role, n in roles.items()}
    cells = _Cells(found, columns, [f"line {lines[row]}" for row in rows.to_pylist()])
    for misfit, line in zip(misfits, lines[table.num_rows :], strict=True):
        own = [column[0].as_py() for column in _parsed(f"{misfit.text}\n", delimiter, []).columns]
        label = own[roles["video"]].strip() if "video" in roles and len(own) > roles["video"] else ""
        cells.problems.setdefault(
            label,
            f"line {line}: {len(own)} cells where the first line has {len(header)}; "
            "put quotes around text with a separator in it",
        )
    return cells


def _decoded(file: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark. Raises :class:`InputError` with the line at fault."""
    size = file.stat().st_size
    if size > LARGEST_TEXT:
        raise InputError(
            f"{size} bytes; a text file has at most {LARGEST_TEXT}; split it, or save it as Parquet"
        )
    data = file.read_bytes()
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"line {line}: is not UTF-8 text; save the file as UTF-8") from error
    if (at := text.find("\0")) >= 0:
        raise InputError(
            f"line {text.count(chr(10), 0, at) + 1}: holds a NUL, which no text does; save the file as UTF-8"
        )
    return text


def _check_quotes(text: str, delimiter: str) -> None:
    """Raises :class:`InputError` where quotes are not in pairs.

    The parser forgives such quotes and then takes many lines for one cell, so they are looked for first. The pattern
    cannot go back (possessive quantifiers): its time grows with the length of the text and not faster.
    """
    d = re.escape(delimiter)
    quoted, plain = r'"(?:[^"]++|"")*+"', rf'[^"{d}\r\n][^{d}\r\n]*+'
    end = re.match(rf"(?:(?:{quoted}|{plain}|)(?:{d}|\r?\n|\r|\Z))*+", text).end()
    if end < len(text):
        line = text.count("\n", 0, end) + 1
        raise InputError(
            f"line {line}: its quotes are not in pairs; write it as CSV, a quote in a cell twice"
        )


def _parsed(text: str, delimiter: str, misfits: list[pa.csv.InvalidRow]) -> pa.Table:
    """All rows, the header too, as columns of text. Rows with another number of cells go to ``misfits``."""

    def keep(row: pa.csv.InvalidRow) -> str:
        misfits.append(row)
        return "skip"

    data = text.encode()
    try:
        return pa.csv.read_csv(
            io.BytesIO(data or b"\n"),
            read_options=pa.csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, autogenerate_column_names=True
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter,
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=keep,
            ),
            convert_options=pa.csv.ConvertOptions(default_column_type=pa.string(), strings_can_be_null=False),
        )
    except pa.ArrowException as error:
        raise InputError(
            f"is no CSV that can be read ({' '.join(str(error).split())[:120]}); save it again"
        ) from error


def _lines(table: pa.Table, misfits: list[pa.csv.InvalidRow]) -> list[int]:
    """The line on which each row of the table begins, then that of each misfit. A quoted cell may span lines."""
    within = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        within += np.asarray(pc.count_substring(column, "\n"))
    # Rows are numbered from 1 in the file; the table lacks those of the misfits.
    odd = np.array([row.number - 1 for row in misfits], np.int64)
    order = np.concatenate([np.setdiff1d(np.arange(len(within) + len(odd)), odd), odd])
    spans = np.ones(len(order), np.int64)
    spans[order] += np.concatenate([within, [row.text.count("\n") for row in misfits]]).astype(np.int64)
    return (1 + np.cumsum(spans) - spans)[order].tolist()


def _parquet(file: Path, kind: str | None, stride: float | None, timed: bool) -> _Cells:
    try:
        opened = pq.ParquetFile(file)
        schema = opened.schema_arrow
        found, roles = _roles(schema.names, kind, stride, timed)
        for role, n in roles.items():
            type_ = schema.types[n]
            plain = type_.value_type if pa.types.is_dictionary(type_) else type_
            if not any(fits(plain) for fits in _FITTING[role]):
                raise InputError(f"column {schema.names[n]} is {type_}; {_NEEDED[role]} are needed")
        table = opened.read(columns=[schema.names[n] for n in roles.values()])
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"is no Parquet file that can be read ({' '.join(str(error).split())[:120]}); save it again"
        ) from error
    if not table.num_rows:
        raise InputError("holds no row; leave it out")
    columns = {role: _whole(table.column(schema.names[n])) for role, n in roles.items()}
    return _Cells(found, columns, [f"row {n}" for n in range(table.num_rows)])


def _is_list_of_numbers(type_: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(fits(type_) for fits in lists) and any(fits(type_.value_type) for fits in _NUMBERS)


_NUMBERS = (pa.types.is_integer, pa.types.is_floating)
_TEXTS = (pa.types.is_string, pa.types.is_large_string)
_FITTING = {"video": (*_TEXTS, pa.types.is_integer), "text": _TEXTS, "start": _NUMBERS, "end": _NUMBERS,
            "token": (pa.types.is_integer,), "features": (_is_list_of_numbers,)}  # fmt: skip
_NEEDED = {"video": "names", "text": "texts", "start": "seconds, as numbers,", "end": "seconds, as numbers,",
           "token": "whole numbers", "features": "lists of numbers"}  # fmt: skip


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one plain array."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def read_cells(file: Path) -> tuple[list[str], list[tuple[str, list[Any]]]]:
    """The names of all columns of a table, and each row with its place: texts of a CSV, values of a Parquet file.

    Raises :class:`~multimodal.store.InputError` where it cannot be read, holds no row, or a row has another number of cells.
    """
    if file.suffix.lower() == ".parquet":
        try:
            table = pq.ParquetFile(file).read()
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"is no Parquet file that can be read ({' '.join(str(error).split())[:120]}); save it again"
            ) from error
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        return table.column_names, [(f"row {n}", list(row)) for n, row in enumerate(rows)]
    text = _decoded(file)
    delimiter = max(DELIMITERS, key=text.split("\n", 1)[0].count)
    _check_quotes(text, delimiter)
    misfits: list[pa.csv.InvalidRow] = []
    table = _parsed(text, delimiter, misfits)
    lines = _lines(table, misfits)
    if misfits:
        raise InputError(
            f"line {lines[table.num_rows]}: {misfits[0].actual_columns} cells where the first line has "
            f"{misfits[0].expected_columns}; put quotes around text with a separator in it"
        )
    header, *rest = zip(*(column.to_pylist() for column in table.columns), strict=True)
    numbered = zip(lines[1:], rest, strict=True)
    return list(header), [(f"line {line}", list(row)) for line, row in numbered if any(map(str.strip, row))]
