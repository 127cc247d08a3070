"""A task on the videos of a store: its rows as moments of videos, and the split of its videos."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from multimodal.catalogue import Video
from multimodal.examples.moments import (
    clip_positions,
    has_what_is_read,
    moment_sequence,
    moments_at,
    token_units,
    windows,
)
from multimodal.examples.options import DOCUMENT, PAIR, SCORE, SPAN, TEXT_READ, TOKEN
from multimodal.finetuning.options import FineTuningOptions
from multimodal.finetuning.task_files import Row, TaskFile
from multimodal.library import Material
from multimodal.names import did_you_mean
from multimodal.segments import Segment
from multimodal.store import InputError
from multimodal.vocabulary import Vocabulary
from vision.clips import CLIP_SECONDS

TRAIN, DEV, TEST = SPLIT_NAMES = ("train", "dev", "test")
LEAST_TO_SPLIT = 3
DEV_SHARE = 0.5
"""Of the share that is held out to judge by."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """What one answer is asked of: a moment, a clip or word of a window, or a whole video. ``target``: its classes as 0 and 1,
    its score, or the seconds of an answer, NaN where the video has none. ``segment`` is what is said and shown in it alone;
    of a pair or a question ``text`` is the row's."""

    video: str
    start: float
    end: float
    target: np.ndarray
    segment: Segment
    text: str = ""


@dataclasses.dataclass(frozen=True)
class WindowUnits:
    """A window over a video: its sequence, and the units in it by position. ``units`` are numbers in the split.

    Of a question ``units`` is that question alone, ``positions`` those of the ``clips``, and ``answer`` the first and the last
    one of its answer, ``None`` where the window holds none. Of a whole video there is one position, which stands for the window.
    """

    ids: list[int]
    types: list[int]
    positions: tuple[int, ...]
    units: tuple[int, ...]
    clips: tuple[int, ...] = ()
    answer: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Split:
    """The units of some videos, and of tasks over whole videos the windows that they are read in. ``starts``: of the clips of
    each video, in seconds."""

    units: tuple[Unit, ...] = ()
    windows: tuple[WindowUnits, ...] = ()
    starts: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.units)


@dataclasses.dataclass(frozen=True)
class Task:
    """``classes`` in the order of the alphabet, none for a score. ``splits`` by name. ``notes`` are lines for people."""

    kind: str
    read: str
    several: bool
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    videos: Mapping[str, str]
    """The split of each video's digest."""
    notes: tuple[str, ...] = ()


def match(file: TaskFile, videos: Sequence[Video]) -> dict[str, Video]:
    """The videos that the rows name, by the name in the file: a digest, a path, a file's name with or without its ending.

    Raises :class:`InputError` where a name means no video or two.
    """
    named: dict[str, dict[str, Video]] = {}
    for video in videos:
        for name in {video.video, video.name, Path(video.name).stem, video.path} - {""}:
            named.setdefault(name, {})[video.video] = video
    unknown: dict[str, Row] = {}
    found: dict[str, Video] = {}
    for row in file.rows:
        fitting = named.get(row.video) or named.get(Path(row.video).name) or {}
        if len(fitting) > 1:
            raise InputError(
                f"--task {file.name}: {row.place}: {row.video!r} is the name of {len(fitting)} videos in the store; give the digest"
            )
        if not fitting:
            unknown.setdefault(row.video, row)
        else:
            found[row.video] = next(iter(fitting.values()))
    if unknown:
        first = next(iter(unknown.values()))
        near = did_you_mean(first.video, [video.name for video in videos])
        raise InputError(
            f"--task {file.name}: {first.place}: video {first.video!r} is not in the store, or was refused{near}; {len(unknown)} of "
            f"{len(unknown) + len(found)} videos are not; correct the names, or leave these rows out"
        )
    return found


def make_task(
    file: TaskFile,
    videos: Sequence[Video],
    material_of: Callable[[Video], Material],
    vocabulary: Vocabulary,
    options: FineTuningOptions,
    *,
    unseen: frozenset[str] = frozenset(),
) -> Task:
    """The task of a file on these videos. ``unseen``: videos that the model did not learn from; they are held out first.

    Raises :class:`InputError` for rows of unknown videos, a moment outside its video, videos in two splits, where nothing
    can be read of any row, and where the videos to learn from show one class alone.
    """
    named = match(file, videos)
    try:
        return _on_videos(file, named, material_of, vocabulary, options, unseen)
    except InputError as error:
        raise InputError(f"--task {file.name}: {error}") from error


