"""Cuts a video into clips of 1.5 s: 30 frames at 20 per second, each the frame on display at its time.

Clips are half-open, `[start, start + 1.5)`, from the first frame on. The tail: a last part of at least half a
clip is kept, its free places filled with its last frame; a shorter one is dropped, unless it is the whole video.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vision.containers import MediaError
from vision.media import Media, probe
from vision.pixels import SIDE, upright
from vision.readers import Frames, PyAVFrames, open_frames
from vision.timeline import TICK, Timeline, decode, read_timeline


def exact_div(dividend: float, divisor: float) -> int:
    """The quotient of two numbers that divide without remainder."""
    assert dividend % divisor == 0, f"{dividend} / {divisor} is not whole"
    return int(dividend // divisor)


FPS = 20
CLIP_SECONDS = 1.5
FRAMES_PER_CLIP = exact_div(FPS * CLIP_SECONDS, 1)
LEAST_TAIL_SECONDS = CLIP_SECONDS / 2
SHORTFALL_SECONDS = 0.5  # a file that holds this much less than it declares is reported


@dataclass(frozen=True)
class Clip:
    """`frames` uint8 [30, side, side, 3] RGB from `start` seconds on the container's timeline.

    `repeated` of them stand in for frames that are not there: past the end, or not decodable.
    """

    start: float
    frames: np.ndarray
    repeated: int


@dataclass(frozen=True)
class ReadReport:
    """What reading a video came to: `problems` holds one sentence for each thing that is missing."""

    clips: int
    decoded_seconds: float
    declared_seconds: float
    problems: tuple[str, ...]
    reader: str


def clip_starts(start: float, end: float) -> np.ndarray:
    """float64 [n]: the start seconds of the clips of a picture shown during [start, end); n >= 1."""
    if not (np.isfinite(start) and np.isfinite(end) and end >= start):
        raise MediaError(
            f"a picture from {start} s to {end} s has no clips: the end must not lie before the start"
        )
    whole, tail = divmod(end - start + TICK, CLIP_SECONDS)
    count = max(int(whole) + (tail >= LEAST_TAIL_SECONDS), 1)
    return start + CLIP_SECONDS * np.arange(count)


def read_clips(
    media: Media | Path | str, *, side: int = SIDE, reader: str = "pyav"
) -> Generator[Clip, None, ReadReport]:
    """Yields the clips of a video one by one, in constant memory, and returns a ReadReport.

    `reader` is `pyav` or `decord`, from whom PyAV takes over where decord gives up; the report names who read.
    A clip of which more than half the frames cannot be decoded is left out and reported.
    Raises MediaError where there is no picture or none of it can be decoded.
    """
    if not isinstance(media, Media):
        media = probe(media)
    line = read_timeline(media)
    starts = clip_starts(float(line.times[0]), line.end)
    shown = _numbers(line, starts)
    frames = open_frames(media, line, side, reader, shown)
    left_out: list[float] = []
    clips, last = 0, 0
    for start, numbers in zip(starts, shown, strict=True):
        try:
            images = frames.read(numbers)
        except MediaError:
            if isinstance(frames, PyAVFrames):
                raise
            frames = PyAVFrames(media, line, side, shown)
            images = frames.read(numbers)
        absent = np.isin(numbers, list(frames.missing))
        if absent.sum() * 2 > FRAMES_PER_CLIP:
            left_out.append(float(start))
            continue
        clips, last = clips + 1, int(numbers[~absent][-1])
        yield Clip(float(start), images, int((absent | (_targets(start) >= line.end - TICK)).sum()))
    if not clips:
        raise MediaError(f"{media.path.name}: too little of its picture can be decoded for one clip")
    end = line.end if last + 1 == len(line.times) or not left_out else float(line.times[last + 1])
    problems = (
        *_damage(frames.damage),
        *_undecoded(frames, line),
        *_left_out(left_out),
        *_shortfall(media, line, end),
    )
    declared = media.video.duration
    return ReadReport(clips, end - float(line.times[0]), declared, problems, frames.name)


def _targets(start: float | np.ndarray) -> np.ndarray:
    """The seconds whose frames make a clip."""
    return np.add.outer(start, np.arange(FRAMES_PER_CLIP) / FPS)


def _numbers(line: Timeline, starts: np.ndarray) -> np.ndarray:
    """int64 [clips, 30]: the numbers of the frames on display at each clip's times."""
    return np.searchsorted(line.times, _targets(starts) + TICK, side="right") - 1


def _damage(seconds: list[float]) -> Iterator[str]:
    if seconds:
        few = ", ".join(f"{second:.2f}" for second in seconds[:3])
        yield f"picture: damaged at second {few}{' and on' if len(seconds) > 3 else ''} ({len(seconds)} places)"


def _undecoded(frames: Frames, line: Timeline) -> Iterator[str]:
    """Frames that never come though no packet is damaged, such as those before the first key frame."""
    if frames.missing and not frames.damage:
        first = line.times[min(frames.missing)]
        yield f"picture: {len(frames.missing)} frames do not decode, the first at {first:.2f} s: others stand in"


def _left_out(starts: list[float]) -> Iterator[str]:
    if starts:
        yield f"picture: {len(starts)} clips cannot be decoded, the first at {starts[0]:.2f} s"


def _shortfall(media: Media, line: Timeline, end: float) -> Iterator[str]:
    """A picture that ends before a file that goes on is shorter than its sound, not cut off."""
    declared = media.video.start + media.video.duration
    held = max(end, line.file_end) if declared > media.start + media.duration - TICK else end
    if declared - held > SHORTFALL_SECONDS:
        yield (
            f"picture: {declared - held:.1f} s are missing at the end: "
            f"the file declares {declared - media.video.start:.1f} s and holds {held - media.video.start:.1f} s"
        )


def frame_at(media: Media | Path | str, seconds: float, *, short_side: int = SIDE) -> np.ndarray:
    """uint8 [height, width, 3] RGB: the whole frame on display at `seconds`, as shown, for pictures.

    Before the first frame it is the first, after the last the last. Raises MediaError where none can be decoded.
    """
    if not isinstance(media, Media):
        media = probe(media)
    if media.video is None:
        raise MediaError(f"{media.path.name}: holds no picture")
    if not np.isfinite(seconds):
        raise MediaError(f"{media.path.name}: second {seconds} is not a time")
    for begin in (seconds, None):
        shown = None
        for frame, second in decode(media, begin):
            late = second > seconds + TICK
            if late and (shown is not None or begin is not None):
                break
            shown = shown if frame is None else frame
            if late and shown is not None:
                break
        if shown is not None:
            return np.ascontiguousarray(upright(shown, media.video, short_side))
    raise MediaError(f"{media.path.name}: no frame of its picture can be decoded")
