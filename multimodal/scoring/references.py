"""Owns reference captions: sentences that people wrote about moments of videos, read from files as they are published.

Known: YouCook2's annotation JSON, the retrieval CSV of MSR-VTT's 1k-A split, captions (.vtt, .srt), Whisper's JSON or a
transcript of ours, and CSV or JSON rows of video, start, end, text.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from multimodal.catalogue import Video
from multimodal.intake.imported_files import label_of
from multimodal.library import Material, read_material
from multimodal.segments import Segment, spoken_segments
from multimodal.store import InputError, Store
from multimodal.tables import TableError, read_table
from multimodal.tokens import train_and_held_out
from speech import captions
from speech.errors import SpeechError
from speech.imported import LONGEST_SECONDS
from speech.sentences import Sentence, Transcript
from vision.clips import CLIP_SECONDS

CAPTIONS = (".vtt", ".srt")
TABLES = (".csv", ".tsv")
SUFFIXES = (".json", *CAPTIONS, *TABLES)
LARGEST = 1 << 28
LONGEST_SENTENCE = 10_000
VIDEO, START, END, TEXT = ("video", "video_id", "name"), ("start",), ("end",), ("text", "sentence", "caption")
"""The names that a JSON row may give its parts."""


class ReferencesError(InputError):
    """A file of references that is not what it must be; the message names the file, the place, the rule and the remedy."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """``sentence`` is about ``[start, end)`` seconds of a video, or about all of it where both are None.

    ``video`` is the name that the file gives it; ``split`` is the file's own word ("training"), where it has one.
    """

    video: str
    start: float | None
    end: float | None
    sentence: str
    split: str = ""


@dataclasses.dataclass(frozen=True)
class Matched:
    """The references by the video's SHA-256, and the names that no video of the store bears."""

    by_video: dict[str, tuple[Reference, ...]]
    unknown: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ReferencedMoment:
    """A moment and the sentences that people wrote about it."""

    moment: Segment
    sentences: tuple[str, ...]


def read_references(path: Path) -> list[Reference]:
    """The references of a file, or of the files of a folder, in their order.

    Raises :class:`ReferencesError` for what cannot be read; a file is good as a whole or not at all.
    """
    if not path.is_dir():
        return _file(path)
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    if not files:
        raise ReferencesError(
            f"{path}: a folder without {' '.join(SUFFIXES)} files; name the file of references"
        )
    return [reference for file in files for reference in _file(file)]


def _file(path: Path) -> list[Reference]:
    try:
        found = [_checked(*row) for row in _rows(path)]
    except (SpeechError, TableError, _Wrong) as error:
        words = str(error)
        raise ReferencesError(words if words.startswith(path.name) else f"{path.name}: {words}") from error
    except OSError as error:
        raise ReferencesError(
            f"{path}: cannot be read ({error.strerror or error}); check the name"
        ) from error
    if not found:
        raise ReferencesError(f"{path.name}: holds no sentence; leave it out")
    return found


class _Wrong(ValueError):
    """Place, rule and remedy; whoever knows the file puts its name before it."""


Row = tuple[str, Any, Any, Any, Any, str]
"""Place, video, start, end, text, split."""


def _rows(path: Path) -> Iterator[Row]:
    suffix, size = path.suffix.lower(), path.stat().st_size
    if not path.is_file():
        raise _Wrong("is no regular file; name a file or a folder of them")
    if size > LARGEST:
        raise _Wrong(f"{size} bytes; at most {LARGEST} are read; split it")
    if suffix in CAPTIONS:
        for n, cue in enumerate(captions.read(path), 1):
            text = captions.plain(cue.text)
            if text.strip():
                yield f"cue {n}", label_of(path), cue.start, cue.end, text, ""
    elif suffix in TABLES:
        yield from _table(path)
    elif suffix == ".json":
        yield from _json(path)
    else:
        raise _Wrong(f"{suffix or 'no ending'} is not known; give one of {' '.join(SUFFIXES)}")


def _table(path: Path) -> Iterator[Row]:
    _, videos = read_table(path, "transcripts", None, timed=False)
    for video in videos:
        if video.problem:
            raise _Wrong(video.problem)
        rows = zip(video.places, video.starts, video.ends, video.values, strict=True)
        for place, start, end, text in rows:
            yield place, video.label or label_of(path), start, end, text, ""