def _on_videos(
    file: TaskFile,
    named: Mapping[str, Video],
    material_of: Callable[[Video], Material],
    vocabulary: Vocabulary,
    options: FineTuningOptions,
    unseen: frozenset[str],
) -> Task:
    of_video: dict[str, list[Row]] = {}
    for row in file.rows:
        of_video.setdefault(named[row.video].video, []).append(row)
    by_digest = {video.video: video for video in named.values()}
    where, notes = _split(of_video, by_digest, options, unseen)
    read = options.reads(file.kind)
    classes = tuple(sorted({label for row in file.rows for label in row.labels}))
    parts = {name: _Units(classes, vocabulary, read, options) for name in SPLIT_NAMES}
    starts: dict[str, np.ndarray] = {}
    empty = 0
    for digest, rows in of_video.items():
        material = material_of(by_digest[digest])
        starts[digest] = material.starts
        _check_inside(material, rows)
        part = parts[where[digest]]
        if file.kind == TOKEN:
            part.add_timeline(material, rows)
            continue
        if file.kind in (SPAN, DOCUMENT):
            whole = windows(material, options.window, options.stride)
            read_of = [w for w in whole if has_what_is_read(w, read)]
            if not read_of:
                empty += len(rows)
                continue
            add = part.add_question if file.kind == SPAN else part.add_whole
            for row in rows:
                add(material, row, read_of)
            continue
        moments = moments_at(material, [(row.start, row.end) for row in rows])
        for row, moment in zip(rows, moments, strict=True):
            if not has_what_is_read(moment, read) and not (file.kind == PAIR and read == TEXT_READ):
                empty += 1
                continue
            part.add_moment(material, row, moment)
    if empty:
        notes.append(f"left out: {empty} rows in whose time there is nothing of --read {read}")
    splits = {name: Split(tuple(part.units), tuple(part.windows), starts) for name, part in parts.items()}
    task = Task(file.kind, read, file.several, classes, splits, where, tuple(notes))
    _check_train(task)
    return task


def _target(row: Row, classes: Sequence[str]) -> np.ndarray:
    if not row.labels and not classes:
        return np.array([row.score])
    return np.array([float(name in row.labels) for name in classes])


@dataclasses.dataclass
class _Units:
    """The units of a split while they are gathered, and the windows that they are read in."""

    classes: Sequence[str]
    vocabulary: Vocabulary
    read: str
    options: FineTuningOptions
    units: list[Unit] = dataclasses.field(default_factory=list)
    windows: list[WindowUnits] = dataclasses.field(default_factory=list)

    def add_moment(self, material: Material, row: Row, moment: Segment) -> None:
        target = _target(row, self.classes)
        self.units.append(Unit(material.video.video, row.start, row.end, target, moment, row.text))

    def add_timeline(self, material: Material, rows: Sequence[Row]) -> None:
        """The clips (or words) of a video under the row that their middle lies in, each once, and its windows."""
        numbers: dict[tuple[float, float], int] = {}
        targets: list[np.ndarray] = []
        for window in windows(material, self.options.window, self.options.stride):
            tokens = token_units(self.vocabulary, material, window, self.read)
            asked = []
            for time, position in zip(tokens.times, tokens.positions, strict=True):
                row = next((row for row in rows if row.start <= sum(time) / 2 < row.end), None)
                if row is not None and time not in numbers:
                    numbers[time] = len(self.units) + len(targets)
                    targets.append(_target(row, self.classes))
                if row is not None:
                    asked.append((position, numbers[time]))
            if asked:
                positions, of_units = zip(*asked, strict=True)
                self.windows.append(WindowUnits(tokens.ids, tokens.types, positions, of_units))
        alone = moments_at(material, list(numbers))
        self.units += [
            Unit(material.video.video, *time, target, moment)
            for time, target, moment in zip(numbers, targets, alone, strict=True)
        ]

    def add_whole(self, material: Material, row: Row, read_of: Sequence[Segment]) -> None:
        """A video with its label, which all its windows are read for; the position of the summary is put in later."""
        for window in read_of:
            ids, types = moment_sequence(self.vocabulary, window, self.read)
            self.windows.append(WindowUnits(ids, types, (), (len(self.units),)))
        seconds = length_of(material)
        (whole,) = moments_at(material, [(0.0, seconds)])
        self.units.append(Unit(material.video.video, 0.0, seconds, _target(row, self.classes), whole))

    def add_question(self, material: Material, row: Row, read_of: Sequence[Segment]) -> None:
        """A question with the windows of its video, and where each of them holds the answer."""
        answer = answer_clips(material.starts, row.start, row.end)
        for window in read_of:
            ids, types = moment_sequence(self.vocabulary, window, self.read, row.text)
            positions = tuple(clip_positions(self.vocabulary, ids))
            clips = window.clips[: len(positions)]
            inside = [place for place, clip in enumerate(clips) if clip in answer]
            # A part of an answer too small to be told by counts as none.
            whole_enough = inside and 2 * len(inside) >= min(len(answer), len(clips))
            held = (inside[0], inside[-1]) if whole_enough else None
            if clips:
                self.windows.append(WindowUnits(ids, types, positions, (len(self.units),), clips, held))
        (whole,) = moments_at(material, [(0.0, length_of(material))])
        target = np.array([row.start, row.end])
        self.units.append(Unit(material.video.video, row.start, row.end, target, whole, row.text))


