"""Reading a video: its clips in constant memory, and single frames for people.

PyAV and OpenCV are imported where a video is read, not with this module: a command that only lists the readers need not
wait for them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vision.clips import (
    CLIP_SECONDS,
    FRAMES_PER_CLIP,
    SIDE,
    TIME_TOLERANCE,
    Clip,
    ReadReport,
    clip_starts,
    frame_times,
)
from vision.errors import MediaError

if TYPE_CHECKING:
    from vision.frames import Frames
    from vision.media import Media
    from vision.timeline import Timeline

READERS = ("pyav", "decord")
HELD_SECONDS = 60.0
"""Of a picture that stands still in the file itself, one frame for minutes, so much is read. A talk over a slide is filmed
frame by frame and is read whole."""
LATE_IMPORTS = ("vision.frames", "vision.timeline")
"""The modules that the functions here import when they read a video."""
MAX_SHORTFALL_SECONDS = 0.5
"""A file that holds this much less than it declares is reported."""


def read_clips(
    media: Media | Path | str, *, side: int = SIDE, reader: str = READERS[0]
) -> Generator[Clip, None, ReadReport]:
    """Yields the clips of a video one by one, in constant memory, and returns a ReadReport.

    `reader` is one of READERS. PyAV takes over where decord cannot read a file; the report names the reader that did.
    A clip of which more than half the frames cannot be decoded is left out and reported. A clip of which more than half
    lies where nothing was recorded is left out, and so is one in which no frame begins for HELD_SECONDS before its end.
    Raises MediaError for an unknown reader, and where there is no picture or none of it can be decoded.
    """
    from vision.frames import PyAVFrames, open_frames
    from vision.media import Media, probe
    from vision.timeline import read_timeline

    if reader not in READERS:
        raise MediaError(f"reader {reader!r} is not known: choose one of {', '.join(READERS)}")
    if not isinstance(media, Media):
        media = probe(media)
    timeline = read_timeline(media)
    starts = clip_starts(float(timeline.times[0]), timeline.end)
    # The frame on display at a time is the last one whose time stamp is not later.
    times_NT = frame_times(starts)
    recorded_N = ~(_in_holes(times_NT, media.clock.holes).mean(1) > 0.5)
    starts, times_NT = starts[recorded_N], times_NT[recorded_N]
    indices_NT = np.searchsorted(timeline.times, times_NT + TIME_TOLERANCE, side="right") - 1
    # A file of a few bytes could show one frame for hours, and each clip costs as much as any other.
    shown_N = starts + CLIP_SECONDS - timeline.times[indices_NT[:, -1].clip(0)]
    held_N = (indices_NT[:, 0] == indices_NT[:, -1]) & (shown_N > HELD_SECONDS)
    held = starts[held_N]
    starts, times_NT, indices_NT = starts[~held_N], times_NT[~held_N], indices_NT[~held_N]
    frames = open_frames(media, timeline, side, reader, indices_NT)
    skipped: list[float] = []
    clips, last_index = 0, 0
    for start, times_T, indices_T in zip(starts, times_NT, indices_NT, strict=True):
        try:
            images = frames.read(indices_T)
        except MediaError:
            if isinstance(frames, PyAVFrames):
                raise
            # decord gave up within the file: PyAV reads this clip and the rest.
            frames = PyAVFrames(media, timeline, side, indices_NT)
            images = frames.read(indices_T)
        missing_T = np.isin(indices_T, list(frames.missing))
        if missing_T.sum() * 2 > FRAMES_PER_CLIP:
            skipped.append(float(start))
            continue
        clips, last_index = clips + 1, int(indices_T[~missing_T][-1])
        past_end_T = times_T >= timeline.end - TIME_TOLERANCE
        yield Clip(float(start), images, int((missing_T | past_end_T).sum()))
    if not clips:
        raise MediaError(f"{media.path.name}: too little of its picture can be decoded for one clip")
    # With clips skipped at the end, the picture ends where the frame after the last good one would have been shown.
    ends_early = skipped and last_index + 1 < len(timeline.times)
    end = float(timeline.times[last_index + 1]) if ends_early else timeline.end
    problems = (
        *_damage(frames.damage),
        *_undecoded(frames, timeline),
        *_skipped(skipped),
        *_shortfall(media, timeline, end),
    )
    length = end - float(timeline.times[0])
    return ReadReport(clips, length, media.video.duration, problems, frames.name, tuple(_held(held)))


def _in_holes(times_NT: np.ndarray, holes: Sequence[tuple[float, float]]) -> np.ndarray:
    """bool [N, T]: the instants at which nothing was recorded, so that no frame of before may stand in."""
    inside = [(times_NT >= start) & (times_NT < end) for start, end in holes]
    return np.any(inside, axis=0) if inside else np.zeros(times_NT.shape, bool)


def _held(starts: np.ndarray) -> Iterator[str]:
    if len(starts):
        yield (
            f"picture: one frame stands for more than {HELD_SECONDS:.0f} s, so {len(starts)} clips are left out, the first at "
            f"{starts[0]:.1f} s"
        )


def _damage(seconds: list[float]) -> Iterator[str]:
    if seconds:
        few = ", ".join(f"{second:.2f}" for second in seconds[:3])
        yield f"picture: damaged at second {few}{' and on' if len(seconds) > 3 else ''} ({len(seconds)} places)"


def _undecoded(frames: Frames, timeline: Timeline) -> Iterator[str]:
    """Frames that never come out though no packet is damaged, such as those before the first key frame."""
    if frames.missing and not frames.damage:
        first = timeline.times[min(frames.missing)]
        yield f"picture: {len(frames.missing)} frames do not decode, the first at {first:.2f} s: others stand in"


def _skipped(starts: list[float]) -> Iterator[str]:
    if starts:
        yield f"picture: {len(starts)} clips cannot be decoded, the first at {starts[0]:.2f} s"


def _shortfall(media: Media, timeline: Timeline, end: float) -> Iterator[str]:
    """A picture that ends earlier than declared, as in a download that was cut off.

    A picture that ends while the file's sound goes on is shorter than the sound, not cut off.
    """
    start, declared_end = media.video.start, media.video.start + media.video.duration
    lasts_to_the_end = declared_end > media.start + media.duration - TIME_TOLERANCE
    held_end = max(end, timeline.file_end) if lasts_to_the_end else end
    if declared_end - held_end > MAX_SHORTFALL_SECONDS:
        yield (
            f"picture: {declared_end - held_end:.1f} s are missing at the end: "
            f"the file declares {declared_end - start:.1f} s and holds {held_end - start:.1f} s"
        )


def frame_at(media: Media | Path | str, seconds: float, *, short_side: int = SIDE) -> np.ndarray:
    """uint8 [height, width, 3] RGB: the whole frame on display at `seconds`, for people to look at.

    Before the first frame it is the first, after the last the last. Raises MediaError where no frame can be decoded.
    """
    from vision.media import Media, probe
    from vision.pixels import to_display_orientation
    from vision.timeline import decode

    if not isinstance(media, Media):
        media = probe(media, holes=False)
    if media.video is None:
        raise MediaError(f"{media.path.name}: holds no picture")
    if not np.isfinite(seconds):
        raise MediaError(f"{media.path.name}: second {seconds} is not a time")
    # Seeking may land after the frame that is on display, or on nothing; then the file is decoded from its start.
    for seek_to in (seconds, None):
        shown = None
        for frame, second in decode(media, seek_to):
            is_later = second > seconds + TIME_TOLERANCE
            if is_later and (shown is not None or seek_to is not None):
                break
            shown = shown if frame is None else frame
            if is_later and shown is not None:
                break  # the first frame of all is later: it stands in
        if shown is not None:
            return np.ascontiguousarray(to_display_orientation(shown, media.video, short_side))
    raise MediaError(f"{media.path.name}: no frame of its picture can be decoded")