def _json(path: Path) -> Iterator[Row]:
    data = _load(path)
    if isinstance(data, list):
        for n, row in enumerate(data):
            yield _row(row, f"[{n}]", None)
    elif isinstance(data, dict) and "database" in data:
        yield from _youcook2(data["database"])
    elif isinstance(data, dict) and (name := next((k for k in ("segments", "sentences") if k in data), None)):
        if not isinstance(data[name], list):
            raise _Wrong(f"{name} is no list; give what Whisper writes with --output_format json")
        for n, row in enumerate(data[name]):
            yield _row(row, f"{name}[{n}]", label_of(path))
    else:
        raise _Wrong(
            'is neither {"database": …} as YouCook2 has it, {"segments": […]}, nor a list of rows; give one of these'
        )


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise _Wrong(f"byte {error.start} is not UTF-8 text; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise _Wrong(f"line {error.lineno}: is not JSON ({error.msg}); save it again") from error
    except RecursionError as error:
        raise _Wrong("is nested too deep; give the file as it was published") from error


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Wrong(f"{key[:60]!r} stands twice in one object; keep one")
        found[key] = value
    return found


def _row(row: object, place: str, label: str | None) -> Row:
    if not isinstance(row, dict):
        raise _Wrong(f'{place}: {_shown(row)} must be an object with "start", "end" and "text"')
    parts = [next((row[n] for n in names if n in row), None) for names in (VIDEO, START, END, TEXT)]
    return place, label if parts[0] is None and label else parts[0], *parts[1:], ""


def _youcook2(database: object) -> Iterator[Row]:
    """``{video: {"subset", "annotations": [{"segment": [start, end], "id", "sentence"}]}}``."""
    if not isinstance(database, dict):
        _wrong("database", database, "an object with a video's id for each entry")
    for video, entry in database.items():
        place = f"database[{video[:60]!r}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("annotations"), list):
            _wrong(place, entry, 'an object with a list "annotations"')
        split = entry.get("subset", "")
        if not isinstance(split, str):
            _wrong(f"{place}.subset", split, "a word such as training")
        for n, annotation in enumerate(entry["annotations"]):
            at = f"{place}.annotations[{n}]"
            segment = annotation.get("segment") if isinstance(annotation, dict) else None
            if not isinstance(segment, list) or len(segment) != 2:
                _wrong(f"{at}.segment", segment, "[start, end] in seconds")
            if "sentence" not in annotation:
                raise _Wrong(
                    f"{at}: has no sentence; give youcookii_annotations_trainval.json, which has them"
                )
            yield at, video, *segment, annotation["sentence"], split


def _checked(place: str, video: Any, start: Any, end: Any, text: Any, split: str) -> Reference:
    """The row as a reference. Raises :class:`_Wrong`."""
    if isinstance(video, bool) or not isinstance(video, str | int) or not str(video).strip():
        _wrong(f"{place}: video", video, "a video's name")
    if not isinstance(text, str) or not text.strip():
        _wrong(f"{place}: text", text, "a sentence")
    if len(text) > LONGEST_SENTENCE:
        raise _Wrong(
            f"{place}: a text of {len(text)} characters; at most {LONGEST_SENTENCE}; give a sentence a row"
        )
    for name, value in (("start", start), ("end", end)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value) and 0 <= value <= LONGEST_SECONDS):
            _wrong(f"{place}: {name}", value, f"seconds from 0 to {LONGEST_SECONDS:.0f}")
    if (start is None) != (end is None):
        raise _Wrong(
            f"{place}: has no {'start' if start is None else 'end'}; give both, or neither for the whole video"
        )
    if start is not None and end <= start:
        raise _Wrong(f"{place}: ends at {end:g}, not after its start at {start:g}; correct the times")
    plain = " ".join(text.split()).encode("utf-8", "replace").decode()
    times = (None, None) if start is None else (float(start), float(end))
    return Reference(str(video).strip(), *times, plain, split)


