"""Reference captions: sentences that people wrote about moments of videos, read from files as they are published.

Formats: YouCook2's annotation JSON, the retrieval CSV of MSR-VTT's 1k-A split, captions (.vtt, .srt), Whisper's JSON or
a transcript of ours, and CSV or JSON rows of video, start, end, text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from multimodal.catalogue import Video
from multimodal.library import Material, label_of, read_material
from multimodal.scoring.json_files import load_json, one_line, validated
from multimodal.segments import Segment, spoken_segments
from multimodal.store import InputError, Store
from multimodal.tables import COLUMNS, read_table
from multimodal.tokens import train_and_held_out
from speech import caption_files
from speech.cues import plain
from speech.errors import SpeechError
from speech.imported import LONGEST_SECONDS
from speech.sentences import Sentence, Transcript
from vision.clips import CLIP_SECONDS

CAPTIONS = (".vtt", ".srt")
TABLES = (".csv", ".tsv")
SUFFIXES = (".json", *CAPTIONS, *TABLES)
LARGEST = 1 << 28
LONGEST_SENTENCE = 10_000

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(strict=True))
class Reference:
    """``sentence`` is about ``[start, end)`` seconds of a video, or about all of it where both are None.

    ``video`` is the name in the file; ``split`` is the file's own word ("training"), where it has one. White space in
    ``sentence`` is collapsed.
    """

    video: Name
    start: Seconds | None
    end: Seconds | None
    sentence: Annotated[Name, Field(max_length=LONGEST_SENTENCE)]
    split: str = ""

    @pydantic.field_validator("video", mode="before")
    @classmethod
    def _named_by_number(cls, video: object) -> object:
        return str(video) if isinstance(video, int) and not isinstance(video, bool) else video

    @pydantic.field_validator("sentence", mode="before")
    @classmethod
    def _collapsed(cls, sentence: object) -> object:
        # A lone surrogate, which JSON can spell, is no text that could be stored.
        return (
            " ".join(sentence.split()).encode(errors="replace").decode()
            if isinstance(sentence, str)
            else sentence
        )

    @pydantic.model_validator(mode="after")
    def _has_both_times_or_neither(self) -> Reference:
        if (self.start is None) != (self.end is None):
            raise ValueError(
                f"has no {'start' if self.start is None else 'end'}; give both, or neither for the whole video"
            )
        if self.start is not None and self.end <= self.start:
            raise ValueError(f"ends at {self.end:g}, not after its start at {self.start:g}")
        return self


class _Annotation(BaseModel):
    segment: Annotated[list[Any], Field(min_length=2, max_length=2)]
    sentence: Any


class _Entry(BaseModel):
    annotations: list[_Annotation]
    subset: str = ""


class _YouCook2(BaseModel):
    database: dict[str, _Entry]


class _Row(BaseModel):
    """A row of JSON; its values are checked when it becomes a :class:`Reference`."""

    video: Any = Field(None, validation_alias=AliasChoices(*COLUMNS["video"]))
    start: Any = None
    end: Any = None
    text: Any = Field(None, validation_alias=AliasChoices(*COLUMNS["text"]))


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

    Raises :class:`~multimodal.store.InputError` where a file cannot be read or any of its rows is not valid.
    """
    if not path.is_dir():
        return _of_file(path)
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{path}: a folder without {' '.join(SUFFIXES)} files; name the file of references")
    return [reference for file in files for reference in _of_file(file)]


def _of_file(path: Path) -> list[Reference]:
    try:
        found = [_reference(*row) for row in _rows(path)]
    except (InputError, SpeechError) as error:
        message = str(error)
        raise InputError(message if message.startswith(path.name) else f"{path.name}: {message}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error
    if not found:
        raise InputError(f"{path.name}: holds no sentence; leave it out")
    return found


def _reference(place: str, video: Any, start: Any, end: Any, text: Any, split: str) -> Reference:
    try:
        return Reference(video=video, start=start, end=end, sentence=text, split=split)
    except ValidationError as error:
        raise one_line(error, place) from error


Row = tuple[str, Any, Any, Any, Any, str]
"""Place, video, start, end, text, split."""


def _rows(path: Path) -> Iterator[Row]:
    suffix, size = path.suffix.lower(), path.stat().st_size
    if not path.is_file():
        raise InputError("is no regular file; name a file or a folder of them")
    if size > LARGEST:
        raise InputError(f"{size} bytes; at most {LARGEST} are read; split it")
    if suffix in CAPTIONS:
        file = caption_files.read(path)
        if file.problems:
            raise InputError(file.problems[0])
        for n, cue in enumerate(file.cues, 1):
            text = plain(cue.text)
            if text.strip():
                yield f"cue {n}", label_of(path), cue.start, cue.end, text, ""
    elif suffix in TABLES:
        yield from _table(path)
    elif suffix == ".json":
        yield from _json(path)
    else:
        raise InputError(f"{suffix or 'no ending'} is not known; give one of {' '.join(SUFFIXES)}")


def _table(path: Path) -> Iterator[Row]:
    for video in read_table(path, "transcripts", None, timed=False).videos:
        if video.problem:
            raise InputError(video.problem)
        rows = zip(video.places, video.starts, video.ends, video.values, strict=True)
        for place, start, end, text in rows:
            yield place, video.label or label_of(path), start, end, text, ""


def _json(path: Path) -> Iterator[Row]:
    data = load_json(path)
    if isinstance(data, dict) and "database" in data:
        for video, entry in validated(_YouCook2, data).database.items():
            for n, annotation in enumerate(entry.annotations):
                place = f"database.{video[:60]}.annotations[{n}]"
                yield place, video, *annotation.segment, annotation.sentence, entry.subset
        return
    place, rows, label = "", data, None
    if isinstance(data, dict):
        place = next((key for key in ("segments", "sentences") if key in data), "")
        rows, label = data.get(place), label_of(path)
    if not isinstance(rows, list):
        raise InputError(
            'is neither {"database": …} as YouCook2 has it, {"segments": […]}, nor a list of rows; give one of these'
        )
    for n, row in enumerate(validated(list[_Row], rows, place)):
        yield f"{place}[{n}]", label if row.video is None else row.video, row.start, row.end, row.text, ""


def match(references: Sequence[Reference], videos: Sequence[Video]) -> Matched:
    """The references of each video: a name means a video whose file has it, with its ending or without.

    Raises :class:`InputError` where a name means two videos.
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
            raise InputError(
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

    Raises :class:`InputError` where the file names no video of the store.
    """
    matched = match(read_references(file), videos)
    if not matched.by_video:
        raise InputError(
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
        f"{sentences - used} sentences without a clip, {len(matched.by_video) - len(judged)} training videos, "
        f"{len(matched.unknown)} videos that are not in the store"
    )
    return found
