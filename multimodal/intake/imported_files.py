"""Imported files: features, transcripts and visual tokens of other programs, read video by video in the sandbox.

Features are .npy, .npz, .safetensors (one video a file, named after it) or Parquet; transcripts are captions, JSON or a
table; visual tokens are a table. A table is CSV, TSV or Parquet and may hold many videos, as may JSON.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multimodal.intake.imported_arrays import ARRAYS, read_arrays
from multimodal.intake.imported_clips import on_clips
from multimodal.intake.imported_groups import Group, grouped, read_group
from multimodal.intake.imported_json import read_json
from multimodal.intake.options import Kind
from multimodal.library import TRANSCRIPTS, label_of, tags_of
from multimodal.store import InputError, canonical_json
from multimodal.tables import COLUMNS, TABLES, VideoRows, read_table
from speech import caption_files, captions, imported
from speech.control_characters import without_controls
from speech.cues import counted
from speech.errors import SpeechError
from speech.sentences import Transcript
from vision.clips import CLIP_SECONDS
from vision.codebook import MAX_LEAVES

SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "features": (*ARRAYS, ".parquet"),
    "transcripts": (*TRANSCRIPTS, *TABLES),
    "tokens": TABLES,
}
STARTS, ENDS, VALUES = COLUMNS["start"], COLUMNS["end"], COLUMNS["features"]
MOST_WIDTH = 1 << 16
MOST_ROWS = 1 << 22
LARGEST_TEXT = 1 << 30


@dataclasses.dataclass(frozen=True)
class Piece:
    """The content of one file (by its number) for the video ``label``.

    Features: ``values`` float16 or float32 [n, d]; tokens: ``values`` int64 [n]. ``starts`` float64 [n] in seconds, a row
    a clip of 1.5 s; ``note`` describes the resampling to clips where there was one. ``transcript`` is canonical JSON
    of a :class:`~speech.sentences.Transcript` without a source. ``problem``: the reason why the video (with no label: the whole file)
    is refused. ``videos``: how many the file holds. A piece of the ``kind`` ``end`` closes each file.
    """

    file: int
    label: str
    kind: str
    values: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    starts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    transcript: bytes = b""
    note: str = ""
    problem: str = ""
    videos: int = 1


def read(files: Sequence[Path], kind: Kind | None, stride: float | None) -> Iterator[Piece]:
    """The content of the files, one video at a time; each file ends with a piece of kind ``end``.

    ``stride``: seconds from one feature to the next where a file gives no start times. A file that cannot be read is a
    piece with a ``problem``. Of files that belong together the last gives what they say, the others nothing.
    """
    groups = grouped(files)
    for number, file in enumerate(files):
        group = groups.get(file)
        if group and file != group.last:
            yield Piece(number, "", "end")
            continue
        try:
            for piece in _pieces(file, kind, stride, group):
                yield dataclasses.replace(piece, file=number)
        except (InputError, SpeechError) as error:
            message = str(error)
            if not message.startswith(file.name):
                message = f"{file.name}: {message}"
            yield Piece(number, "", "", problem=message)
        except OSError as error:
            yield Piece(number, "", "", problem=f"{file.name}: cannot be read ({error.strerror or error})")
        yield Piece(number, "", "end")


def _pieces(file: Path, kind: Kind | None, stride: float | None, group: Group | None) -> Iterator[Piece]:
    suffix, label = file.suffix.lower(), label_of(file)
    if not file.is_file():
        raise InputError("is no regular file; name a file or a folder of them")
    if kind is not None and suffix not in SUFFIXES[kind]:
        raise InputError(
            f"--import-kind {kind}: {suffix or 'no ending'} is none of {' '.join(SUFFIXES[kind])}"
        )
    if group:
        arrays, note = read_group(group)
        piece = _features(group.label, arrays, stride)
        yield dataclasses.replace(piece, note="; ".join(filter(None, (note, piece.note))))
    elif suffix in ARRAYS:
        yield _features(label, read_arrays(file), stride)
    elif suffix == ".json":
        yield from _json_videos(file, label)
    elif suffix in TRANSCRIPTS:
        yield Piece(0, label, "transcripts", transcript=_json_of(_captions(file)))
    elif suffix in TABLES:
        yield from _table(file, label, kind, stride)
    else:
        known = sorted({s for suffixes in SUFFIXES.values() for s in suffixes})
        raise InputError(f"{suffix or 'no ending'} is not known; give one of {' '.join(known)}")


def _json_of(transcript: Transcript) -> bytes:
    if not transcript.sentences:
        raise InputError("holds no words; leave it out")
    return canonical_json(_without_controls(transcript.to_dict())).encode()


def _without_controls(item: Any) -> Any:
    """A transcript's JSON whose texts are without characters that steer a terminal."""
    if isinstance(item, str):
        return without_controls(item)
    if isinstance(item, dict):
        return {key: _without_controls(part) for key, part in item.items()}
    return [_without_controls(part) for part in item] if isinstance(item, list | tuple) else item