def answer_clips(starts: np.ndarray, start: float, end: float) -> set[int]:
    """The clips whose middle lies in an answer, or of a short one the clip that its own middle lies in."""
    middles = starts + CLIP_SECONDS / 2
    inside = np.flatnonzero((middles >= start) & (middles < end))
    if not len(inside) and end > start:
        inside = np.flatnonzero((starts <= (start + end) / 2) & ((start + end) / 2 < starts + CLIP_SECONDS))
    return set(inside.tolist())


def length_of(material: Material) -> float:
    """The second at which a video ends, as far as it is known."""
    ends = [material.video.seconds or 0.0, *(s.end for s in material.transcript.sentences[-1:])]
    return max([*ends, *(material.starts[-1:] + CLIP_SECONDS)])


def _check_inside(material: Material, rows: Sequence[Row]) -> None:
    seconds = length_of(material)
    for row in rows:
        if row.start < 0 or row.end > seconds + CLIP_SECONDS:
            raise InputError(
                f"{row.place}: {row.start:g} to {row.end:g} s lies outside {material.video.name}, which is {seconds:g} s long; "
                "correct it"
            )


def _check_train(task: Task) -> None:
    train = task.splits[TRAIN]
    if not train:
        raise InputError(
            f"no moment to learn from in which there is anything of --read {task.read}; read another part"
        )
    if task.kind in (SCORE, SPAN):
        return
    counts = np.sum([unit.target for unit in train.units], axis=0)
    if not task.several and (counts > 0).sum() < 2:
        (only,) = (name for name, count in zip(task.classes, counts, strict=True) if count)
        raise InputError(
            f"the videos to learn from have the label {only!r} alone; label moments of more videos"
        )


def _split(
    of_video: Mapping[str, Sequence[Row]],
    videos: Mapping[str, Video],
    options: FineTuningOptions,
    unseen: frozenset[str],
) -> tuple[dict[str, str], list[str]]:
    """The split of each video, and notes. A file that names splits decides; else videos are drawn, the unseen ones first."""
    given = {digest: Counter(row.split for row in rows) for digest, rows in of_video.items()}
    if any(any(counts) for counts in given.values()):
        for digest, counts in given.items():
            if len(counts) > 1:
                other = next(row for row in of_video[digest] if row.split != of_video[digest][0].split)
                raise InputError(
                    f"{other.place}: {videos[digest].name} is in two splits; a video is in one, as its moments resemble each other"
                )
        where = {digest: next(iter(counts)) or TRAIN for digest, counts in given.items()}
        if TRAIN not in where.values():
            raise InputError("no row has the split train; there is nothing to learn from")
        return where, []
    if len(of_video) < LEAST_TO_SPLIT or not options.held_out:
        reason = f"labels of {len(of_video)} videos" if options.held_out else "--held-out 0"
        return dict.fromkeys(of_video, TRAIN), [f"no figures: {reason}, so none is held out to judge by"]
    where = dict.fromkeys(of_video, TRAIN)
    order = sorted(of_video, key=lambda digest: (digest not in unseen, _drawn(digest, options.seed)))
    total = sum(map(len, of_video.values()))
    rest = _draw(where, order, of_video, TEST, options.held_out * total)
    if len(rest) >= LEAST_TO_SPLIT:
        _draw(where, rest, of_video, DEV, DEV_SHARE * options.held_out * total)
    known = sum(digest not in unseen for digest, name in where.items() if name == TEST)
    if known:
        count = sum(name == TEST for name in where.values())
        return where, [
            f"{known} of the {count} videos to judge by were in the pretraining, without these labels"
        ]
    return where, []


def _draw(
    where: dict[str, str], order: Sequence[str], of_video: Mapping[str, Sequence[Row]], name: str, rows: float
) -> list[str]:
    """Puts the first videos of ``order`` into the split, one at least, until they have so many rows; returns the others, one
    at least."""
    taken = 0
    for number, digest in enumerate(order[:-1]):
        if taken and taken >= rows:
            return list(order[number:])
        where[digest] = name
        taken += len(of_video[digest])
    return list(order[-1:])


def _drawn(digest: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {digest}".encode()).hexdigest()
