"""Media files: which are admitted, how one is opened, and what it holds.

Only files of the admitted containers and codecs are opened, and within limits of size, shape and length. A file is
untrusted: FFmpeg is given no protocol but `file`, and no demuxer or decoder beside the admitted ones.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import av
from av.container import InputContainer

from vision import chosen_streams
from vision.admitted import AUDIO_CODECS, CONTAINERS, SOUND_CONTAINERS, VIDEO_CODECS, decoders
from vision.caption_streams import CaptionStream, caption_stream
from vision.clock import (
    RUNNING,
    Clock,
    clock_of_header,
    clock_of_packets,
    demuxed,
    holes_of_all,
    length_of_packets,
)
from vision.errors import MediaError
from vision.hdr import TRANSFERS
from vision.joined import GO_ON, lacks_index, second_recording

MAX_PIXELS = 7680 * 4320
MAX_ASPECT = 20
MAX_SECONDS = 12 * 3600.0
MAX_FRAMES = round(MAX_SECONDS * 120)
MAX_PACKETS_TO_FIRST_FRAME = 500
LEAST_OTHERS, SHARE_OF_OTHERS = 20_000, 0.02
"""Bytes behind the last packet of a broadcast, and their share of those before, from which on they are of other streams."""


@dataclass(frozen=True)
class VideoStream:
    """The video stream that is read.

    `rotation`: degrees counter-clockwise by which a decoded frame is turned for display.
    `pixel_aspect`: width / height of a pixel.
    `start` and `duration`: seconds from the file's start. The duration is the declared one, or the span of the packets
    where the file declares none.
    `streams`: the number of video streams in the file. `hdr`: the curve of an HDR picture, PQ or HLG, else empty.
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
    hdr: str = ""

    @property
    def display_size(self) -> tuple[float, float]:
        """Width and height on display: rotated, in square pixels."""
        width, height = self.width * self.pixel_aspect, float(self.height)
        return (height, width) if self.rotation % 180 else (width, height)


@dataclass(frozen=True)
class AudioStream:
    """A sound track. `start` and `duration`: seconds from the file's start. `rate`: Hz.

    `number`: its place among the file's sound tracks, from 1, as players count. `language`: the code in the file, empty
    where there is none. `title`: the name in the file. `admitted`: whether its codec is decoded.
    """

    index: int
    number: int
    codec: str
    start: float
    duration: float
    rate: int
    channels: int
    language: str = ""
    title: str = ""
    admitted: bool = True

    def __str__(self) -> str:
        about = ", ".join(part for part in (self.language, self.codec, self.title) if part)
        return f"sound track {self.number} ({about})"


