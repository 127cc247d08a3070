"""Decodes the frames of a file's picture, found by time stamp: with PyAV, or with decord where that is asked for.

Both readers index frames by a `Timeline` read from the packets, so a frame has the same number and the same time
stamp in both, and both show the middle of the picture, upright and with square pixels. Their pixels agree within
MEAN_TOLERANCE grey levels on average over a frame: PyAV's planes are cut before they are scaled and scaled by means,
decord scales the whole frame to the short side 256 by a bicubic filter.

PyAV is the default because of what was measured (docs/log.md): at 720p it takes half of decord's time. decord may not
skip frames, as it loses count when it does, and it converts all of each frame. PyAV takes each packet with its
time stamp, so frames that nobody asked for and no other frame needs are passed over, and each frame that comes out is
known by its stamp. PyAV also reads what decord cannot, and takes over from it there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np

from vision.containers import MediaError
from vision.media import Media
from vision.pixels import SHORT_SIDE, SIDE, middle, scaled_size
from vision.timeline import TICK, Timeline, decode

MEAN_TOLERANCE = 4.0
READERS = ("pyav", "decord")
_DECORD_CONTAINERS = {"mov", "mp4", "matroska", "webm"}  # where its seek to the first frame is exact
_DECORD_LEAVES = {"av1"}


def _middle(frames: np.ndarray, side: int) -> np.ndarray:
    """[..., height, width, 3] cut to [..., side, side, 3]."""
    top, left = (frames.shape[-3] - side) // 2, (frames.shape[-2] - side) // 2
    return frames[..., top : top + side, left : left + side, :]


class Frames:
    """Frames by their number in a timeline, asked for in ascending order; the base of both readers.

    `missing` holds the numbers that could not be decoded, whose place the frame shown before them takes;
    `damage` the seconds at which packets could not be decoded.
    """

    name: str

    def __init__(self, media: Media, line: Timeline, side: int) -> None:
        self.media, self.line, self.side = media, line, side
        self.missing: set[int] = set()
        self.damage: list[float] = []
        self._last: tuple[int, np.ndarray] | None = None

    def read(self, numbers: Sequence[int]) -> np.ndarray:
        """uint8 [len(numbers), side, side, 3] RGB for ascending frame numbers, repeats allowed."""
        kept = self._last
        wanted = [n for n in dict.fromkeys(int(n) for n in numbers) if kept is None or n != kept[0]]
        images = {} if kept is None else {kept[0]: kept[1]}
        images |= zip(wanted, self._decode(wanted), strict=True) if wanted else {}
        self._last = int(numbers[-1]), images[int(numbers[-1])]
        return np.stack([images[int(n)] for n in numbers])

    def _decode(self, numbers: list[int]) -> np.ndarray | list[np.ndarray]:
        raise NotImplementedError


class DecordFrames(Frames):
    """decord, every frame in turn; raises MediaError where it cannot.

    Its skipping and seeking are not used: they lose count at open groups of pictures and return frames one off.
    """

    name = "decord"

    def __init__(self, media: Media, line: Timeline, side: int) -> None:
        super().__init__(media, line, side)
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        size = scaled_size(media.video, round(side * SHORT_SIDE / SIDE))
        width, height = (
            2 * round(length / 2 - side / 2) + side for length in size
        )  # the cut is right in the middle
        try:
            self._reader = decord.VideoReader(str(media.path), width=width, height=height, num_threads=1)
            own = self._reader.get_frame_timestamp(range(len(self._reader)))[:, 0]
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise MediaError(f"{media.path.name}: decord cannot open it") from error
        rebased = line.times - line.times[0]
        close = 1e-3 + 1e-6 * rebased[-1]  # decord's time stamps are float32
        if len(own) != len(rebased) or np.abs(own - rebased).max() > close:
            raise MediaError(f"{media.path.name}: decord sees other frames than the file holds")
        self._error, self._next = decord.DECORDError, 0

    def _decode(self, numbers: list[int]) -> list[np.ndarray]:
        kept = []
        for number in numbers:
            while self._next <= number:
                frame = self._step()
            kept.append(np.ascontiguousarray(_middle(frame.asnumpy(), self.side)))
        return kept

    def _step(self) -> Any:
        try:
            frame = self._reader.next()
        except (self._error, RuntimeError, StopIteration) as error:
            second = self.line.times[self._next]
            raise MediaError(f"{self.media.path.name}: decord cannot decode at {second:.2f} s") from error
        self._next += 1
        return frame


class PyAVFrames(Frames):
    """PyAV; walks the file forward and keeps the frame on display.

    `numbers`, where given, are all that will be asked for. Frames beside them are passed over; should one that is asked
    for not come out then, the walk begins anew and passes over none.
    """

    name = "pyav"

    def __init__(self, media: Media, line: Timeline, side: int, numbers: np.ndarray | None = None) -> None:
        super().__init__(media, line, side)
        self._begin(line.times[np.unique(numbers)] if numbers is not None and line.plain else None)

    def _begin(self, wanted: np.ndarray | None) -> None:
        self._passes_over = wanted is not None
        self._walk = self._frames(wanted)
        self._shown: tuple[av.VideoFrame, float] | None = None
        self._ahead: tuple[av.VideoFrame, float] | None = None
        self.damage.clear()

    def _frames(self, wanted: np.ndarray | None) -> Iterator[tuple[av.VideoFrame, float]]:
        for frame, seconds in decode(self.media, None, wanted):
            if frame is None or frame.is_corrupt:
                self.damage.append(seconds)
            if frame is not None:
                yield frame, seconds

    def _decode(self, numbers: list[int]) -> list[np.ndarray]:
        return [self._at(number) for number in numbers]

    def _at(self, number: int) -> np.ndarray:
        wanted = self.line.times[number]
        if self._shown is None:
            self._shown = self._ahead = next(self._walk, None)
        while self._ahead is not None and self._ahead[1] <= wanted + TICK:
            self._shown, self._ahead = self._ahead, next(self._walk, None)
        if self._passes_over and (self._shown is None or abs(self._shown[1] - wanted) > TICK):
            self._begin(None)
            return self._at(number)
        if self._shown is None:
            raise MediaError(f"{self.media.path.name}: no frame of its picture can be decoded")
        frame, seconds = self._shown
        if abs(seconds - wanted) > TICK:
            self.missing.add(number)
        return middle(frame, self.media.video, self.side)


def open_frames(
    media: Media, line: Timeline, side: int, reader: str, numbers: np.ndarray | None = None
) -> Frames:
    """The reader called `reader`; PyAV in place of decord where that cannot be trusted with the file.

    `numbers`, where given, are all that will be asked for.
    """
    if reader not in READERS:
        raise MediaError(f"reader {reader!r} is not known: choose one of {', '.join(READERS)}")
    if reader == "decord" and _suits_decord(media, line):
        with contextlib.suppress(MediaError, ImportError):
            return DecordFrames(media, line, side)
    return PyAVFrames(media, line, side, numbers)


def _suits_decord(media: Media, line: Timeline) -> bool:
    """Several video streams are left to PyAV because decord chooses among them by a rule of its own."""
    known = bool(set(media.container.split(",")) & _DECORD_CONTAINERS)
    return known and line.plain and media.video.streams == 1 and media.video.codec not in _DECORD_LEAVES