def _wrong(place: str, value: object, rule: str) -> NoReturn:
    raise _Wrong(f"{place}: {_shown(value)} must be {rule}; correct it")


def _shown(value: object) -> str:
    return "what is missing" if value is None else repr(value)[:60]


def match(references: Sequence[Reference], videos: Sequence[Video]) -> Matched:
    """The references of each video: a name means a video whose file has it, with its ending or without.

    Raises :class:`ReferencesError` where a name means two videos.
    """
    named: dict[str, set[str]] = {}
    for video in videos:
        for name in {video.name, Path(video.name).stem}:
            named.setdefault(name, set()).add(video.video)
    found: dict[str, list[Reference]] = {}
    unknown: dict[str, None] = {}
    for reference in references:
        digests = named.get(reference.video) or named.get(Path(reference.video).name, set())
        if len(digests) > 1:
            raise ReferencesError(
                f"references: {reference.video!r} is the name of {len(digests)} videos in the store; give it with its ending"
            )
        for digest in digests:
            found.setdefault(digest, []).append(reference)
        if not digests:
            unknown[reference.video] = None
    return Matched({v: tuple(of) for v, of in found.items()}, tuple(unknown))


def referenced_moments(material: Material, references: Sequence[Reference]) -> list[ReferencedMoment]:
    """The moments of a video that its references are about and that show a clip, each with all its sentences, in order.

    A sentence about the whole video has all of its clips.
    """
    if not len(material.starts):
        return []
    whole = (float(material.starts[0]), float(material.starts[-1]) + CLIP_SECONDS)
    sentences: dict[tuple[float, float], list[str]] = {}
    for r in references:
        times = whole if r.start is None or r.end is None else (r.start, r.end)
        sentences.setdefault(times, []).append(r.sentence)
    times = sorted(sentences)
    transcript = Transcript(None, {}, tuple(Sentence(start, end, "", ()) for start, end in times))
    moments = spoken_segments(material.video.video, transcript, material.starts, material.tokens)
    return [ReferencedMoment(m, tuple(sentences[t])) for m, t in zip(moments, times, strict=True) if m.tokens]


def moments_of(
    matched: Matched, store: Store, codebook: str, videos: Iterable[Video]
) -> list[ReferencedMoment]:
    """The moments of ``videos`` that their references speak of."""
    materials = [read_material(store, codebook, v) for v in videos if v.video in matched.by_video]
    return [a for m in materials for a in referenced_moments(m, matched.by_video[m.video.video])]


def training_captions(
    file: Path, store: Store, codebook: str, videos: Sequence[Video]
) -> list[tuple[str, float, float, str]]:
    """(video, start, end, sentence) of the references about training videos: the captioner learns from them.

    Those about other videos are for evaluation.
    """
    train_videos, _ = train_and_held_out(store, videos, codebook)
    found = moments_of(match(read_references(file), videos), store, codebook, train_videos)
    return [(a.moment.video, a.moment.start, a.moment.end, text) for a in found for text in a.sentences]


def evaluation_moments(
    file: Path, store: Store, codebook: str, videos: Sequence[Video], say: Callable[[str], None]
) -> list[ReferencedMoment]:
    """The moments with references, of the videos that the model did not learn from. ``say`` is told what is left out.

    Raises :class:`ReferencesError` where the file names no video of the store.
    """
    matched = match(read_references(file), videos)
    if not matched.by_video:
        raise ReferencesError(
            f"--references {file}: none of its {len(matched.unknown)} videos is in the store, such as "
            f"{matched.unknown[0]!r}; name the video files as it does"
        )
    trained_on = {v.video for v in train_and_held_out(store, videos, codebook)[0]}
    judged = [v for v in videos if v.video in matched.by_video and v.video not in trained_on]
    found = moments_of(matched, store, codebook, judged)
    sentences = sum(len(matched.by_video[v.video]) for v in judged)
    used = sum(len(a.sentences) for a in found)
    say(
        f"references: {used} sentences about {len(found)} moments of {len({a.moment.video for a in found})} videos; left out: "
        f"{sentences - used} sentences where nothing is shown, {len(matched.by_video) - len(judged)} videos that the model "
        f"learned from, {len(matched.unknown)} that are not in the store"
    )
    return found
