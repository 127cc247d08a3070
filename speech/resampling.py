"""Resampling to 16 kHz mono from the file's start: each frame at its time stamp, silence in the gaps."""

from __future__ import annotations

from collections import deque

import av
import numpy as np

SAMPLE_RATE = 16_000
LONGEST_AUDIO = 6 * 3600.0
FULL_SCALE = 2.0**15
# A frame this far from where the frame before it ended is moved to its own time stamp. Containers that count
# milliseconds, and recorders that stamp packets as they arrive, stay below it.
TIME_TOLERANCE = 0.04
BACKWARDS_TOLERANCE = 1.0
LONGEST_UNDECLARED_GAP = 600.0
GAP_SECONDS = 0.5  # a gap at least this long is reported as a problem


class ZeroRuns:
    """Runs of samples that are exactly zero, over audio that comes in parts. Zeros before any sound do not count.

    `current`: the length of the run that the audio ends with so far. `longest`: that of the longest one before it.
    """

    def __init__(self):
        self.current = self.longest = 0
        self._any_sound = False

    def add(self, samples: np.ndarray) -> None:
        """Counts the samples that follow, [n]."""
        nonzero = np.flatnonzero(samples)
        if not len(nonzero):
            self.current += len(samples) if self._any_sound else 0
            return
        self._any_sound = True
        # The run from the part before ends at the first sound of this one; others lie between two sounds.
        within = int(np.diff(nonzero).max(initial=1)) - 1
        self.longest = max(self.longest, self.current + int(nonzero[0]), within)
        self.current = len(samples) - 1 - int(nonzero[-1])


class TimelineResampler:
    """Decoded frames as 16 kHz mono samples, each at the time of its stamp.

    `start`: the time of the first sample, in seconds from the file's start. `declared_end`: when the file says
    that the track ends, None where it does not say. `gaps`: (time, length) in seconds of the silence that was put in
    where at least GAP_SECONDS were missing. `problems`: one sentence each. `waiting`: the number of samples that can be
    taken. `zero_runs`: of the samples taken.
    """

    def __init__(self, start: float, declared_end: float | None):
        self.start = start
        self.declared_end = declared_end
        self.problems: tuple[str, ...] = ()
        self.gaps: list[tuple[float, float]] = []
        self.zero_runs = ZeroRuns()
        self.waiting = 0
        self._ready: deque[np.ndarray] = deque()
        self._written = 0
        self._cut = 0  # samples still to be dropped because the frame before reached into them
        self._shift = 0.0  # seconds added to time stamps since one that could not be true
        self._resampler = None
        self._format = None
        self._expected: float | None = None  # when the next frame should start

    @property
    def seconds(self) -> float:
        return self._written / SAMPLE_RATE

    @property
    def end(self) -> float:
        return self.start + self.seconds

    def add(self, frame: av.AudioFrame) -> None:
        """Resamples the frame that was decoded next. Its time stamp is removed."""
        if not frame.samples or not frame.rate:
            return
        time = self._time(frame)
        format = (frame.format.name, frame.layout.name, frame.rate)
        if self._expected is None:
            self.start = time
        # Frames that follow each other go through one resampler, whose filter reaches from frame to frame: a new one
        # for each frame would click at every border. A leap in time or another format needs a new one.
        if self._expected is None or abs(time - self._expected) > TIME_TOLERANCE:
            self._flush()
            self._move_to(time)
            self._expected = time
        elif format != self._format:
            self._flush()
        if self._resampler is None:
            self._format = format
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        # With time stamps FFmpeg's resampler would fill and cut by itself, by rules of its own.
        frame.pts = None
        self._write(self._resampler.resample(frame))
        # Counted on from the first frame of the run, not read from each stamp: rounding of stamps does not add up.
        self._expected += frame.samples / frame.rate

    def finish(self) -> None:
        """Writes the samples that the resampler still holds."""
        self._flush()

    def take(self, size: int) -> np.ndarray:
        """The first `size` samples that wait, or all where there are fewer: float32 [n] in [-1, 1)."""
        parts, missing = [], size
        while missing and self._ready:
            part = self._ready.popleft()
            if len(part) > missing:
                self._ready.appendleft(part[missing:])
                part = part[:missing]
            parts.append(part)
            missing -= len(part)
        samples = np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)
        self.waiting -= len(samples)
        self.zero_runs.add(samples)
        samples /= FULL_SCALE
        return samples

    def _append(self, samples: np.ndarray) -> None:
        self._ready.append(samples)
        self._written += len(samples)
        self.waiting += len(samples)

    def _time(self, frame: av.AudioFrame) -> float:
        """The frame's time in seconds. One without a stamp, or whose stamp cannot be true, follows the frame before."""
        if frame.pts is None or frame.time_base is None:
            return self.start if self._expected is None else self._expected
        time = float(frame.pts * frame.time_base) + self._shift
        if self._expected is None:
            return time
        # A wrong stamp must not ask for hours of silence: none lies after the declared end, or, where the file declares
        # none, far after the frame before. None lies far before the frame before, either.
        last = self.declared_end if self.declared_end is not None else self._expected + LONGEST_UNDECLARED_GAP
        last = max(last, self._expected) + BACKWARDS_TOLERANCE
        if not self._expected - BACKWARDS_TOLERANCE <= time <= min(last, self.start + LONGEST_AUDIO):
            # Recorders that leap do not leap back: the stamps after this one are shifted alike.
            self._shift += self._expected - time
            self.problems = ("time stamps of the sound leap and were taken as continuous from there",)
            return self._expected
        return time

    def _move_to(self, time: float) -> None:
        """Makes the next sample the one at `time`: by silence where there is a gap, by a cut where frames overlap."""
        missing = round((time - self.start) * SAMPLE_RATE) - self._written
        if missing >= GAP_SECONDS * SAMPLE_RATE:
            self.gaps.append((self.end, missing / SAMPLE_RATE))
        if missing > 0:
            self._append(np.zeros(missing, np.int16))
        self._cut = max(-missing, 0)

    def _flush(self) -> None:
        if self._resampler is not None:
            self._write(self._resampler.resample(None))
            self._resampler = None

    def _write(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            samples = frame.to_ndarray()[0][self._cut :]
            self._cut -= min(self._cut, frame.samples)
            self._append(samples)
