"""Puts decoded sound where its time stamps say: 16 kHz mono, with silence where nothing is."""

from __future__ import annotations

from collections import deque

import av
import numpy as np

SAMPLE_RATE = 16_000
LONGEST_SOUND = 6 * 3600.0
FULL_SCALE = 2.0**15
# A frame this far from where the frame before it ended is moved to its own time stamp. Containers that count
# milliseconds, and recorders that stamp packets as they arrive, stay below it.
TIME_TOLERANCE = 0.04
BACKWARDS_TOLERANCE = 1.0
LONGEST_UNDECLARED_GAP = 600.0
HOLE_SECONDS = 0.5  # packets further apart than they last by this much leave a hole that is reported


class Silence:
    """Runs of samples that are exactly zero: `run` at the end so far, the `longest` of those before; 0 before any sound."""

    def __init__(self):
        self.run = self.longest = 0
        self._any = False

    def add(self, samples: np.ndarray) -> None:
        """The samples that follow, [n]."""
        loud = np.flatnonzero(samples)
        if not len(loud):
            self.run += len(samples) if self._any else 0
            return
        self._any = True
        self.longest = max(self.longest, self.run + int(loud[0]), int(np.diff(loud).max(initial=1)) - 1)
        self.run = len(samples) - 1 - int(loud[-1])


class Placer:
    """Puts decoded frames where their time stamps say, as 16 kHz mono.

    Frames that follow each other go through one resampler, a run. Where a time stamp differs from the end of the
    frame before, the run ends, and silence is added or an overlap cut. `holes` are (second, seconds) of what was added
    where as much as HOLE_SECONDS were missing; `silence` is of what was taken.
    """

    def __init__(self, start: float, declared_end: float | None):
        self.start = start
        self.declared_end = declared_end
        self.problems: tuple[str, ...] = ()
        self.holes: list[tuple[float, float]] = []
        self.silence = Silence()
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
        self.silence.add(samples)
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
        if missing >= HOLE_SECONDS * SAMPLE_RATE:
            self.holes.append((self.end, missing / SAMPLE_RATE))
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
