"""Audio decoding: a file's audio track as mono samples at 16 kHz, by the file's own clock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.stream import Discard

from speech.channels import HeardChannel
from speech.errors import SpeechError
from speech.resampling import LONGEST_AUDIO, SAMPLE_RATE, TimelineResampler

EARLY_END_TOLERANCE = 0.5
# A track that ends on so many seconds of nothing but zeros, and has no longer run of them before, was lost by its
# recorder: recorders that silence what is quiet do so in between too, and narration made by a program is followed by a
# second or two.
DEAD_SECONDS = 5.0
PIECE_SECONDS = 60.0
HOLE_EDGE = 1.0
"""Seconds by which a track may end before a hole of the file and go on after it."""
DURATION_TAG = re.compile(r"(\d{1,5}):(\d\d):(\d\d(?:\.\d{1,9})?)")
# Formats that hold their own data. Playlists and scripts that name other files or addresses are not among them.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpeg,mpegts,mpegvideo,ogg,asf,mxf,dv,"
    "wav,w64,mp3,flac,aac,ac3,eac3,aiff,caf,amr"
)
# Only these are decoded, as in `vision.media`. The decoders of pictures are not even opened.
CODECS = frozenset(
    """aac mp1 mp2 mp3 opus vorbis flac alac ac3 eac3 dts truehd mlp wmav1 wmav2 wmapro amr_nb amr_wb speex gsm gsm_ms
    adpcm_ms adpcm_ima_wav adpcm_ima_qt s302m pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le pcm_f32be
    pcm_f64le pcm_u8 pcm_s8 pcm_alaw pcm_mulaw pcm_dvd pcm_bluray""".split()
)


class Clock(Protocol):
    """How time stamps become seconds from the file's start, as `vision.clock.Clock` says it."""

    origin: float
    holes: Sequence[tuple[float, float]]
    end: float | None

    def packets(
        self, container: av.container.InputContainer, *streams: av.stream.Stream
    ) -> Iterator[av.Packet]:
        """The packets of the streams, or of all, with stamps on this clock."""


class StampedClock:
    """The clock of a file whose time stamps are seconds from its start as they are."""

    origin, holes, end = 0.0, (), None

    def packets(
        self, container: av.container.InputContainer, *streams: av.stream.Stream
    ) -> Iterator[av.Packet]:
        return container.demux(*streams)


STAMPED = StampedClock()


@dataclass(frozen=True, eq=False)
class Audio:
    """Mono audio.

    `samples`: float32 [n] in [-1, 1) at 16 kHz. `start`: the time of the first sample, in seconds from the file's start.
    `problems`: what is wrong with the file, one sentence each. `declared_seconds`: how long the file says that the track
    is, None where it does not say. `notes`: what of the track is heard, where that is not all.
    """

    samples: np.ndarray
    start: float
    problems: tuple[str, ...] = ()
    declared_seconds: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def end(self) -> float:
        return self.start + self.seconds


def read(path: str | Path, *, stream: int | None = None, clock: Clock = STAMPED) -> Audio:
    """A whole audio track in memory; see `pieces`."""
    parts = list(pieces(path, stream=stream, clock=clock))
    samples = np.concatenate([part.samples for part in parts])
    last = parts[-1]
    return Audio(samples, parts[0].start, last.problems, last.declared_seconds, last.notes)


def pieces(
    path: str | Path,
    *,
    stream: int | None = None,
    seconds: float = PIECE_SECONDS,
    clock: Clock = STAMPED,
    mixed: bool = False,
) -> Iterator[Audio]:
    """Decodes one audio track, `seconds` at a time; each piece starts where the one before ends.

    `stream` is the track's index among all streams of the container; None takes the one that FFmpeg prefers. Samples
    are those of openai-whisper's own loader (16-bit mono from FFmpeg's resampler), but the track's start time is kept
    and gaps between packets are filled with silence, so that a sample's time is `start + index / 16000`. Where its channels
    cancel, or one is the centre of several, one is heard (`speech.channels`), unless they are to be `mixed`. Packets that cannot be decoded are silence.
    `clock` turns time stamps into seconds from the file's start. The last piece holds problems and notes. Raises SpeechError
    where there is no such track or nothing of it can be decoded.
    """
    path = Path(path)
    try:
        # "file:" keeps a name such as "concat:a|b" a name.
        container = av.open(
            f"file:{path.absolute()}",
            options={
                "format_whitelist": FORMATS,
                "protocol_whitelist": "file",
                "codec_whitelist": ",".join(sorted(_decoders())),
            },
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError) as error:
        raise SpeechError(
            f"{path.name}: cannot be opened as a sound or video file ({_reason(error)})"
        ) from error
    with container:
        track = _track(container, stream, path.name)
        if track.codec_context is None or _canonical(track.codec_context.codec) not in CODECS:
            codec = "unknown" if track.codec_context is None else track.codec_context.name
            raise SpeechError(f"{path.name}: sound codec {codec} is not admitted; re-encode the sound as AAC")
        # Other streams are read only where they alone tell whether the file is whole; see `_missing`.
        for other in container.streams:
            if other.index != track.index and _own_end(track) is not None:
                other.discard = Discard.all
        yield from _decode(container, track, path.name, round(seconds * SAMPLE_RATE), clock, mixed)


