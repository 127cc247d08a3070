"""The time that work will still take, from how fast it was of late."""

from __future__ import annotations

import math
from collections import deque

LEAST_SECONDS = 5.0
LEAST_UNITS = 1.0
"""An estimate needs a basis: that many seconds, and units done in them."""
SECONDS_BETWEEN_SAMPLES = 0.5


class Pace:
    """The speed over the later half of the time since the work began, or went on from what an earlier run had done.

    What a beginning costs once (models that are loaded, caches that fill) counts ever less, and what comes at intervals
    (checkpoints, a held-out loss) counts as often as it comes.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()
        self._began = (0.0, 0.0)

    def add(self, now: float, done: float) -> None:
        """``done`` units at ``now`` seconds. Fewer than before begin another part of the work."""
        if not self._samples or done < self._samples[-1][1]:
            self._samples.clear()
            self._began = (now, done)
        elif now - self._samples[-1][0] < SECONDS_BETWEEN_SAMPLES and len(self._samples) > 1:
            self._samples.pop()
        self._samples.append((now, done))

    def seconds_left(self, now: float, total: float) -> int | None:
        """Seconds until ``total`` units are done, 1 at least; ``None`` without a basis, and where nothing is left."""
        if not self._samples:
            return None
        began, first = self._began
        last = self._samples[-1][1]
        if now - began < LEAST_SECONDS or last - first < LEAST_UNITS or last >= total:
            return None
        middle = began + (now - began) / 2
        while len(self._samples) > 1 and self._samples[1][0] <= middle:
            self._samples.popleft()
        since, before = self._samples[0]
        if last <= before:  # nothing was done of late: as fast as on the whole, at best
            since, before = began, first
        return max(1, math.ceil((now - since) * (total - last) / (last - before)))
