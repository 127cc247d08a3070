"""Streams of a file: which picture is shown, and in which order its sound tracks are to be tried."""

from __future__ import annotations

import re

import av
from av.container import InputContainer
from av.stream import Disposition

STILLS = frozenset({"mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpeg2000", "jpegls"})
"""Codecs of single pictures, in which covers and thumbnails are stored; some cameras record in them too."""
ASIDE = re.compile(
    r"comment|audio.?descri|descriptive|visually impaired|hörfilm|audiodeskription|audiodescripci",
    re.IGNORECASE,
)
"""In the title of a sound track: talk about the film, or for people who do not see it."""


def pictures(container: InputContainer) -> list[av.VideoStream]:
    """The video streams without covers and thumbnails, which containers store as such, with or without a flag that says so."""
    found = [stream for stream in container.streams.video if not _is_attached(stream)]
    moving = [stream for stream in found if _codec(stream) not in STILLS]
    if moving:
        most = max(stream.frames for stream in moving)
        return [stream for stream in found if stream in moving or stream.frames > most]
    return [stream for stream in found if not (stream.frames == 1 and container.streams.audio)]


def _is_attached(stream: av.VideoStream) -> bool:
    attached = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    return bool(Disposition(stream.disposition) & attached)


def _codec(stream: av.VideoStream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else ""


def shown(container: InputContainer, among: list[av.VideoStream]) -> av.VideoStream | None:
    """The picture that is shown by default."""
    stream = container.streams.best("video")
    return stream if stream in among else next(iter(among), None)


def tracks(container: InputContainer, picture: av.VideoStream | None) -> list[av.AudioStream]:
    """The sound tracks in the order in which they are to be tried.

    The first is that which FFmpeg plays with the picture. Then follow those that the file calls its default, then the
    others, and last those of comments and of descriptions for the blind, by their flags or titles. In a transport stream of
    several programmes FFmpeg's choice alone is certain to belong to the picture.
    """
    played = container.streams.best("audio", related=picture) if picture else container.streams.best("audio")
    if container.format.name == "mpegts" and len(container.streams.video) > 1 and played is not None:
        return [played]

    def rank(stream: av.AudioStream) -> tuple:
        disposition = Disposition(stream.disposition)
        aside = disposition & (Disposition.comment | Disposition.visual_impaired | Disposition.descriptions)
        title = stream.metadata.get("title") or stream.metadata.get("handler_name", "")
        is_aside = bool(aside) or ASIDE.search(title) is not None
        return is_aside, stream != played, not disposition & Disposition.default, stream.index

    return sorted(container.streams.audio, key=rank)