@dataclass(frozen=True)
class Media:
    """An admitted file. `notes`: a sentence for each thing in it that is not used.

    `sounds`: the sound tracks, the one that players choose first; those of other programmes are left out.
    `no_picture`: why its picture cannot be used, empty where it has none or it can. `clock`: how its time stamps become the
    seconds that all times are in. `captions`: the streams of captions, of text or of pictures of it. `problems`: a sentence
    for each part of the file that cannot be read.
    """

    path: Path
    container: str
    start: float
    duration: float
    video: VideoStream | None
    sounds: tuple[AudioStream, ...] = ()
    notes: tuple[str, ...] = ()
    no_picture: str = ""
    clock: Clock = Clock()
    captions: tuple[CaptionStream, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def audio(self) -> AudioStream | None:
        """The first sound track that can be decoded."""
        return next((sound for sound in self.sounds if sound.admitted), None)


def probe(path: Path | str, *, holes: bool = True) -> Media:
    """The streams, times and shape of the file at `path`.

    `holes`: whether every packet is read to find where nothing was recorded; without an index they are read anyway. One
    frame is decoded to learn the rotation, so call it only where untrusted files may be decoded. Raises MediaError: no
    such file, empty, not a video, container or codec not admitted, too large, too long, neither picture nor sound.
    """
    path = Path(path).absolute()
    with open_container(path) as container:
        notes: list[str] = []
        pictures = chosen_streams.pictures(container)
        shown = chosen_streams.shown(container, pictures)
        tracks = chosen_streams.tracks(container, shown)
        kind = container.format.name.split(",")[0]
        behind = second_recording(path, kind)
        goes_on = behind is not None and (
            kind == "matroska" or (kind in GO_ON and not (pictures and kind == "ogg"))
        )
        clock, others = None if goes_on else clock_of_header(container, path), False
        if clock is None or (holes and shown and tracks):
            # Reading packets moves a container on: this is an opening of its own.
            with open_container(path) as again:
                read = [again.streams[stream.index] for stream in (shown, *tracks) if stream is not None]
                if goes_on and kind in GO_ON:
                    clock = Clock(end=length_of_packets(again, read[0]))
                    notes.append("several recordings one after the other: their times go on")
                elif clock is None:
                    clock, last = clock_of_packets(again, read)
                    rest = path.stat().st_size - last
                    others = kind in RUNNING and rest > max(LEAST_OTHERS, SHARE_OF_OTHERS * last)
                else:
                    clock = replace(clock, holes=holes_of_all(again, read, clock.origin))
        start = 0.0 if container.start_time is None else container.start_time / av.time_base - clock.origin
        start = 0.0 if clock.leaps else round(start, 6)
        # Neither the header nor a packet may say how long a damaged file lasts.
        declared = clock.end - start if clock.end is not None else (container.duration or 0) / av.time_base
        if clock.end is None and kind == "matroska":
            declared -= max(start + clock.origin, 0.0)  # its header counts from 0, whenever the file begins
        if not 0 <= declared <= MAX_SECONDS:
            raise MediaError(f"{path.name}: lasts {declared:.0f} s: at most {MAX_SECONDS:.0f} s are admitted")
        notes += [f"nothing was recorded from {begin:.1f} s to {end:.1f} s" for begin, end in clock.holes]
        if clock.leaps:
            notes.append(f"{len(clock.leaps) + 1} recordings one after the other: their times go on")
        problems = ()
        if behind is not None and not goes_on:
            problems = (
                f"another recording begins at byte {behind} of the file, which is not read rightly: part them",
            )
        whole = _Span(start, start + declared, clock)
        if others:
            problems += (
                f"from byte {last} on the file holds other streams, which are not read: part it there",
            )
        sounds = tuple(_sound(container, stream, whole) for stream in tracks)
        video, no_picture = None, ""
        try:
            video = _video(container, path, shown, pictures, whole, notes) if shown else None
        except MediaError as error:
            # Its sound can be heard all the same.
            no_picture = str(error).removeprefix(f"{path.name}: ")
        if video is None and not any(sound.admitted for sound in sounds):
            refused = [
                f"audio codec {sound.codec} is not admitted; re-encode the sound as AAC"
                for sound in sounds[:1]
            ]
            reasons = [*filter(None, [no_picture]), *refused]
            raise MediaError(f"{path.name}: {'; '.join(reasons) or 'holds neither picture nor sound'}")
        captions = tuple(map(caption_stream, container.streams.subtitles))
        return Media(
            path,
            container.format.name,
            start,
            declared,
            video,
            sounds,
            tuple(notes),
            no_picture,
            clock,
            captions,
            problems,
        )


@dataclass(frozen=True)
class _Span:
    """When the file begins and ends, in seconds on its clock."""

    start: float
    end: float
    clock: Clock

    def of(self, stream: av.VideoStream | av.AudioStream) -> tuple[float, float]:
        """When a stream begins, and its duration, by its header or, in Matroska, by a tag; else up to the file's end."""
        if self.clock.leaps:  # a header is about one of the recordings
            return self.start, self.end - self.start
        known = stream.start_time is not None
        start = float(stream.start_time * stream.time_base) - self.clock.origin if known else self.start
        if self.clock.end is not None:
            return start, max(self.end - start, 0.0)
        if stream.duration is not None:
            return start, float(stream.duration * stream.time_base)
        tag = stream.metadata.get("DURATION", "").split(":", 2)  # the end as hours:minutes:seconds
        try:
            hours, minutes, seconds = int(tag[0]), int(tag[1]), float(tag[2])
        except (ValueError, IndexError):
            return start, max(self.end - start, 0.0)
        return start, hours * 3600 + minutes * 60 + seconds - self.clock.origin - start


def _video(
    container: InputContainer,
    path: Path,
    stream: av.VideoStream,
    pictures: list[av.VideoStream],
    whole: _Span,
    notes: list[str],
) -> VideoStream:
    """The picture `stream`. Raises MediaError where its codec, size or shape is not admitted."""
    if len(pictures) > 1:
        notes.append(f"{len(pictures)} video streams: stream {stream.index} is used")
    codec = _codec_name(stream)
    if codec not in VIDEO_CODECS:
        raise MediaError(f"{path.name}: video codec {codec} is not admitted; re-encode the picture as H.264")
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
    own_start, duration = whole.of(stream)
    found = VideoStream(
        index=stream.index,
        codec=codec,
        width=context.width,
        height=context.height,
        rotation=0 if frame is None else frame.rotation % 360,
        pixel_aspect=float(stream.sample_aspect_ratio or 1),
        start=own_start,
        duration=duration,
        frames=stream.frames or None,
        average_rate=float(stream.average_rate) if stream.average_rate else None,
        pixel_format=str(context.pix_fmt),
        streams=len(container.streams.video),
        hdr=TRANSFERS.get(context.color_trc, ""),
    )
    if found.hdr:
        notes.append(f"HDR ({found.hdr}) is shown as SDR")
    width, height = found.display_size
    if not 1 / MAX_ASPECT <= width / height <= MAX_ASPECT:
        raise MediaError(
            f"{path.name}: the picture is shown at {width:.0f} x {height:.0f}: "
            f"at most {MAX_ASPECT} to 1 is admitted"
        )
    return found


def _sound(container: InputContainer, stream: av.AudioStream, whole: _Span) -> AudioStream:
    codec, context, language = _codec_name(stream), stream.codec_context, stream.metadata.get("language", "")
    return AudioStream(
        stream.index,
        container.streams.audio.index(stream) + 1,
        codec,
        *whole.of(stream),
        rate=context.sample_rate if context else 0,
        channels=context.channels if context else 0,
        language="" if language == "und" else language,
        title=_title(stream),
        admitted=codec in AUDIO_CODECS,
    )


def _title(stream: av.AudioStream) -> str:
    """The name that the file gives a track; those that programs put in by themselves are none."""
    title = stream.metadata.get("title") or stream.metadata.get("handler_name", "")
    return (
        "" if re.search(r"handler|handle|gpac|mainconcept|core media|apple|iso media", title, re.I) else title
    )


def _codec_name(stream: av.VideoStream | av.AudioStream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"


def _first_frame(container: InputContainer, stream: av.VideoStream) -> av.VideoFrame | None:
    """The first frame that decodes, or None; a damaged packet before it is skipped, a damaged file ends the search."""
    stream.codec_context.thread_count = 1
    packets = 0
    try:
        for packet in demuxed(container, stream):
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
                "codec_whitelist": ",".join(sorted(decoders())),
            },
        )
    except av.FFmpegError as error:
        reason = "not a video or sound file, or in no container that is admitted; convert it to .mp4"
        if not isinstance(error, av.InvalidDataError | av.ArgumentError):
            reason = error.strerror or type(error).__name__
        elif lacks_index(path):
            reason = (
                "cut off before its index (moov), without which nothing of it can be read: fetch it again"
            )
        raise MediaError(f"{path.name}: {reason}") from error
    if not set(container.format.name.split(",")) & (CONTAINERS | SOUND_CONTAINERS):
        container.close()
        raise MediaError(
            f"{path.name}: container {container.format.name} is not admitted; convert it to .mp4"
        )
    return container
