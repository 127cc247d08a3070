"""Media files: which are admitted, how one is opened, and what it holds.

Only files of the admitted containers and codecs are opened, and within limits of size, shape and length. A file is
untrusted: FFmpeg is given no protocol but `file`, and no demuxer or decoder beside the admitted ones.
"""

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

from vision.errors import MediaError

CONTAINERS = frozenset({"mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "flv", "ogg", "asf"})
SOUND_CONTAINERS = frozenset({"wav", "mp3", "flac", "aac"})
_VIDEO = """h264 hevc av1 vp8 vp9 mpeg1video mpeg2video mpeg4 msmpeg4v3 h263 flv1 theora wmv2 wmv3 vc1
    mjpeg prores"""
_AUDIO = """aac mp1 mp2 mp3 opus vorbis flac alac ac3 eac3 wmav1 wmav2 amr_nb amr_wb
    pcm_s16le pcm_s16be pcm_s24le pcm_s32le pcm_f32le pcm_u8 pcm_alaw pcm_mulaw"""
VIDEO_CODECS, AUDIO_CODECS = frozenset(_VIDEO.split()), frozenset(_AUDIO.split())
MAX_BOXES = 1000
"""MP4 boxes that are read in search of the index; a hostile file could hold millions of empty ones."""
MAX_PIXELS = 7680 * 4320
MAX_ASPECT = 20
MAX_SECONDS = 12 * 3600.0
MAX_FRAMES = round(MAX_SECONDS * 120)
MAX_PACKETS_TO_FIRST_FRAME = 500


@dataclass(frozen=True)
class VideoStream:
    """The video stream that is read.

    `rotation`: degrees counter-clockwise by which a decoded frame is turned for display.
    `pixel_aspect`: width / height of a pixel.
    `start` and `duration`: seconds on the container's timeline. The duration is the declared one, or the span of the
    packets where the file declares none.
    `streams`: the number of video streams in the file.
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
        """Width and height on display: rotated, in square pixels."""
        width, height = self.width * self.pixel_aspect, float(self.height)
        return (height, width) if self.rotation % 180 else (width, height)


@dataclass(frozen=True)
class AudioStream:
    """The audio stream that is read. `start` and `duration`: seconds on the container's timeline. `rate`: Hz."""

    index: int
    codec: str
    start: float
    duration: float
    rate: int
    channels: int


@dataclass(frozen=True)
class Media:
    """An admitted file. `notes`: a sentence for each thing in it that is not used."""

    path: Path
    container: str
    start: float
    duration: float
    video: VideoStream | None
    audio: AudioStream | None
    notes: tuple[str, ...] = ()


def probe(path: Path | str) -> Media:
    """The streams, times and shape of the file at `path`.

    One frame is decoded to learn the rotation, so call it only where untrusted files may be decoded.
    Raises MediaError: no such file, empty, not a video, container or codec not admitted, too large, too long, neither
    picture nor sound.
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
    """True for a cover picture or thumbnails, which containers store as video streams."""
    attached = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    return bool(Disposition(stream.disposition) & attached)


def _video(
    container: InputContainer,
    path: Path,
    pictures: list[av.VideoStream],
    start: float,
    declared: float,
    notes: list[str],
) -> VideoStream:
    """The picture that is shown by default. Raises MediaError where its codec, size or shape is not admitted."""
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
        notes.append(f"no picture in the first {MAX_PACKETS_TO_FIRST_FRAME} packets can be decoded")
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
    """The sound that is played by default, or None; a codec that is not admitted is noted, not an error."""
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
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"


def _duration(stream: av.VideoStream | av.AudioStream, start: float, end: float) -> float:
    """Seconds that the stream lasts by its header or, in Matroska, by a tag; else up to the container's end."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "").split(":", 2)  # the end as hours:minutes:seconds
    try:
        hours, minutes, seconds = int(tag[0]), int(tag[1]), float(tag[2])
    except (ValueError, IndexError):
        return max(end - start, 0.0)
    return hours * 3600 + minutes * 60 + seconds - start


def _first_frame(container: InputContainer, stream: av.VideoStream) -> av.VideoFrame | None:
    """The first frame that decodes, or None; a damaged packet before it is skipped, a damaged file ends the search."""
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
            if packets >= MAX_PACKETS_TO_FIRST_FRAME:
                return None
    except av.FFmpegError:
        return None
    return None


def _span(path: Path) -> float:
    """The second at which the last packet of any stream ends. Every packet is read, none is decoded."""
    end = 0.0
    with open_container(path) as container:
        try:
            for packet in container.demux(*container.streams.video, *container.streams.audio):
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except av.FFmpegError:
            return end
    return end


def open_container(path: Path) -> InputContainer:
    """Opens a file with PyAV, restricted to the admitted demuxers and decoders and to the `file` protocol.

    Raises MediaError where it is no regular file, is empty, or is in no admitted container.
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
        elif _lacks_moov(path):
            reason = (
                "cut off before its index (moov), without which nothing of it can be read: fetch it again"
            )
        raise MediaError(f"{path.name}: {reason}") from error
    if not set(container.format.name.split(",")) & (CONTAINERS | SOUND_CONTAINERS):
        container.close()
        raise MediaError(f"{path.name}: container {container.format.name} is not admitted")
    return container


def _lacks_moov(path: Path) -> bool:
    """True for an MP4 file without a `moov` box, the index of its frames: a download that was cut off."""
    kinds = []
    with path.open("rb") as file:
        while len(head := file.read(16)) >= 8 and len(kinds) < MAX_BOXES:
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if size == 1:  # a 64-bit size follows
                size = int.from_bytes(head[8:], "big")
            kinds.append(kind)
            if size < 8:  # 0 reaches to the end of the file; less than a header is damage
                break
            file.seek(size - len(head), os.SEEK_CUR)
    return kinds[:1] == [b"ftyp"] and b"moov" not in kinds


@cache
def _decoders() -> frozenset[str]:
    """FFmpeg's names of the decoders of the admitted codecs. A decoder's name may differ from its codec's: `libdav1d`."""
    names = set()
    for name in av.codecs_available:
        with suppress(UnknownCodecError):
            if av.Codec(name, "r").canonical_name in VIDEO_CODECS | AUDIO_CODECS:
                names.add(name)
    return frozenset(names)
