"""What a media file holds, and whether we open it: its streams, their codecs, times, rotation and shape."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
from av.codec.codec import UnknownCodecError
from av.container import InputContainer
from av.stream import Disposition

CONTAINERS = frozenset({"mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "flv", "ogg", "asf"})
SOUND_CONTAINERS = frozenset({"wav", "mp3", "flac", "aac"})
_VIDEO = """h264 hevc av1 vp8 vp9 mpeg1video mpeg2video mpeg4 msmpeg4v3 h263 flv1 theora wmv2 wmv3 vc1
    mjpeg prores"""
_AUDIO = """aac mp1 mp2 mp3 opus vorbis flac alac ac3 eac3 wmav1 wmav2 amr_nb amr_wb
    pcm_s16le pcm_s16be pcm_s24le pcm_s32le pcm_f32le pcm_u8 pcm_alaw pcm_mulaw"""
VIDEO_CODECS, AUDIO_CODECS = frozenset(_VIDEO.split()), frozenset(_AUDIO.split())
MAX_PIXELS = 7680 * 4320
MAX_ASPECT = 20
MAX_SECONDS = 12 * 3600.0
MAX_FRAMES = round(MAX_SECONDS * 120)
PACKETS_TO_FIRST_FRAME = 500
MOST_BOXES = 1000


class MediaError(ValueError):
    """A file that is not opened or cannot be read; the message is one line: name, value, rule."""


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


def open_container(path: Path) -> InputContainer:
    """The file opened by PyAV with only the admitted demuxers, decoders and the `file` protocol at hand.

    Raises MediaError for what is no regular file, is empty, or is in no admitted container.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None)
        raise MediaError(f"{path.name}: {reason or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(f"{path.name}: not a regular file")
    if status.st_size == 0:
        raise MediaError(f"{path.name}: the file is empty")
    try:
        container = av.open(
            "file:" + str(path.absolute()),
            metadata_errors="replace",
            container_options={
                "protocol_whitelist": "file",
                "format_whitelist": ",".join(sorted(CONTAINERS | SOUND_CONTAINERS)),
                "codec_whitelist": ",".join(sorted(_decoders())),
            },
        )
    except av.FFmpegError as error:
        reason = "not a video or sound file, or in no container that is admitted"
        if not isinstance(error, av.InvalidDataError | av.ArgumentError):
            reason = error.strerror or type(error).__name__
        elif _lacks_index(path):
            reason = (
                "cut off before its index (moov), without which nothing of it can be read: fetch it again"
            )
        raise MediaError(f"{path.name}: {reason}") from error
    if not set(container.format.name.split(",")) & (CONTAINERS | SOUND_CONTAINERS):
        container.close()
        raise MediaError(f"{path.name}: container {container.format.name} is not admitted")
    return container


def _lacks_index(path: Path) -> bool:
    """Whether a file is an MP4 whose boxes end before the one that says where its frames lie."""
    kinds = []
    with path.open("rb") as file:
        while len(head := file.read(16)) >= 8 and len(kinds) < MOST_BOXES:
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if size == 1:
                size = int.from_bytes(head[8:], "big")
            kinds.append(kind)
            if size < 8:
                break
            file.seek(size - len(head), os.SEEK_CUR)
    return kinds[:1] == [b"ftyp"] and b"moov" not in kinds


@cache
def _decoders() -> frozenset[str]:
    """FFmpeg's names of the decoders for the admitted codecs (its AV1 decoder, say, is `libdav1d`)."""
    names = set()
    for name in av.codecs_available:
        with suppress(UnknownCodecError):
            if _canonical(av.Codec(name, "r")) in VIDEO_CODECS | AUDIO_CODECS:
                names.add(name)
    return frozenset(names)


def _canonical(codec: av.Codec) -> str:
    """The codec's own name whichever decoder serves it."""
    return codec.canonical_name.removesuffix("float")


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
    return _canonical(stream.codec_context.codec) if stream.codec_context else "unknown"


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
