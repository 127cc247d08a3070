"""Clips: where the 1.5 s pieces of a video begin, and which instants their 30 frames show.

Clips are half-open intervals, `[start, start + 1.5)`, from the first frame on. A frame is sampled every 1/20 s.
The last, incomplete part of a video is a clip of its own where it lasts at least half a clip; its free places repeat
the last frame. A shorter rest is dropped, unless it is the whole video.

This module needs numpy alone, so that constants can be read without loading a decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision.errors import MediaError


def exact_div(dividend: float, divisor: float) -> int:
    """The quotient of two numbers that divide without remainder."""
    assert dividend % divisor == 0, f"{dividend} / {divisor} is not whole"
    return int(dividend // divisor)


FPS = 20
CLIP_SECONDS = 1.5
FRAMES_PER_CLIP = exact_div(FPS * CLIP_SECONDS, 1)
MIN_TAIL_SECONDS = CLIP_SECONDS / 2
SIDE = 224
"""Height and width of a clip's frames in pixels."""
TIME_TOLERANCE = 1e-6
"""Seconds within which two time stamps are equal: finer than any time base, coarser than rounding."""


@dataclass(frozen=True)
class Clip:
    """`frames`: uint8 [30, side, side, 3], RGB. `start`: seconds from the file's start.

    `repeated` of the frames stand in for frames that are past the end or cannot be decoded.
    """

    start: float
    frames: np.ndarray
    repeated: int


@dataclass(frozen=True)
class ReadReport:
    """The outcome of reading a video. `problems` holds one sentence for each thing that is missing.

    `notes`: what was left out on purpose.
    """

    clips: int
    decoded_seconds: float
    declared_seconds: float
    problems: tuple[str, ...]
    reader: str
    notes: tuple[str, ...] = ()


def clip_starts(start: float, end: float) -> np.ndarray:
    """float64 [n], n >= 1: the start seconds of the clips of a picture shown during [start, end).

    Raises MediaError where the span is not finite or ends before it starts.
    """
    if not (np.isfinite(start) and np.isfinite(end) and end >= start):
        raise MediaError(
            f"a picture from {start} s to {end} s has no clips: the end must not lie before the start"
        )
    whole, tail = divmod(end - start + TIME_TOLERANCE, CLIP_SECONDS)
    count = max(int(whole) + (tail >= MIN_TAIL_SECONDS), 1)
    return start + CLIP_SECONDS * np.arange(count)


def frame_times(starts: float | np.ndarray) -> np.ndarray:
    """float64 [..., 30]: the seconds at which the frames of the clips that begin at `starts` are sampled."""
    return np.add.outer(starts, np.arange(FRAMES_PER_CLIP) / FPS)
