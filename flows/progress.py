"""Progress of a stage on standard error: a bar on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import contextlib
import datetime
import sys
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Report = Callable[[float, float, str], None]
SECONDS_BETWEEN_LINES = 10.0
_console = Console(stderr=True)


def say(line: str) -> None:
    """A line for people, on standard error."""
    _console.print(line, highlight=False, markup=False, soft_wrap=True)


def restore_terminal() -> None:
    """Shows the cursor, which a bar hides."""
    _console.show_cursor(True)


@contextlib.contextmanager
def stage(name: str) -> Iterator[Report]:
    """Shows the progress of a stage, and at its end a line with its seconds and the last words of its report.

    The report's arguments are the units done, the units in all, and a few words. A stage that reports nothing had nothing
    left to do.
    """
    began = time.monotonic()
    last = ""
    if _console.is_terminal:
        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
        )
        with Progress(*columns, console=_console, transient=True) as bar:
            task = bar.add_task(name, total=None, words="")

            def show(done: float, total: float, words: str) -> None:
                nonlocal last
                last = words
                bar.update(task, completed=done, total=total, words=words)

            yield show
    else:
        printed = began
        # The pace counts from the first report on: what was done before it cost no time now.
        first: tuple[float, float] | None = None

        def show(done: float, total: float, words: str) -> None:
            nonlocal printed, last, first
            last, now = words, time.monotonic()
            first = first or (now, done)
            if now - printed >= SECONDS_BETWEEN_LINES:
                printed = now
                left = _time_left(now - first[0], done - first[1], total - done)
                print(f"{name}: {done:.0f} of {total:.0f}, {words}{left}", file=sys.stderr, flush=True)

        yield show
    say(f"{name:<9} {time.monotonic() - began:6.1f} s  {last or 'nothing left to do'}")


def _time_left(seconds: float, done: float, left: float) -> str:
    """``, 0:12:30 left``: ``left`` units at the pace of ``done`` units in ``seconds``; empty before anything is done."""
    return f", {datetime.timedelta(seconds=round(seconds * left / done))} left" if done > 0 else ""


class VideoProgress:
    """The progress of videos that are ingested side by side, each from 0 to 1; their threads report here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: dict[str, float] = {}
        self._report: Report | None = None
        self._total = 0

    def begin(self, report: Report, total: int) -> None:
        self._done, self._report, self._total = {}, report, total

    def put(self, video: str, name: str, share: float) -> None:
        with self._lock:
            self._done[video] = share
            if self._report:
                self._report(sum(self._done.values()), self._total, name)


video_progress = VideoProgress()
"""In this module, not in that of the task that reports: a task that is sent to another machine takes the objects of its
module along, and a lock cannot be sent."""