def _json_videos(file: Path, label: str) -> Iterator[Piece]:
    count, videos = read_json(_text(file))
    for video in videos:
        piece = Piece(0, video.label or label, "transcripts", videos=count)
        try:
            if video.problem:
                raise InputError(video.problem)
            yield dataclasses.replace(piece, transcript=_json_of(video.transcript))
        except InputError as error:
            problem = str(error) if count == 1 else f"{video.label[:60]}: {error}"
            yield dataclasses.replace(piece, problem=f"{file.name}: {problem}")


def _captions(file: Path) -> Transcript:
    tags = tags_of(file)
    if tags.never:
        raise InputError(f"is {tags.never} by its name; leave it out")
    read = caption_files.read(file, tags.language)
    if read.kind != "speech":
        raise InputError(f"holds {read.counted()}, no speech; leave it out")
    near = [cue for cue in read.cues if cue.end <= imported.LONGEST_SECONDS]
    if not near:
        imported.check_times([(cue.start, cue.end, f"cue {n}") for n, cue in enumerate(read.cues, 1)])
    far = len(read.cues) - len(near)
    notes = [*read.problems, *([f"{counted(far, 'cue')} beyond 24 h left out"] if far else []), *read.notes]
    transcript = captions.transcript(near, {}, language=tags.language)
    return dataclasses.replace(transcript, notes=(*notes, *transcript.notes))


def _text(file: Path) -> str:
    size = file.stat().st_size
    if size > LARGEST_TEXT:
        raise InputError(f"{size} bytes; a text file has at most {LARGEST_TEXT}; split it")
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is not UTF-8 text; save the file as UTF-8") from error


def _table(file: Path, label: str, kind: Kind | None, stride: float | None) -> Iterator[Piece]:
    table = read_table(file, kind, stride)
    for video in table.videos:
        piece = Piece(0, video.label or label, table.kind, videos=table.count)
        try:
            if video.problem:
                raise InputError(video.problem)
            yield dataclasses.replace(_of_rows(piece, video, stride), videos=table.count)
        except (InputError, SpeechError) as error:
            yield dataclasses.replace(piece, problem=f"{file.name}, {error}")


def _of_rows(piece: Piece, video: VideoRows, stride: float | None) -> Piece:
    """The rows of one video as a piece."""
    if piece.kind == "transcripts":
        rows = [
            imported.Row(*row)
            for row in zip(video.starts, video.ends, video.values, video.places, strict=True)
        ]
        return dataclasses.replace(piece, transcript=_json_of(imported.from_rows(rows, {})))
    starts, ends = (np.array([math.nan if t is None else t for t in ts]) for ts in (video.starts, video.ends))
    if piece.kind == "features":
        return _features(
            piece.label, {"values": video.values, "starts": starts, "ends": ends}, stride, video.places
        )
    for token, place in zip(video.values, video.places, strict=True):
        if not 0 <= token < MAX_LEAVES:
            raise InputError(f"{place}: token {token} must be from 0 to {MAX_LEAVES - 1}")
    return _on_clips(
        piece.label, "tokens", np.array(video.values, np.int64), starts, ends, video.places, stride
    )


