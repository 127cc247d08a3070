"""Task files: labels that people have, as rows of CSV, TSV, Parquet or JSON. The columns say the kind of task."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multimodal.examples.options import DOCUMENT, KINDS, PAIR, SCORE, SEQUENCE, SPAN, TOKEN
from multimodal.scoring.json_files import load_json
from multimodal.store import InputError
from multimodal.tables import COLUMNS, TABLES, read_cells
from vision.clips import CLIP_SECONDS

ROLES = {
    "video": COLUMNS["video"],
    "start": COLUMNS["start"],
    "end": COLUMNS["end"],
    "text": COLUMNS["text"],
    "label": ("label", "labels", "class", "step"),
    "score": ("score", "rating"),
    "question": ("question", "query"),
    "split": ("split", "subset"),
}
"""The names that a column may have, in any case, by role. Other columns are not read."""
NEEDED = {
    SEQUENCE: ("video", "start", "end", "label"),
    TOKEN: ("video", "start", "end", "label"),
    PAIR: ("video", "start", "end", "text", "label"),
    SCORE: ("video", "start", "end", "score"),
    SPAN: ("video", "question", "start", "end"),
    DOCUMENT: ("video", "label"),
}
SPLITS = {
    "train": "train", "training": "train",
    "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev",
    "test": "test", "testing": "test", "heldout": "test", "held_out": "test",
}  # fmt: skip
SEPARATOR = "|"
"""Between several labels of a cell."""
MOST_CLASSES = 1000
LONGEST_LABEL = 200


@dataclasses.dataclass(frozen=True)
class Row:
    """A row at its ``place`` in the file. ``labels`` are its classes, none for a score or an answer; ``text`` is that of a pair,
    or the question; an answer that the video lacks has no times (NaN), as a label of the whole has; ``split`` may be empty."""

    place: str
    video: str
    start: float
    end: float
    labels: tuple[str, ...] = ()
    score: float = 0.0
    text: str = ""
    split: str = ""


@dataclasses.dataclass(frozen=True)
class TaskFile:
    """``rows`` of one ``kind`` in the file ``name``; of sequences the rows of a moment are one, with all its labels."""

    name: str
    kind: str
    rows: tuple[Row, ...]

    @property
    def several(self) -> bool:
        """Whether a moment may have none or several of the classes."""
        return self.kind in (SEQUENCE, DOCUMENT) and any(len(row.labels) != 1 for row in self.rows)


def read_task(path: Path, kind: str | None = None) -> TaskFile:
    """The rows of a task file. ``kind``: ``None`` for what the columns say.

    A file of ``video, start, end, label`` is of kind ``token`` where its rows tile every video, else of kind ``sequence``.
    Raises :class:`InputError` with the file, the place, the value and the rule of the first problem.
    """
    try:
        roles, cells = _cells(path)
        told, kind = kind is not None, kind or _kind(roles)
        _check_columns(roles, kind)
        rows = [_row(place, values, kind) for place, values in cells]
        if not rows:
            raise InputError("holds no row below its first line; leave it out")
        if kind == SEQUENCE and not told and _tile(rows):
            kind = TOKEN
        if kind in (SEQUENCE, DOCUMENT):
            rows = _joined(rows)
        if kind == TOKEN:
            _check_overlaps(rows)
        if kind not in (SCORE, SPAN):
            _check_classes(rows)
    except InputError as error:
        raise InputError(f"--task {path.name}: {error}") from error
    except OSError as error:
        raise InputError(f"--task {path}: cannot be read ({error.strerror}); check the name") from error
    return TaskFile(path.name, kind, tuple(rows))


def _cells(path: Path) -> tuple[list[str], list[tuple[str, dict[str, Any]]]]:
    """The roles that the file has, and its rows by role."""
    ending = path.suffix.lower()
    if ending == ".json":
        found = load_json(path)
        found = found.get("rows") if isinstance(found, dict) else found
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise InputError('is neither a list of rows nor {"rows": […]}; write each row as an object')
        names = list(dict.fromkeys(name for row in found for name in row))
        rows = [(f"[{n}]", [row.get(name) for name in names]) for n, row in enumerate(found)]
    elif ending in TABLES:
        names, rows = read_cells(path)
    else:
        raise InputError(f"{ending or 'no ending'} is not known; give one of .json {' '.join(TABLES)}")
    of_role: dict[str, int] = {}
    for role, known in ROLES.items():
        columns = [n for n, name in enumerate(names) if name.strip().lower() in known]
        if len(columns) > 1:
            raise InputError(
                f"columns {', '.join(names[n] for n in columns)} could each be the {role}; keep one"
            )
        if columns:
            of_role[role] = columns[0]
    return list(of_role), [
        (place, {role: values[n] for role, n in of_role.items()}) for place, values in rows
    ]


def _kind(roles: Sequence[str]) -> str:
    """The kind of task that the columns say."""
    timed = bool({"start", "end"} & set(roles))
    known = (SPAN, PAIR, SEQUENCE, SCORE, *(() if timed else (DOCUMENT,)))
    for kind in known:
        if set(NEEDED[kind]) <= set(roles):
            return kind
    needed = "; or ".join(", ".join(NEEDED[kind]) for kind in (SEQUENCE, PAIR, SCORE, SPAN, DOCUMENT))
    raise InputError(f"columns {', '.join(roles) or '(none known)'}: a task has the columns {needed}")


def _check_columns(roles: Sequence[str], kind: str) -> None:
    assert kind in KINDS
    if missing := [role for role in NEEDED[kind] if role not in roles]:
        raise InputError(f"has no column {', '.join(missing)}, which --kind {kind} needs; add it")


def _row(place: str, cells: Mapping[str, Any], kind: str) -> Row:
    video = str(cells["video"] if cells["video"] is not None else "").strip()
    if not video:
        raise InputError(f"{place}: names no video; fill the column in")
    start = end = math.nan
    absent = kind == SPAN and all(_is_empty(cells[role]) for role in ("start", "end"))
    if kind != DOCUMENT and not absent:
        start, end = (_number(place, role, cells[role]) for role in ("start", "end"))
    if end <= start:
        raise InputError(f"{place}: ends at {end:g} s, not after its start at {start:g} s; correct it")
    split = str(cells.get("split") or "").strip().lower()
    if split and split not in SPLITS:
        raise InputError(f"{place}: split {split!r}: one of train, dev, test, or empty")
    labels, score = (), 0.0
    if kind == SCORE:
        score = _number(place, "score", cells["score"])
    elif kind != SPAN:
        labels = _labels(place, cells["label"], kind)
    role = {PAIR: "text", SPAN: "question"}.get(kind)
    text = " ".join(str(cells[role] or "").split()) if role else ""
    if role and not text:
        raise InputError(f"{place}: its {role} is empty; fill the column in")
    return Row(place, video, start, end, labels, score, text, SPLITS.get(split, ""))


def _is_empty(cell: Any) -> bool:
    return cell is None or str(cell).strip() == "" or cell != cell  # noqa: PLR0124 - NaN


def _number(place: str, role: str, cell: Any) -> float:
    try:
        number = float(cell)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        shown = "(missing)" if cell in (None, "") else repr(str(cell)[:30])
        raise InputError(f"{place}: {role} {shown} must be a finite number; correct it")
    return number


def _labels(place: str, cell: Any, kind: str) -> tuple[str, ...]:
    """The labels of a cell; a moment with an empty cell has none of several."""
    given = cell if isinstance(cell, list) else str(cell if cell is not None else "").split(SEPARATOR)
    labels = tuple(dict.fromkeys(label for one in given if (label := " ".join(str(one).split()))))
    if kind not in (SEQUENCE, DOCUMENT) and len(labels) != 1:
        found = f"{len(labels)} labels" if labels else "no label"
        raise InputError(f"{place}: has {found}; a row of --kind {kind} has one")
    if long := next((label for label in labels if len(label) > LONGEST_LABEL), None):
        raise InputError(f"{place}: label {long[:30]!r} has {len(long)} characters, at most {LONGEST_LABEL}")
    return labels


def _by_video(rows: Sequence[Row]) -> Iterator[list[Row]]:
    of: dict[str, list[Row]] = {}
    for row in rows:
        of.setdefault(row.video, []).append(row)
    return (sorted(found, key=lambda row: (row.start, row.end)) for found in of.values())


def _tile(rows: Sequence[Row]) -> bool:
    """Whether the rows of each video follow one another without a gap of half a clip or an overlap; a video has two at least."""
    return all(
        len(found) > 1
        and all(
            abs(after.start - row.end) < CLIP_SECONDS / 2
            for row, after in zip(found, found[1:], strict=False)
        )
        and all(len(row.labels) == 1 for row in found)
        for found in _by_video(rows)
    )


def _check_overlaps(rows: Sequence[Row]) -> None:
    for found in _by_video(rows):
        for row, after in zip(found, found[1:], strict=False):
            if after.start < row.end - CLIP_SECONDS / 2:
                raise InputError(
                    f"{after.place}: begins at {after.start:g} s, before the end of {row.place} at {row.end:g} s; the rows of "
                    "--kind token do not overlap"
                )


def _joined(rows: Sequence[Row]) -> list[Row]:
    """The rows of the same moment as one with all their labels."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (row.video, repr(row.start), repr(row.end))
        before = found.get(key)
        if before is not None and before.split != row.split:
            raise InputError(f"{row.place}: is the moment of {before.place} with another split; correct it")
        labels = tuple(dict.fromkeys((*before.labels, *row.labels))) if before else row.labels
        found[key] = dataclasses.replace(before or row, labels=labels)
    return list(found.values())


def _check_classes(rows: Sequence[Row]) -> None:
    classes = {label for row in rows for label in row.labels}
    if len(classes) == 1 and all(row.labels for row in rows):
        raise InputError(
            f"all rows have the label {min(classes)!r}; there is nothing to tell apart, label others too"
        )
    if not classes:
        raise InputError("no row has a label; fill the column in")
    if len(classes) > MOST_CLASSES:
        raise InputError(
            f"{len(classes)} different labels; at most {MOST_CLASSES}; for numbers name the column score"
        )
