"""Streams of captions in a media file, as its header lists them."""

from __future__ import annotations

from dataclasses import dataclass

import av
from av.stream import Disposition


@dataclass(frozen=True)
class CaptionStream:
    """A stream of captions. `language` and `title` as the file has them. `dispositions`: such as `forced`."""

    index: int
    codec: str
    language: str
    title: str
    dispositions: tuple[str, ...]


def caption_stream(stream: av.SubtitleStream) -> CaptionStream:
    """What the header says of a stream."""
    context, about = stream.codec_context, stream.metadata
    return CaptionStream(
        stream.index,
        context.codec.canonical_name if context else "unknown",
        about.get("language", ""),
        about.get("title", "") or about.get("handler_name", ""),
        tuple(flag.name.lower() for flag in Disposition(stream.disposition)),
    )
