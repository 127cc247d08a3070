"""Captions inside a video: its text streams, decoded by PyAV. Call it only where untrusted files may be decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
from av.stream import Discard

from speech.audio import FORMATS, Clock
from speech.caption_formats import Parsed, ass_text, is_on_screen
from speech.cues import Cue
from speech.errors import SpeechError

CODECS = frozenset({"subrip", "ass", "ssa", "mov_text", "webvtt", "text"})
"""Streams of text. Those of pictures (DVD, Blu-ray, DVB) hold no words that could be read."""
_DECODERS = (*sorted(CODECS), "srt")
LONGEST_OPEN_CUE = 10.0
"""Seconds for which a text is shown at most where the file does not say how long."""


def read_stream(path: Path, index: int, clock: Clock) -> Iterator[Cue]:
    """The cues of a video's text stream, in seconds from the file's start by its `clock`.

    A text whose end is not known lasts until the next one. Raises SpeechError.
    """
    try:
        with av.open(
            f"file:{path.absolute()}",
            options={
                "format_whitelist": FORMATS,
                "protocol_whitelist": "file",
                "codec_whitelist": ",".join(_DECODERS),
            },
            metadata_errors="replace",
        ) as container:
            streams = {stream.index: stream for stream in container.streams.subtitles}
            stream = streams.get(index)
            if stream is None or stream.codec_context is None:
                raise SpeechError(f"{path.name}: stream {index} holds no captions")
            if stream.codec_context.codec.canonical_name not in CODECS:
                raise SpeechError(f"{path.name}: the captions in stream {index} are no text")
            for other in container.streams:
                if other.index != index:
                    other.discard = Discard.all
            yield from _decoded(container, stream, clock)
    except av.FFmpegError as error:
        raise SpeechError(
            f"{path.name}: the captions in stream {index} cannot be decoded ({error.strerror})"
        ) from error


def _decoded(container, stream, clock: Clock) -> list[Cue]:
    parsed = Parsed()
    shown: list[tuple[float, float | None, str]] = []
    for packet in clock.packets(container, stream):
        if packet.pts is None:
            continue
        start = float(packet.pts * packet.time_base)
        length = float(packet.duration * packet.time_base) if packet.duration else None
        try:
            rects = packet.decode()
        except av.FFmpegError:
            rects = []
        # An event of ASS: number, layer, style, name, three margins, effect, text.
        events = [rect.ass.decode("utf-8", "replace").split(",", 8) for rect in rects if rect.type == b"ass"]
        said = [e[8] for e in events if len(e) == 9 and not is_on_screen(e[2])]
        text = "\n".join(filter(None, map(ass_text, said)))
        shown.append((start, length, text))
    for n, (start, length, text) in enumerate(shown):
        if not text:
            continue  # in MP4 an empty text ends the one before
        if length is None:
            following = next((later for later, _, _ in islice(shown, n + 1, None) if later > start), math.inf)
            length = min(following - start, LONGEST_OPEN_CUE)
        end = start + length
        parsed.add(max(start, 0.0), max(end, 0.0), text, f"{start:.3f} s")
    return parsed.cues
