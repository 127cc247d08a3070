"""Timelines: when each frame of a video is shown, by its packets' time stamps; and the decoding of frames in that order.

Seconds are from the file's start, by its clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np

from vision.clock import Clock
from vision.errors import MediaError
from vision.media import MAX_FRAMES, MAX_SECONDS, Media, VideoStream, open_container

GAP_SECONDS = 0.5
"""Between packets further apart than they claim to last, frames may have been lost."""


@dataclass(frozen=True)
class Timeline:
    """When each frame is shown.

    `times`: float64 [n], ascending seconds from the file's start. `end`: the second at which the last frame ends.
    `file_end`: the second at which the last packet of any stream ends.
    `is_regular`: False where a reader that counts or skips packets would give other frames unnoticed: hidden packets,
    absent time stamps, a first packet that is no key frame, gaps.
    """

    times: np.ndarray
    end: float
    file_end: float
    is_regular: bool


def read_timeline(media: Media) -> Timeline:
    """The timeline of the picture, read from its packets without decoding (with decoding, where they have no times).

    Raises MediaError where there is no picture, it has no frame or too many, or it spans too long a time.
    """
    if media.video is None:
        raise MediaError(f"{media.path.name}: holds no picture")
    stamps: list[int] = []
    durations: list[int] = []
    is_regular, all_timed, file_end = True, True, 0.0
    with open_container(media.path) as container:
        picture = container.streams[media.video.index]
        # A file that is cut off ends in an error: what came before it counts.
        with contextlib.suppress(av.FFmpegError):
            for packet in media.clock.packets(container, picture, *container.streams.audio):
                if packet.size == 0:  # the flush at the end
                    continue
                if packet.pts is not None:
                    file_end = max(file_end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream.index != picture.index:
                    continue
                starts_well = bool(stamps) or packet.is_keyframe
                is_regular = is_regular and starts_well and not packet.is_discard
                if packet.is_discard:  # an edit list hides it
                    continue
                if len(stamps) == MAX_FRAMES:
                    raise MediaError(
                        f"{media.path.name}: the picture has more than {MAX_FRAMES} frames: too large, no more are admitted"
                    )
                all_timed = all_timed and packet.pts is not None
                stamps.append(packet.pts if packet.pts is not None else 0)
                durations.append(packet.duration or 0)
        time_base = float(picture.time_base)
    if not all_timed or needs_decoding(media):
        return _decoded_timeline(media)
    if not stamps:
        raise MediaError(f"{media.path.name}: its picture has no frame")
    # Packets come in the order in which they are decoded; B-frames are shown in another.
    order = np.argsort(stamps, kind="stable")
    ticks, spans = np.asarray(stamps)[order], np.asarray(durations)[order]
    gaps = (ticks[1:] - ticks[:-1] - spans[:-1]) * time_base > GAP_SECONDS
    last_duration = int(spans[-1]) * time_base or _frame_duration(media.video, ticks * time_base)
    timeline = Timeline(
        np.unique(ticks) * time_base,
        float(ticks[-1] * time_base + last_duration),
        file_end,
        is_regular and not gaps.any() and media.clock == Clock(),
    )
    return _within_limits(media, timeline)


def needs_decoding(media: Media) -> bool:
    """True for AVI, whose time stamps are wrong: its timeline is known only when all of the picture is decoded."""
    return media.container == "avi"


def _frame_duration(video: VideoStream, times: np.ndarray) -> float:
    """Seconds that a frame is usually shown."""
    if video.average_rate:
        return 1 / video.average_rate
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def _decoded_timeline(media: Media) -> Timeline:
    """The timeline by the decoder's time stamps, for packets without time stamps or with wrong ones."""
    times = [seconds for frame, seconds in decode(media, None) if frame is not None]
    if not times:
        raise MediaError(f"{media.path.name}: no frame of its picture can be decoded")
    end = times[-1] + _frame_duration(media.video, np.asarray(times))
    return _within_limits(media, Timeline(np.unique(times), end, end, False))


def _within_limits(media: Media, timeline: Timeline) -> Timeline:
    span = timeline.end - timeline.times[0]
    if span > MAX_SECONDS:
        raise MediaError(
            f"{media.path.name}: the picture spans {span:.0f} s: at most {MAX_SECONDS:.0f} s are admitted"
        )
    return timeline


def decode(
    media: Media, start: float | None, wanted: np.ndarray | None = None
) -> Iterator[tuple[av.VideoFrame | None, float]]:
    """Yields each frame and the second at which it is shown, in ascending order; None where a packet is damaged.

    `start`: seconds; decoding begins at the key frame before it where the container can seek.
    `wanted`: float64 [n], times; frames shown at other times are left out unless other frames are predicted from them.
    The frames that come out are the same to the bit, unless the file is damaged: what hides the damage may then differ.
    """
    with open_container(media.path) as container:
        stream = container.streams[media.video.index]
        context = stream.codec_context
        # One thread: with more, frames come out later than their packets went in, and a damaged one cannot be placed.
        context.thread_count = 1
        # A time may occur twice where the clock leaps, so there is no seeking then.
        if start is not None and not media.clock.leaps:
            container.seek(int((start + media.clock.origin) / stream.time_base), stream=stream, backward=True)
        # Times came from the packets' integer stamps, so rounding gives these back exactly.
        stamps = None if wanted is None else {round(time / stream.time_base) for time in wanted}
        packets, shown = media.clock.packets(container, stream), float("-inf")
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:  # the file is cut off here
                return
            if packet is None:
                return
            if stamps is not None:
                # NONREF skips the packet only where no other frame is predicted from it.
                is_wanted = packet.pts is None or packet.pts in stamps
                context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
            try:
                frames = packet.decode()
            except av.FFmpegError:
                yield None, media.video.start if packet.pts is None else float(packet.pts * packet.time_base)
                continue
            for frame in frames:
                if frame.time is not None:
                    shown = max(shown, frame.time)
                elif np.isinf(shown):
                    shown = media.video.start
                else:
                    shown += _frame_duration(media.video, np.empty(0))
                yield frame, shown
