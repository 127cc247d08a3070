"""Frame readers: the frames of a video by their index in its timeline, decoded by PyAV or by decord.

Both readers index frames by a `Timeline`, so a frame has the same index and time in both, and both give the centre crop
of the picture as displayed. Their pixels agree within MEAN_TOLERANCE grey levels on average over a frame: PyAV's planes
are cropped before they are scaled, by means; decord scales the whole frame to a short side of 256 with a bicubic
filter.

PyAV is the default because of what was measured (docs/decisions.md): at 720p it takes half of decord's time. decord must
decode every frame in turn, since it loses count where it skips or seeks, and it converts each frame in full. PyAV gives
each frame with its time stamp, so frames that are neither sampled nor referenced by others are skipped safely.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np

from vision.clips import SIDE, TIME_TOLERANCE
from vision.errors import MediaError
from vision.media import Media
from vision.pixels import SHORT_SIDE, center_crop, scaled_size
from vision.timeline import Timeline, decode

MEAN_TOLERANCE = 4.0
_DECORD_CONTAINERS = {"mov", "mp4", "matroska", "webm"}
"""Where decord's seek to the first frame is exact."""
_DECORD_UNSUPPORTED = {"av1"}


class Frames:
    """Frames by index in a timeline, read in ascending order; the base of both readers.

    `missing`: the indices of frames that could not be decoded, which the frame before them replaces.
    `damage`: the seconds at which packets could not be decoded.
    """

    name: str

    def __init__(self, media: Media, timeline: Timeline, side: int) -> None:
        self.media, self.timeline, self.side = media, timeline, side
        self.missing: set[int] = set()
        self.damage: list[float] = []
        self._last: tuple[int, np.ndarray] | None = None

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """uint8 [len(indices), side, side, 3] RGB of ascending frame indices, repeats allowed.

        Raises MediaError where the reader cannot go on.
        """
        # A slow video shows one frame at many of the sampled times, and the last frame of a clip may be the first of
        # the next: each is decoded once.
        images = {} if self._last is None else {self._last[0]: self._last[1]}
        new = [index for index in dict.fromkeys(map(int, indices)) if index not in images]
        if new:
            images.update(zip(new, self._decode(new), strict=True))
        last = int(indices[-1])
        self._last = last, images[last]
        return np.stack([images[int(index)] for index in indices])

    def _decode(self, indices: list[int]) -> list[np.ndarray]:
        raise NotImplementedError


class DecordFrames(Frames):
    """decord, every frame in turn. Raises MediaError for a file that it cannot open or counts differently.

    Its skipping and seeking are not used: they lose count at open groups of pictures and return frames one off.
    """

    name = "decord"

    def __init__(self, media: Media, timeline: Timeline, side: int) -> None:
        super().__init__(media, timeline, side)
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        # Rounded so that the margins on both sides of the crop are whole and equal.
        size = scaled_size(media.video, round(side * SHORT_SIDE / SIDE))
        width, height = (2 * round(length / 2 - side / 2) + side for length in size)
        try:
            self._reader = decord.VideoReader(str(media.path), width=width, height=height, num_threads=1)
            own_times = self._reader.get_frame_timestamp(range(len(self._reader)))[:, 0]
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise MediaError(f"{media.path.name}: decord cannot open it") from error
        # decord's time stamps are float32 and start at 0.
        times = timeline.times - timeline.times[0]
        tolerance = 1e-3 + 1e-6 * times[-1]
        if len(own_times) != len(times) or np.abs(own_times - times).max() > tolerance:
            raise MediaError(f"{media.path.name}: decord sees other frames than the file holds")
        self._error, self._next = decord.DECORDError, 0

    def _decode(self, indices: list[int]) -> list[np.ndarray]:
        images = []
        for index in indices:
            while self._next <= index:
                frame = self._step()
            image = frame.asnumpy()
            top, left = (image.shape[0] - self.side) // 2, (image.shape[1] - self.side) // 2
            images.append(np.ascontiguousarray(image[top : top + self.side, left : left + self.side]))
        return images

    def _step(self) -> Any:
        try:
            frame = self._reader.next()
        except (self._error, RuntimeError, StopIteration) as error:
            second = self.timeline.times[self._next]
            raise MediaError(f"{self.media.path.name}: decord cannot decode at {second:.2f} s") from error
        self._next += 1
        return frame


class PyAVFrames(Frames):
    """PyAV, one pass forward through the file that keeps the frame on display.

    `indices`, where given, are all that will be read. The decoder may then skip the frames beside them. Should a frame
    that is read not come out, the pass starts anew and skips none.
    """

    name = "pyav"

    def __init__(
        self, media: Media, timeline: Timeline, side: int, indices: np.ndarray | None = None
    ) -> None:
        super().__init__(media, timeline, side)
        may_skip = indices is not None and timeline.is_regular
        self._restart(timeline.times[np.unique(indices)] if may_skip else None)

    def _restart(self, wanted: np.ndarray | None) -> None:
        self._skips = wanted is not None
        self._decoded = self._frames(wanted)
        self._current: tuple[av.VideoFrame, float] | None = None
        self._next: tuple[av.VideoFrame, float] | None = None
        self.damage.clear()

    def _frames(self, wanted: np.ndarray | None) -> Iterator[tuple[av.VideoFrame, float]]:
        for frame, seconds in decode(self.media, None, wanted):
            if frame is None or frame.is_corrupt:
                self.damage.append(seconds)
            if frame is not None:
                yield frame, seconds

    def _decode(self, indices: list[int]) -> list[np.ndarray]:
        return [self._image(index) for index in indices]

    def _image(self, index: int) -> np.ndarray:
        time = self.timeline.times[index]
        if self._current is None:
            self._current = self._next = next(self._decoded, None)
        # A frame is on display until the next one is due, so one frame of look-ahead decides.
        while self._next is not None and self._next[1] <= time + TIME_TOLERANCE:
            self._current, self._next = self._next, next(self._decoded, None)
        found = self._current is not None and abs(self._current[1] - time) <= TIME_TOLERANCE
        if self._skips and not found:
            # Skipping may have cost a frame that damage made others depend on. A pass that skips nothing tells what
            # is really missing.
            self._restart(None)
            return self._image(index)
        if self._current is None:
            raise MediaError(f"{self.media.path.name}: no frame of its picture can be decoded")
        if not found:
            self.missing.add(index)
        return center_crop(self._current[0], self.media.video, self.side)


def open_frames(
    media: Media, timeline: Timeline, side: int, reader: str, indices: np.ndarray | None = None
) -> Frames:
    """The frames by `reader`, one of `vision.readers.READERS`; PyAV's where decord cannot be trusted with the file.

    `indices`, where given, are all that will be read.
    """
    if reader == "decord" and _suits_decord(media, timeline):
        with contextlib.suppress(MediaError, ImportError):
            return DecordFrames(media, timeline, side)
    return PyAVFrames(media, timeline, side, indices)


def _suits_decord(media: Media, timeline: Timeline) -> bool:
    """False where decord would choose another video stream, cannot decode the codec, or would count frames wrong."""
    container_is_known = bool(set(media.container.split(",")) & _DECORD_CONTAINERS)
    return (
        container_is_known
        and timeline.is_regular
        and media.video.streams == 1
        and media.video.codec not in _DECORD_UNSUPPORTED
        and not media.video.hdr
    )
