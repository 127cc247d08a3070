"""The sound of a file: mono, 16 kHz, on the container's own timeline."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.stream import Discard

SAMPLE_RATE = 16_000
FULL_SCALE = 2.0**15
# A frame this far from where the frame before it ended is moved to its own time stamp. Containers that count
# milliseconds, and recorders that stamp packets as they arrive, stay below it.
TIME_TOLERANCE = 0.04
BACKWARDS_TOLERANCE = 1.0
LONGEST_UNDECLARED_GAP = 600.0
EARLY_END_TOLERANCE = 0.5
LONGEST_SOUND = 6 * 3600.0
PIECE_SECONDS = 60.0
DURATION_TAG = re.compile(r"(\d{1,5}):(\d\d):(\d\d(?:\.\d{1,9})?)")
# Formats that hold their own data. Playlists and scripts that name other files or addresses are not among them.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpeg,mpegts,mpegvideo,ogg,wav,w64,mp3,flac,aac,asf,aiff,caf,amr"


class AudioError(ValueError):
    """A file whose sound cannot be had; the message names the file, the rule and the remedy."""


@dataclass(frozen=True, eq=False)
class Sound:
    """Mono sound.

    `samples`: float32 [n] in [-1, 1) at 16 kHz. `start`: the time of the first sample, in seconds on the
    container's timeline. `problems`: what was wrong with the file, one sentence each. `declared_seconds`: how
    long the file says its sound is, None where it does not say.
    """

    samples: np.ndarray
    start: float
    problems: tuple[str, ...] = ()
    declared_seconds: float | None = None

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def end(self) -> float:
        return self.start + self.seconds


def read(path: str | Path, *, stream: int | None = None) -> Sound:
    """The whole of one sound track; see `pieces`, which do not need all of it in memory at once."""
    parts = list(pieces(path, stream=stream))
    samples = np.concatenate([part.samples for part in parts])
    return Sound(samples, parts[0].start, parts[-1].problems, parts[-1].declared_seconds)


def pieces(path: str | Path, *, stream: int | None = None, seconds: float = PIECE_SECONDS) -> Iterator[Sound]:
    """Decode one sound track of the file at `path`, `seconds` at a time, each piece where the one before ends.

    What cannot be decoded is silence and a problem in words; the problems stand in the last piece.
    `stream` is the track's index among all streams of the container; None takes the one that FFmpeg prefers.
    Samples are those that openai-whisper's own loader would give (16-bit mono from FFmpeg's resampler), but the
    track's start time is kept and gaps between packets are filled with silence, so that a sample's time is
    `start + index / 16000`. Raises AudioError where there is no such track or nothing of it can be decoded.
    """
    path = Path(path)
    try:
        # "file:" keeps a name such as "concat:a|b" a name.
        container = av.open(
            f"file:{path.absolute()}",
            options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError) as error:
        raise AudioError(
            f"{path.name}: cannot be opened as a sound or video file ({_reason(error)})"
        ) from error
    with container:
        track = _track(container, stream, path.name)
        for other in container.streams:
            if other.index != track.index:
                other.discard = Discard.all
        yield from _decode(container, track, path.name, round(seconds * SAMPLE_RATE))


def _track(container, stream: int | None, name: str):
    if stream is None:
        track = container.streams.best("audio")
        if track is None:
            raise AudioError(f"{name}: has no sound track; give a caption file beside it to have its words")
        return track
    tracks = {track.index: track for track in container.streams.audio}
    if stream not in tracks:
        listed = ", ".join(map(str, tracks)) or "none"
        raise AudioError(f"{name}: stream {stream} is not a sound track; its sound tracks are: {listed}")
    return tracks[stream]


def _decode(container, track, name: str, size: int) -> Iterator[Sound]:
    placer = _Placer(_start_time(track), _declared_end(container, track))
    problems = []
    damaged = packets = given = 0

    def piece(samples: np.ndarray, problems: Sequence[str] = ()) -> Sound:
        nonlocal given
        start = placer.start + given / SAMPLE_RATE
        given += len(samples)
        declared = None if placer.declared_end is None else placer.declared_end - placer.start
        return Sound(samples, start, tuple(problems), declared)

    try:
        for packet in container.demux(track):
            packets += 1
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                placer.add(frame)
            while placer.waiting > size:
                yield piece(placer.take(size))
            if placer.seconds > LONGEST_SOUND:
                problems.append(f"only the first {LONGEST_SOUND / 3600:.0f} hours of sound were read")
                break
    except av.error.FFmpegError as error:
        problems.append(f"the file breaks off at {placer.end:.2f} s of its sound ({_reason(error)})")
    placer.finish()
    while placer.waiting > size:
        yield piece(placer.take(size))
    last = placer.take(size)
    if not given + len(last):
        raise AudioError(f"{name}: nothing of its sound track could be decoded; re-encode the file")
    if damaged:
        problems.append(f"{damaged} of {packets} sound packets are damaged and are heard as silence")
    problems.extend(placer.problems)
    declared_end = placer.declared_end
    if declared_end is not None and placer.end < declared_end - EARLY_END_TOLERANCE:
        problems.append(f"the sound ends at {placer.end:.2f} s; the file declares {declared_end:.2f} s")
    yield piece(last, problems)


def _start_time(track) -> float:
    return 0.0 if track.start_time is None else float(track.start_time * track.time_base)


def _declared_end(container, track) -> float | None:
    """When the file says that the track ends: by the stream, its DURATION tag, or the whole container."""
    if track.duration is not None:
        return _start_time(track) + float(track.duration * track.time_base)
    tag = DURATION_TAG.fullmatch(track.metadata.get("DURATION", ""))
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    if container.duration is None:
        return None
    return ((container.start_time or 0) + container.duration) / av.time_base


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


class _Placer:
    """Puts decoded frames where their time stamps say, as 16 kHz mono.

    Frames that follow each other go through one resampler, a run. Where a time stamp differs from the end of the
    frame before, the run ends, and silence is added or an overlap cut.
    """

    def __init__(self, start: float, declared_end: float | None):
        self.start = start
        self.declared_end = declared_end
        self.problems: tuple[str, ...] = ()
        self._pieces: deque[np.ndarray] = deque()
        self.waiting = 0
        self._written = 0
        self._cut = 0
        self._shift = 0.0
        self._resampler = None
        self._format = None
        self._expected: float | None = None

    @property
    def seconds(self) -> float:
        return self._written / SAMPLE_RATE

    @property
    def end(self) -> float:
        return self.start + self.seconds

    def add(self, frame) -> None:
        if not frame.samples or not frame.rate:
            return
        time = self._time(frame)
        layout = (frame.format.name, frame.layout.name, frame.rate)
        if self._expected is None:
            self.start = time
        if self._expected is None or abs(time - self._expected) > TIME_TOLERANCE:
            self._end_run()
            self._move_to(time)
            self._expected = time
        elif layout != self._format:
            self._end_run()
        if self._resampler is None:
            self._format = layout
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        frame.pts = None
        self._write(self._resampler.resample(frame))
        self._expected += frame.samples / frame.rate

    def finish(self) -> None:
        """What the resampler still holds is written."""
        self._end_run()

    def take(self, size: int) -> np.ndarray:
        """float32 [n] in [-1, 1): the first `size` samples that wait to be taken, or all where there are fewer."""
        parts, missing = [], size
        while missing and self._pieces:
            part = self._pieces.popleft()
            if len(part) > missing:
                self._pieces.appendleft(part[missing:])
                part = part[:missing]
            parts.append(part)
            missing -= len(part)
        samples = np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)
        self.waiting -= len(samples)
        samples /= FULL_SCALE
        return samples

    def _append(self, samples: np.ndarray) -> None:
        self._pieces.append(samples)
        self._written += len(samples)
        self.waiting += len(samples)

    def _time(self, frame) -> float:
        """The frame's time stamp; one that cannot be true is taken as following the frame before."""
        if frame.pts is None or frame.time_base is None:
            return self.start if self._expected is None else self._expected
        time = float(frame.pts * frame.time_base) + self._shift
        if self._expected is None:
            return time
        last = self.declared_end if self.declared_end is not None else self._expected + LONGEST_UNDECLARED_GAP
        last = max(last, self._expected) + BACKWARDS_TOLERANCE
        if not self._expected - BACKWARDS_TOLERANCE <= time <= min(last, self.start + LONGEST_SOUND):
            self._shift += self._expected - time
            self.problems = ("time stamps of the sound leap and were taken as continuous from there",)
            return self._expected
        return time

    def _move_to(self, time: float) -> None:
        missing = round((time - self.start) * SAMPLE_RATE) - self._written
        if missing > 0:
            self._append(np.zeros(missing, np.int16))
        self._cut = max(-missing, 0)

    def _end_run(self) -> None:
        if self._resampler is not None:
            self._write(self._resampler.resample(None))
            self._resampler = None

    def _write(self, frames) -> None:
        for frame in frames:
            samples = frame.to_ndarray()[0][self._cut :]
            self._cut -= min(self._cut, frame.samples)
            self._append(samples)