@cache
def _decoders() -> frozenset[str]:
    """FFmpeg's names of the decoders for CODECS; a codec may have several."""
    names = set()
    for name in av.codecs_available:
        with suppress(UnknownCodecError):
            if _canonical(av.Codec(name, "r")) in CODECS:
                names.add(name)
    return frozenset(names)


def _canonical(codec: av.Codec) -> str:
    """A codec's own name, whichever decoder serves it."""
    return codec.canonical_name.removesuffix("float")


def _track(container, stream: int | None, name: str):
    if stream is None:
        track = container.streams.best("audio")
        if track is None:
            raise SpeechError(f"{name}: has no sound track; give a caption file beside it to have its words")
        return track
    tracks = {track.index: track for track in container.streams.audio}
    if stream not in tracks:
        listed = ", ".join(map(str, tracks)) or "none"
        raise SpeechError(f"{name}: stream {stream} is not a sound track; its sound tracks are: {listed}")
    return tracks[stream]


def _decode(container, track, name: str, size: int, clock: Clock, mixed: bool) -> Iterator[Audio]:
    declared_end = clock.end
    if declared_end is None and (declared_end := _declared_end(container, track)) is not None:
        declared_end -= clock.origin
    resampler = TimelineResampler(_start_time(track) - clock.origin, declared_end)
    channel, problems = HeardChannel(mixed), []
    damaged = packets = given = 0
    others_end = 0.0

    def piece(samples: np.ndarray, problems: Sequence[str] = ()) -> Audio:
        nonlocal given
        start = resampler.start + given / SAMPLE_RATE
        given += len(samples)
        declared = None if resampler.declared_end is None else resampler.declared_end - resampler.start
        return Audio(samples, start, tuple(problems), declared, tuple(filter(None, [channel.note])))

    try:
        for packet in clock.packets(container):
            if packet.stream.index != track.index:
                if packet.pts is not None:
                    end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    others_end = max(others_end, end)
                continue
            packets += 1
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                # The next frame's time stamp shows how much is missing; silence takes its place.
                damaged += 1
                continue
            for decoded in frames:
                for frame in channel.add(decoded):
                    resampler.add(frame)
            # The last piece carries the problems, so the newest samples wait until it is known whether more follow.
            while resampler.waiting > size:
                yield piece(resampler.take(size))
            if resampler.seconds > LONGEST_AUDIO:
                problems.append(f"only the first {LONGEST_AUDIO / 3600:.0f} hours of sound were read")
                break
    except av.error.FFmpegError as error:
        problems.append(f"the file breaks off at {resampler.end:.2f} s of its sound ({_reason(error)})")
    for frame in channel.finish():
        resampler.add(frame)
    resampler.finish()
    while resampler.waiting > size:
        yield piece(resampler.take(size))
    last = resampler.take(size)
    if not given + len(last):
        raise SpeechError(f"{name}: nothing of its sound track could be decoded; re-encode the file")
    if damaged:
        problems.append(f"{damaged} of {packets} sound packets are damaged and are heard as silence")
    problems.extend(resampler.problems)
    problems.extend(_missing(resampler, others_end, clock.holes))
    yield piece(last, problems)


def _missing(
    resampler: TimelineResampler, others_end: float, holes: Sequence[tuple[float, float]]
) -> Iterator[str]:
    """What of the track is missing, one sentence each. `others_end`: when the other streams end, in seconds, if read.

    `holes` of the whole file are known already.
    """
    gaps = [
        (start, seconds)
        for start, seconds in resampler.gaps
        if not any(begin - HOLE_EDGE <= start and start + seconds <= end + HOLE_EDGE for begin, end in holes)
    ]
    if gaps:
        first, total = gaps[0][0], sum(seconds for _, seconds in gaps)
        places = f" ({len(gaps)} places)" if len(gaps) > 1 else ""
        yield f"{total:.1f} s of the sound are missing from {first:.2f} s on{places}: the file holds none there"
    end, declared = resampler.end, resampler.declared_end
    # Where only the file as a whole declares an end, that of its longest stream, a track that ends before the others is
    # shorter than they are, not cut off.
    if declared is not None and max(end, others_end) < declared - EARLY_END_TOLERANCE:
        yield (
            f"{declared - end:.1f} s of the sound are missing at its end: "
            f"it ends at {end:.2f} s, the file declares {declared:.2f} s"
        )
    zeros = resampler.zero_runs
    dead = zeros.current / SAMPLE_RATE
    if dead >= DEAD_SECONDS and zeros.current > zeros.longest:
        yield f"the last {dead:.1f} s of the sound are missing: from {end - dead:.2f} s on every sample is zero"


def _start_time(track) -> float:
    return 0.0 if track.start_time is None else float(track.start_time * track.time_base)


def _declared_end(container, track) -> float | None:
    """When the track ends, in seconds, by what the file says of the track or else of the whole container."""
    end = _own_end(track)
    if end is not None:
        return end
    if container.duration is None:
        return None
    return ((container.start_time or 0) + container.duration) / av.time_base


def _own_end(track) -> float | None:
    """When the track ends, in seconds, by its stream's header or its DURATION tag (Matroska)."""
    if track.duration is not None:
        return _start_time(track) + float(track.duration * track.time_base)
    tag = DURATION_TAG.fullmatch(track.metadata.get("DURATION", ""))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