def _features(
    label: str, arrays: dict[str, np.ndarray], stride: float | None, places: Sequence[str] | None = None
) -> Piece:
    """Features with their times from the arrays of a file."""
    values, starts, ends = _by_name(arrays)
    if values.ndim != 2 or 0 in values.shape or values.shape[1] > MOST_WIDTH:
        raise InputError(
            f"features have shape {list(values.shape)}; [n, d] is needed, a row a clip, d from 1 to {MOST_WIDTH}"
        )
    if values.dtype.kind not in "fiu":
        raise InputError(f"features are {values.dtype}; numbers are needed, such as float32")
    with np.errstate(over="ignore"):
        values = values if values.dtype == np.float16 else values.astype(np.float32, copy=False)
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        place = places[bad[0]] if places else f"row {bad[0]}"
        raise InputError(
            f"{place}: holds NaN, infinity or a number too large, as do {len(bad)} of {len(values)} rows; leave these out"
        )
    return _on_clips(label, "features", values, starts, ends, places, stride)


def _on_clips(
    label: str,
    kind: Kind,
    values: np.ndarray,
    starts: np.ndarray | None,
    ends: np.ndarray | None,
    places: Sequence[str] | None,
    stride: float | None,
) -> Piece:
    """Features or tokens with checked times, resampled to clips."""
    if len(values) > MOST_ROWS:
        raise InputError(f"{len(values)} rows for one video; at most {MOST_ROWS} are admitted; split it")
    starts, ends = _times(starts, ends, places, len(values), stride)
    values, starts, note = on_clips(values, starts, ends)
    if not len(starts):
        raise InputError(
            f"its rows cover less than half of each {CLIP_SECONDS:g} s; give longer ones, or their ends"
        )
    return Piece(0, label, kind, np.ascontiguousarray(values), starts, note=note)


def _by_name(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The features, their starts and their ends, found by name. A single array of another name is the features."""
    lower = {name.lower(): array for name, array in arrays.items()}
    starts = next((lower.pop(name) for name in STARTS if name in lower), None)
    ends = next((lower.pop(name) for name in ENDS if name in lower), None)
    named = [name for name in VALUES if name in lower]
    if len(named) != 1 and len(lower) != 1:
        raise InputError(
            f"holds the arrays {', '.join(sorted(arrays)) or 'none'}; name the features {VALUES[0]!r}, their seconds 'starts' and 'ends'"
        )
    return lower[named[0] if named else next(iter(lower))], starts, ends


def _times(
    starts: np.ndarray | None,
    ends: np.ndarray | None,
    places: Sequence[str] | None,
    count: int,
    stride: float | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Checked ``starts`` and ``ends`` float64 [count]; missing starts follow from the stride, missing ends are NaN."""
    if starts is None or (starts.dtype.kind == "f" and np.isnan(starts).all()):
        if stride is None:
            raise InputError(
                "gives no start times; say --import-stride SECONDS or --import-fps N, or add an array or column 'start'"
            )
        starts = np.arange(count) * stride
        ends = starts + stride if ends is None else ends
    given = {"starts": starts, "ends": np.full(count, math.nan) if ends is None else ends}
    for name, array in given.items():
        if array.shape != (count,) or array.dtype.kind not in "fiu":
            raise InputError(
                f"{name} are {array.dtype} of shape {list(array.shape)}; {count} numbers are needed, one a row"
            )
        given[name] = array.astype(np.float64)
    starts, ends = given["starts"], given["ends"]
    rows = [
        (float(s), None if math.isnan(e) else float(e), places[i] if places else f"row {i}")
        for i, (s, e) in enumerate(zip(starts, ends, strict=True))
    ]
    imported.check_times(rows)
    for n, (start, end, place) in enumerate(rows):
        if end == start or (n and start == rows[n - 1][0]):
            raise InputError(
                f"{place}: {'has no length' if end == start else 'starts when the one above does'} ({start:g} s); give it times of its own"
            )
    return starts, ends
