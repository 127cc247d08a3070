"""What a media file holds: its streams, their codecs, times, rotation and shape; and whether that is admitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition

from vision.containers import AUDIO_CODECS, VIDEO_CODECS, MediaError, canonical, open_container

MAX_PIXELS = 7680 * 4320
MAX_ASPECT = 20
MAX_SECONDS = 12 * 3600.0
MAX_FRAMES = round(MAX_SECONDS * 120)
PACKETS_TO_FIRST_FRAME = 500


@dataclass(frozen=True)
class VideoStream:
    """The picture. `rotation` is degrees counter-clockwise to show it upright, `pixel_aspect` width / height.

    `start` and `duration` are seconds on the container's timeline; `duration` is what the file declares,
    or what its packets span where it declares nothing. `streams` counts all video streams of the file.
    """

    index: int
    codec: str
    width: int
    height: int
    rotation: int
    pixel_aspect: float
    start: float
    duration: float
    frames: int | None
    average_rate: float | None
    pixel_format: str
    streams: int = 1

    @property
    def display_size(self) -> tuple[float, float]:
        """Width and height as shown: square pixels, upright."""
        width, height = self.width * self.pixel_aspect, float(self.height)
        return (height, width) if self.rotation % 180 else (width, height)


@dataclass(frozen=True)
class AudioStream:
    """The sound; `start` and `duration` are seconds on the container's timeline, `rate` is in Hz."""

    index: int
    codec: str
    start: float
    duration: float
    rate: int
    channels: int


@dataclass(frozen=True)
class Media:
    """A file that we open. `notes` says in words what of it is left aside."""

    path: Path
    container: str
    start: float
    duration: float
    video: VideoStream | None
    audio: AudioStream | None
    notes: tuple[str, ...] = ()


def probe(path: Path | str) -> Media:
    """What `path` holds. One frame is decoded to learn the rotation, so run it where decoding may run.

    Raises MediaError, one line: no such file, empty, not a video, container or codec not admitted, too large,
    too long, neither picture nor sound.
    """
    path = Path(path).absolute()
    with open_container(path) as container:
        notes: list[str] = []
        pictures = [stream for stream in container.streams.video if not _is_attached(stream)]
        start = 0.0 if container.start_time is None else container.start_time / av.time_base
        declared = None if container.duration is None else container.duration / av.time_base
        if declared is None or declared <= 0:
            declared = _span(path) - start
        if not 0 <= declared <= MAX_SECONDS:
            raise MediaError(f"{path.name}: lasts {declared:.0f} s: at most {MAX_SECONDS:.0f} s are admitted")
        audio = _audio(container, start, declared, notes)
        video = _video(container, path, pictures, start, declared, notes) if pictures else None
        if video is None and audio is None:
            raise MediaError(f"{path.name}: {'; '.join(notes) or 'holds neither picture nor sound'}")
        return Media(path, container.format.name, start, declared, video, audio, tuple(notes))


def _is_attached(stream: av.VideoStream) -> bool:
    still = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    return bool(Disposition(stream.disposition) & still)


def _video(
    container: InputContainer,
    path: Path,
    pictures: list[av.VideoStream],
    start: float,
    declared: float,
    notes: list[str],
) -> VideoStream:
    stream = container.streams.best("video")
    if stream not in pictures:
        stream = pictures[0]
    if len(pictures) > 1:
        notes.append(f"{len(pictures)} video streams: stream {stream.index} is used")
    codec = _codec_name(stream)
    if codec not in VIDEO_CODECS:
        raise MediaError(f"{path.name}: video codec {codec} is not admitted")
    context = stream.codec_context
    if context.width < 1 or context.height < 1:
        raise MediaError(f"{path.name}: the picture has no size")
    if context.width * context.height > MAX_PIXELS:
        raise MediaError(
            f"{path.name}: the picture is {context.width} x {context.height}: too large, "
            f"at most {MAX_PIXELS} pixels are admitted"
        )
    frame = _first_frame(container, stream)
    if frame is None:
        notes.append(f"no picture in the first {PACKETS_TO_FIRST_FRAME} packets can be decoded")
    own_start = start if stream.start_time is None else float(stream.start_time * stream.time_base)
    found = VideoStream(
        index=stream.index,
        codec=codec,
        width=context.width,
        height=context.height,
        rotation=0 if frame is None else frame.rotation % 360,
        pixel_aspect=float(stream.sample_aspect_ratio or 1),
        start=own_start,
        duration=_duration(stream, own_start, start + declared),
        frames=stream.frames or None,
        average_rate=float(stream.average_rate) if stream.average_rate else None,
        pixel_format=str(context.pix_fmt),
        streams=len(container.streams.video),
    )
    width, height = found.display_size
    if not 1 / MAX_ASPECT <= width / height <= MAX_ASPECT:
        raise MediaError(
            f"{path.name}: the picture is shown at {width:.0f} x {height:.0f}: "
            f"at most {MAX_ASPECT} to 1 is admitted"
        )
    return found


def _audio(container: InputContainer, start: float, declared: float, notes: list[str]) -> AudioStream | None:
    stream = container.streams.best("audio")
    if stream is None:
        return None
    codec = _codec_name(stream)
    if codec not in AUDIO_CODECS:
        notes.append(f"audio codec {codec} is not admitted: the sound is left aside")
        return None
    if len(container.streams.audio) > 1:
        notes.append(f"{len(container.streams.audio)} audio streams: stream {stream.index} is used")
    own_start = start if stream.start_time is None else float(stream.start_time * stream.time_base)
    return AudioStream(
        stream.index,
        codec,
        own_start,
        _duration(stream, own_start, start + declared),
        stream.codec_context.sample_rate,
        stream.codec_context.channels,
    )


def _codec_name(stream: av.VideoStream | av.AudioStream) -> str:
    return canonical(stream.codec_context.codec) if stream.codec_context else "unknown"


def _duration(stream: av.VideoStream | av.AudioStream, start: float, end: float) -> float:
    """What the stream declares in its header or, in Matroska, in a tag; else up to the container's end."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    hours, colon, rest = stream.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return (
            int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start if colon else max(end - start, 0.0)
        )
    except ValueError:
        return max(end - start, 0.0)


def _first_frame(container: InputContainer, stream: av.VideoStream) -> av.VideoFrame | None:
    stream.codec_context.thread_count = 1
    packets = 0
    try:
        for packet in container.demux(stream):
            packets += 1
            try:
                frames = packet.decode()
            except av.FFmpegError:
                frames = []
            if frames:
                return frames[0]
            if packets >= PACKETS_TO_FIRST_FRAME:
                return None
    except av.FFmpegError:
        return None
    return None


def _span(path: Path) -> float:
    """The end in seconds of the last packet of sound or picture; every packet is read, none is decoded."""
    end = 0.0
    with open_container(path) as container:
        try:
            for packet in container.demux(*container.streams.video, *container.streams.audio):
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except av.FFmpegError:
            return end
    return end
