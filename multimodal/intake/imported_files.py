"""Owns the reading of files made elsewhere: what each says of which video. Runs in the sandbox; loads no pickle.

Features come as .npy, .npz, .safetensors (one video a file, named after it) or Parquet, transcripts as .vtt, .srt,
Whisper's JSON or a table, visual tokens as a table; a table is CSV or Parquet and may hold many videos.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from multimodal.intake.imported_arrays import ARRAYS, ArrayFileError, read_arrays
from multimodal.intake.imported_clips import on_clips
from multimodal.library import SUFFIXES as MEDIA
from multimodal.store import canonical_json
from multimodal.tables import COLUMNS, TABLES, TableError, Video, read_table
from speech import captions, imported
from speech.errors import SpeechError
from speech.languages import LANGUAGES
from speech.sentences import Transcript
from vision.clips import CLIP_SECONDS
from vision.codebook import MAX_LEAVES

Kind = Literal["features", "transcripts", "tokens"]
TRANSCRIPTS = (".vtt", ".srt", ".json")
SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "features": (*ARRAYS, ".parquet"),
    "transcripts": (*TRANSCRIPTS, *TABLES),
    "tokens": TABLES,
}
STARTS, ENDS, VALUES = COLUMNS["start"], COLUMNS["end"], COLUMNS["features"]
MOST_WIDTH = 1 << 16
MOST_ROWS = 1 << 22
LARGEST_TEXT = 1 << 30


class ImportedFileError(ValueError):
    """A file made elsewhere that is not what it must be; the message says where, what and the remedy."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """What a file (by its number) says of the video ``label``.

    Features: ``values`` float16 or float32 [n, d]; tokens: int64 [n]; ``starts`` float64 [n] in seconds, a row a clip of
    1.5 s, and ``note`` says how they became clips where they were none. A transcript is JSON as
    :class:`~speech.sentences.Transcript` writes it. ``problem`` is why the video (or, with no label, the whole file) is
    refused; the ``kind`` ``end`` closes a file.
    """

    file: int
    label: str
    kind: str
    values: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    starts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    transcript: str = ""
    note: str = ""
    problem: str = ""


def read(files: Sequence[Path], kind: Kind | None, stride: float | None) -> Iterator[Piece]:
    """What the files say, one video at a time; each file ends with a piece of kind ``end``.

    ``stride``: seconds from one feature to the next where a file gives no start times.
    """
    for number, file in enumerate(files):
        try:
            for piece in _pieces(file, kind, stride):
                yield dataclasses.replace(piece, file=number)
        except (ImportedFileError, ArrayFileError, TableError, SpeechError) as error:
            words = str(error)
            yield Piece(
                number, "", "", problem=words if words.startswith(file.name) else f"{file.name}: {words}"
            )
        except OSError as error:
            yield Piece(number, "", "", problem=f"{file.name}: cannot be read ({error.strerror or error})")
        yield Piece(number, "", "end")


def label_of(file: Path) -> str:
    """The video that a file is about: its name without ending, and without the video's own or a language's before it."""
    name = Path(file.name).stem
    before, _, last = name.rpartition(".")
    return before if before and (f".{last}".lower() in MEDIA or _language(file)) else name


def _language(file: Path) -> str | None:
    """The language that a transcript's name ends in, as in NAME.en.vtt or NAME.pt-BR.srt."""
    code = Path(file.stem).suffix.removeprefix(".").split("-")[0]
    if not code or file.suffix.lower() not in TRANSCRIPTS:
        return None
    return code if code in LANGUAGES else None


def _pieces(file: Path, kind: Kind | None, stride: float | None) -> Iterator[Piece]:
    suffix, label = file.suffix.lower(), label_of(file)
    if not file.is_file():
        raise ImportedFileError("is no regular file; name a file or a folder of them")
    if kind is not None and suffix not in SUFFIXES[kind]:
        raise ImportedFileError(
            f"--import-kind {kind}: {suffix or 'no ending'} is none of {' '.join(SUFFIXES[kind])}"
        )
    if suffix in ARRAYS:
        yield _features(label, read_arrays(file), stride)
    elif suffix in TRANSCRIPTS:
        yield Piece(0, label, "transcripts", transcript=_written(_transcript(file, suffix)))
    elif suffix in TABLES:
        yield from _table(file, label, kind, stride)
    else:
        known = sorted({s for suffixes in SUFFIXES.values() for s in suffixes})
        raise ImportedFileError(f"{suffix or 'no ending'} is not known; give one of {' '.join(known)}")


def _written(transcript: Transcript) -> str:
    if not transcript.sentences:
        raise ImportedFileError("holds no words; leave it out")
    return canonical_json(transcript.to_dict())


def _transcript(file: Path, suffix: str) -> Transcript:
    if suffix == ".json":
        return imported.from_json(_text(file), {})
    cues = captions.read(file)
    imported.check_times([(c.start, c.end, f"cue {n}") for n, c in enumerate(cues, 1)])
    return captions.transcript(cues, {}, language=_language(file))


