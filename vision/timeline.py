"""When each frame of a file's picture is shown, by the time stamps of its packets; and the walk that decodes them.

Seconds are those of the container's own timeline.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np

from vision.containers import MediaError, open_container
from vision.media import MAX_FRAMES, MAX_SECONDS, Media, VideoStream

HOLE_SECONDS = 0.5  # packets further apart than they claim to last may have lost some between them
TICK = 1e-6  # time stamps are compared to this many seconds: finer than any time base, coarser than rounding


@dataclass(frozen=True)
class Timeline:
    """When each frame is shown: `times` float64 [n] ascending, seconds on the container's timeline; `end`.

    `file_end` is where the last packet of any stream ends. `plain` is False where a reader that counts or passes over
    packets would go wrong or would not tell: hidden packets, missing time stamps, a first packet that is no key frame,
    holes.
    """

    times: np.ndarray
    end: float
    file_end: float
    plain: bool


def read_timeline(media: Media) -> Timeline:
    """The timeline of the picture from its packets, without decoding (with, where packets carry no times).

    Raises MediaError where there is no picture, it has no frame, or too many, or spans too long a time.
    """
    if media.video is None:
        raise MediaError(f"{media.path.name}: holds no picture")
    stamps, spans, plain, file_end, timed = [], [], True, 0.0, True
    with open_container(media.path) as container:
        picture = container.streams[media.video.index]
        with contextlib.suppress(av.FFmpegError):
            for packet in container.demux(picture, *container.streams.audio):
                if packet.size == 0:
                    continue
                if packet.pts is not None:
                    file_end = max(file_end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream.index != picture.index:
                    continue
                plain = plain and (bool(stamps) or packet.is_keyframe) and not packet.is_discard
                if packet.is_discard:
                    continue
                if len(stamps) == MAX_FRAMES:
                    raise MediaError(
                        f"{media.path.name}: the picture has more than {MAX_FRAMES} frames: too large, no more are admitted"
                    )
                timed = timed and packet.pts is not None
                stamps.append(packet.pts if packet.pts is not None else 0)
                spans.append(packet.duration or 0)
        base = float(picture.time_base)
    if not timed or decodes_first(media):
        return _decoded_timeline(media)
    if not stamps:
        raise MediaError(f"{media.path.name}: its picture has no frame")
    order = np.argsort(stamps, kind="stable")
    ticks, spans = np.asarray(stamps)[order], np.asarray(spans)[order]
    holes = (ticks[1:] - ticks[:-1] - spans[:-1]) * base > HOLE_SECONDS
    last = int(spans[-1]) * base or _usual_step(media.video, ticks * base)
    line = Timeline(
        np.unique(ticks) * base, float(ticks[-1] * base + last), file_end, plain and not holes.any()
    )
    return _checked(media, line)


def decodes_first(media: Media) -> bool:
    """Whether all of the picture is decoded before the first frame is given: AVI's own time stamps are wrong."""
    return media.container == "avi"


def _usual_step(video: VideoStream, times: np.ndarray) -> float:
    if video.average_rate:
        return 1 / video.average_rate
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def _decoded_timeline(media: Media) -> Timeline:
    """For files whose packets carry no time stamps, or wrong ones: those that the decoder works out."""
    times = [seconds for frame, seconds in decode(media, None) if frame is not None]
    if not times:
        raise MediaError(f"{media.path.name}: no frame of its picture can be decoded")
    end = times[-1] + _usual_step(media.video, np.asarray(times))
    return _checked(media, Timeline(np.unique(times), end, end, False))


def _checked(media: Media, line: Timeline) -> Timeline:
    if line.end - line.times[0] > MAX_SECONDS:
        raise MediaError(
            f"{media.path.name}: the picture spans {line.end - line.times[0]:.0f} s: "
            f"at most {MAX_SECONDS:.0f} s are admitted"
        )
    return line


def decode(
    media: Media, seconds: float | None, wanted: np.ndarray | None = None
) -> Iterator[tuple[av.VideoFrame | None, float]]:
    """Each frame with the second at which it is shown, never before the last; None where a packet is damaged.

    With `seconds`, starts at the key frame before it where the container can seek. With `wanted`, times, frames shown
    at other times are left out where no frame is made from them; the others stay the same to the bit.
    """
    with open_container(media.path) as container:
        stream = container.streams[media.video.index]
        context = stream.codec_context
        context.thread_count = 1
        if seconds is not None:
            container.seek(int(seconds / stream.time_base), stream=stream, backward=True)
        stamps = None if wanted is None else {round(time / stream.time_base) for time in wanted}
        packets, shown = container.demux(stream), float("-inf")
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                return
            if packet is None:
                return
            if stamps is not None:
                context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in stamps else "NONREF"
            try:
                frames = packet.decode()
            except av.FFmpegError:
                yield None, media.video.start if packet.pts is None else float(packet.pts * packet.time_base)
                continue
            for frame in frames:
                if frame.time is not None:
                    shown = max(shown, frame.time)
                else:
                    shown = (
                        media.video.start
                        if np.isinf(shown)
                        else shown + _usual_step(media.video, np.empty(0))
                    )
                yield frame, shown
