"""Owns what a person sees of a stage under way: a bar on a terminal, a plain line now and then elsewhere."""

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


def give_back_terminal() -> None:
    """Shows the cursor again that a bar had hidden."""
    _console.show_cursor(True)


@contextlib.contextmanager
def stage(name: str) -> Iterator[Report]:
    """Shows how far the stage is. The report takes what is done, what there is to do, and a few words."""
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
        said = began
        first: tuple[float, float] | None = None

        def show(done: float, total: float, words: str) -> None:
            nonlocal said, last, first
            last, now = words, time.monotonic()
            first = first or (now, done)
            if now - said >= SECONDS_BETWEEN_LINES:
                said = now
                left = _time_left(now - first[0], done - first[1], total - done)
                print(f"{name}: {done:.0f} of {total:.0f}, {words}{left}", file=sys.stderr, flush=True)

        yield show
    say(f"{name:<9} {time.monotonic() - began:6.1f} s  {last or 'nothing left to do'}")


def _time_left(seconds: float, done: float, left: float) -> str:
    """``, 0:12:30 left`` at the pace of what was done in these seconds; nothing before there is a pace."""
    return f", {datetime.timedelta(seconds=round(seconds * left / done))} left" if done > 0 else ""


class Shares:
    """How far each video under way is; the threads that take them in report here."""

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


shares = Shares()
"""Here, and not beside the task that reports: a task is sent to other machines with what lies beside it."""