def _text(file: Path) -> str:
    size = file.stat().st_size
    if size > LARGEST_TEXT:
        raise ImportedFileError(f"{size} bytes; a text file has at most {LARGEST_TEXT}; split it")
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImportedFileError(f"byte {error.start} is not UTF-8 text; save the file as UTF-8") from error


def _table(file: Path, label: str, kind: Kind | None, stride: float | None) -> Iterator[Piece]:
    found, videos = read_table(file, kind, stride)
    for video in videos:
        piece = Piece(0, video.label or label, found)
        try:
            if video.problem:
                raise TableError(video.problem)
            yield _of_table(piece, video, stride)
        except (ImportedFileError, TableError, SpeechError) as error:
            yield dataclasses.replace(piece, problem=f"{file.name}, {error}")


def _of_table(piece: Piece, video: Video, stride: float | None) -> Piece:
    """The rows of one video as a piece."""
    if piece.kind == "transcripts":
        rows = [
            imported.Row(*row)
            for row in zip(video.starts, video.ends, video.values, video.places, strict=True)
        ]
        return dataclasses.replace(piece, transcript=_written(imported.from_rows(rows, {})))
    starts, ends = (np.array([math.nan if t is None else t for t in ts]) for ts in (video.starts, video.ends))
    if piece.kind == "features":
        return _features(
            piece.label, {"values": video.values, "starts": starts, "ends": ends}, stride, video.places
        )
    for token, place in zip(video.values, video.places, strict=True):
        if not 0 <= token < MAX_LEAVES:
            raise ImportedFileError(f"{place}: token {token} must be from 0 to {MAX_LEAVES - 1}")
    return _shown(piece.label, "tokens", np.array(video.values, np.int64), starts, ends, video.places, stride)


def _features(
    label: str, arrays: dict[str, np.ndarray], stride: float | None, places: Sequence[str] | None = None
) -> Piece:
    """Features and their times out of the arrays of a file."""
    values, starts, ends = _told_apart(arrays)
    if values.ndim != 2 or 0 in values.shape or values.shape[1] > MOST_WIDTH:
        raise ImportedFileError(
            f"features have shape {list(values.shape)}; [n, d] is needed, a row a clip, d from 1 to {MOST_WIDTH}"
        )
    if values.dtype.kind not in "fiu":
        raise ImportedFileError(f"features are {values.dtype}; numbers are needed, such as float32")
    with np.errstate(over="ignore"):
        values = values if values.dtype == np.float16 else values.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        place = places[bad[0]] if places else f"row {bad[0]}"
        raise ImportedFileError(
            f"{place}: holds NaN, infinity or a number too large, as do {len(bad)} of {len(values)} rows; leave these out"
        )
    return _shown(label, "features", values, starts, ends, places, stride)


def _shown(
    label: str,
    kind: Kind,
    values: np.ndarray,
    starts: np.ndarray | None,
    ends: np.ndarray | None,
    places: Sequence[str] | None,
    stride: float | None,
) -> Piece:
    """Features or tokens, their times checked, on clips."""
    if len(values) > MOST_ROWS:
        raise ImportedFileError(
            f"{len(values)} rows for one video; at most {MOST_ROWS} are admitted; split it"
        )
    starts, ends = _times(starts, ends, places, len(values), stride)
    values, starts, note = on_clips(values, starts, ends)
    if not len(starts):
        raise ImportedFileError(
            f"its rows cover less than half of each {CLIP_SECONDS:g} s; give longer ones, or their ends"
        )
    return Piece(0, label, kind, np.ascontiguousarray(values), starts, note=note)


def _told_apart(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The features, their starts and their ends, by name; the only array of another name is the features."""
    lower = {name.lower(): array for name, array in arrays.items()}
    starts = next((lower.pop(name) for name in STARTS if name in lower), None)
    ends = next((lower.pop(name) for name in ENDS if name in lower), None)
    named = [name for name in VALUES if name in lower]
    if len(named) != 1 and len(lower) != 1:
        raise ImportedFileError(
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
    """``starts`` and ``ends`` float64 [count], checked; starts by the stride where there are none, ends NaN."""
    if starts is None or (starts.dtype.kind == "f" and np.isnan(starts).all()):
        if stride is None:
            raise ImportedFileError(
                "gives no start times; say --import-stride SECONDS or --import-fps N, or add an array or column 'start'"
            )
        starts = np.arange(count) * stride
        ends = starts + stride if ends is None else ends
    given = {"starts": starts, "ends": np.full(count, math.nan) if ends is None else ends}
    for name, array in given.items():
        if array.shape != (count,) or array.dtype.kind not in "fiu":
            raise ImportedFileError(
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
            raise ImportedFileError(
                f"{place}: {'has no length' if end == start else 'starts when the one above does'} ({start:g} s); give it times of its own"
            )
    return starts, ends
