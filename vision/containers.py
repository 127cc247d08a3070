"""Opens a media file: which containers and decoders are at hand for it, and why it is not opened."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

import av
from av.codec.codec import UnknownCodecError
from av.container import InputContainer

CONTAINERS = frozenset({"mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "flv", "ogg", "asf"})
SOUND_CONTAINERS = frozenset({"wav", "mp3", "flac", "aac"})
_VIDEO = """h264 hevc av1 vp8 vp9 mpeg1video mpeg2video mpeg4 msmpeg4v3 h263 flv1 theora wmv2 wmv3 vc1
    mjpeg prores"""
_AUDIO = """aac mp1 mp2 mp3 opus vorbis flac alac ac3 eac3 wmav1 wmav2 amr_nb amr_wb
    pcm_s16le pcm_s16be pcm_s24le pcm_s32le pcm_f32le pcm_u8 pcm_alaw pcm_mulaw"""
VIDEO_CODECS, AUDIO_CODECS = frozenset(_VIDEO.split()), frozenset(_AUDIO.split())
MOST_BOXES = 1000


class MediaError(ValueError):
    """A file that is not opened or cannot be read; the message is one line: name, value, rule."""


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
            if canonical(av.Codec(name, "r")) in VIDEO_CODECS | AUDIO_CODECS:
                names.add(name)
    return frozenset(names)


def canonical(codec: av.Codec) -> str:
    """A codec's own name whichever decoder serves it."""
    return codec.canonical_name.removesuffix("float")
