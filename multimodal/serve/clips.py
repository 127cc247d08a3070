"""A moment as an MP4 of its own: packets copied from the key frame just before it where MP4 can hold them, else encoded
again."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from multimodal.intake import sandbox
from vision.clock import demuxed
from vision.errors import MediaError
from vision.readers import LATE_IMPORTS

MOST_SECONDS = 120.0
COPIED_VIDEO, COPIED_AUDIO = ("h264",), ("aac", "mp3")
"""Codecs that browsers play in MP4, whose packets are copied."""
MOST_LEAD = 2.0
"""Seconds before the moment at which a copy may begin; where the key frame is further off, pictures are encoded again."""
LARGEST_SIDE = 720
LIMITS = sandbox.Limits(seconds=120.0, memory=3 << 30, total=180.0)


def cut(path: Path, start: float, end: float) -> bytes:
    """The file's ``[start, end)`` in seconds as MP4. Copied pictures begin at the key frame before ``start``.

    Raises :class:`MediaError` where nothing can be decoded, :class:`~multimodal.intake.sandbox.SandboxError` where it takes
    too long.
    """
    return sandbox.call(_cut, path, start, end, types=(MediaError,), limits=LIMITS, imports=LATE_IMPORTS)


def _cut(path: Path, start: float, end: float) -> bytes:
    import av

    from vision.media import probe

    media = probe(path, holes=False)  # only what is admitted is opened
    out = io.BytesIO()
    with av.open(str(path), metadata_errors="replace") as source:
        video = source.streams.video[0] if media.video and source.streams.video else None
        audio = source.streams.audio[0] if source.streams.audio else None
        copied = video is not None and video.codec_context.name in COPIED_VIDEO
        copied = copied and (audio is None or audio.codec_context.name in COPIED_AUDIO)
        origin = float(source.start_time or 0) / av.time_base if media.clock.origin else 0.0
        copied = copied and _lead(source, video, start + origin) <= MOST_LEAD
        with av.open(out, "w", format="mp4") as target:
            work = _copy if copied else _encode
            if not work(source, target, video, audio, start + origin, end + origin):
                raise MediaError(f"{path.name}: nothing could be read from {start:g} s to {end:g} s")
    return out.getvalue()


def _lead(source: Any, video: Any, start: float) -> float:
    """Seconds from the key frame at which copied pictures would begin to ``start``."""
    source.seek(int(start / video.time_base), stream=video, backward=True)
    packet = next((p for p in demuxed(source, video) if p.pts is not None), None)
    return start - float(packet.pts * packet.time_base) if packet else 0.0


def _copy(source: Any, target: Any, video: Any, audio: Any, start: float, end: float) -> int:
    streams = {s.index: target.add_stream_from_template(s) for s in (video, audio) if s is not None}
    source.seek(int(start / video.time_base), stream=video, backward=True)
    first, written = None, 0
    for packet in demuxed(source, *(s for s in (video, audio) if s is not None)):
        if packet.dts is None or packet.pts is None:
            continue
        seconds = float(packet.pts * packet.time_base)
        if first is None:
            if packet.stream.type != "video":
                continue
            first = float(packet.dts * packet.time_base)
        if float(packet.dts * packet.time_base) >= end:
            if packet.stream.type == "video":
                break
            continue
        if seconds < first:
            continue
        shift = round(Fraction(first).limit_denominator(90_000) / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = streams[packet.stream.index]
        target.mux(packet)
        written += 1
    return written


def _encode(source: Any, target: Any, video: Any, audio: Any, start: float, end: float) -> int:
    import av

    outputs: dict[int, Any] = {}
    if video is not None:
        scale = min(1.0, LARGEST_SIDE / max(video.codec_context.width, video.codec_context.height))
        made = target.add_stream("libx264", rate=min(Fraction(video.average_rate or 25), Fraction(60)))
        made.width = max(2, int(video.codec_context.width * scale) // 2 * 2)
        made.height = max(2, int(video.codec_context.height * scale) // 2 * 2)
        made.pix_fmt, made.options = "yuv420p", {"preset": "veryfast", "crf": "26"}
        made.codec_context.time_base = Fraction(1, 90_000)
        outputs[video.index] = made
    if audio is not None:
        outputs[audio.index] = target.add_stream("aac", rate=44_100, layout="stereo")
    resampler = av.AudioResampler("fltp", "stereo", 44_100)
    lead = video if video is not None else audio
    source.seek(int(max(0.0, start) / lead.time_base), stream=lead, backward=True)
    written = 0
    for frame, stream in _frames(source, video, audio, end):
        if frame.time is None or frame.time < start:
            continue
        written += 1
        if stream is video:
            frame = frame.reformat(outputs[stream.index].width, outputs[stream.index].height, "yuv420p")
            frame.pts, frame.time_base = round((frame.time - start) * 90_000), Fraction(1, 90_000)
            frame.pict_type = 0
            target.mux(outputs[stream.index].encode(frame))
            continue
        frame.pts = None
        for part in resampler.resample(frame):
            target.mux(outputs[stream.index].encode(part))
    for made in outputs.values():
        with contextlib.suppress(av.error.EOFError):
            target.mux(made.encode(None))
    return written


def _frames(source: Any, video: Any, audio: Any, end: float) -> Iterator[tuple[Any, Any]]:
    """Decoded frames with their streams until both are past ``end``; damaged packets are passed over."""
    import av

    streams = [s for s in (video, audio) if s is not None]
    over: set[int] = set()
    for packet in demuxed(source, *streams):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        for frame in frames:
            if frame.time is not None and frame.time >= end:
                over.add(packet.stream.index)
            else:
                yield frame, packet.stream
        if len(over) == len(streams):
            return
