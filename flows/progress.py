"""Progress of a stage on standard error: a bar on a terminal, elsewhere a plain line now and then.

Either tells what is done of how much, what is being loaded or downloaded, and the time that is left once there is a basis
for it (:mod:`flows.pace`).
"""

from __future__ import annotations

import contextlib
import datetime
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from flows import history
from flows.pace import Pace
from flows.printing import put, shown
from multimodal.progress import listen, tell, tell_end

Report = Callable[[float, float, str], None]
Amount = Callable[[float, float], str]
"""Units done and units in all, in words."""
LOADING = "loading PyTorch and Prefect"
SECONDS_BEFORE_WORDS = 2.0
"""Whoever waits longer is told what for."""
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_TOLD = 1.0
BAR_WIDTH = 16
_console = Console(stderr=True)


def say(line: str) -> None:
    """A line for people, on standard error."""
    _console.print(shown(line), highlight=False, markup=False, soft_wrap=True)


def restore_terminal() -> None:
    """Shows the cursor, which a bar hides."""
    _console.show_cursor(True)


def units(name: str) -> Amount:
    """``3 of 12 videos``."""
    return lambda done, total: f"{done:.0f} of {total:.0f} {name}".rstrip()


class _Stage:
    """The state of a stage; threads of its work report here, and a line or a bar shows it."""

    def __init__(self, name: str, amount: Amount):
        self.name, self.amount = name, amount
        self.done = self.total = 0.0
        self.words = self.what = self.how_far = ""
        self.began = time.monotonic()
        self._pace, self._lock = Pace(), threading.Lock()

    def report(self, done: float, total: float, words: str) -> None:
        with self._lock:
            self.done, self.total, self.words, self.what = done, total, words, ""
            self._pace.add(time.monotonic(), done)

    def announce(self, what: str, amount: str) -> None:
        self.what, self.how_far = what, amount

    def left(self) -> str:
        with self._lock:
            seconds = self._pace.seconds_left(time.monotonic(), self.total)
        return "" if seconds is None else f"{datetime.timedelta(seconds=seconds)} left"

    def amounts(self) -> str:
        return self.amount(self.done, self.total) if self.total else ""

    def doing(self) -> str:
        """What is waited for, else the words of the last report."""
        return f"{self.what} {self.how_far}".rstrip() if self.what else self.words

    def line(self) -> str:
        parts = [self.amounts(), self.doing(), self.left()]
        return f"{self.name}: {', '.join(filter(None, parts)) or 'begun'}"


_store: Path | None = None
"""The store that is told how far the run is."""
_stage: _Stage | None = None
"""The stage that is shown; announcements go to it."""


def _announced(what: str, amount: str) -> None:
    if _stage is not None:
        _stage.announce(what, amount)


listen(_announced)


class _Of(ProgressColumn):
    """A text of the stage, read whenever the bar is drawn."""

    def __init__(self, text: Callable[[], str], column: Column | None = None):
        super().__init__(column)
        self.max_refresh = None
        self.text = text

    def render(self, task: Task) -> Text:
        return Text(shown(self.text()))


@contextlib.contextmanager
def stage(name: str, unit: str | Amount = "", *, names_videos: bool = False) -> Iterator[Report]:
    """Shows the progress of a stage, and at its end a line with its seconds and the last words of its report.

    The report's arguments are the units done, the units in all, and a few words. A stage that reports nothing had nothing
    left to do. ``unit``: what is counted, in the plural, or a function that puts both numbers into words. ``names_videos``:
    the last words name one, and stay out of Prefect's history.
    """
    global _stage
    before = _stage
    _stage = current = _Stage(name, units(unit) if isinstance(unit, str) else unit)
    try:
        with _told(current), _in_history(current), _bar(current) if _console.is_terminal else _lines(current):
            yield current.report
    finally:
        _stage = before
    took, words = f"{time.monotonic() - current.began:.1f} s", current.words or history.NOTHING
    say(f"{name:<9} {took:>8}  {words}")
    if current.words:
        history.did(f"{name}: {current.amounts() if names_videos else words}, {took}")


def store_under_way() -> Path | None:
    """The store of this process's run."""
    return _store


@contextlib.contextmanager
def of_store(root: Path) -> Iterator[None]:
    """The stages inside of the block are told in the store, for a page that another process serves."""
    global _store
    before, _store = _store, root
    try:
        yield
    finally:
        _store = before
        tell_end(root)


@contextlib.contextmanager
def _told(current: _Stage) -> Iterator[None]:
    if (root := _store) is None:
        yield
        return

    def show(stopped: threading.Event) -> None:
        last = None
        while True:
            if (line := current.line()) != last:
                tell(root, current.name, line)
                last = line
            if stopped.wait(SECONDS_BETWEEN_TOLD):
                return

    with _beside(show):
        yield


@contextlib.contextmanager
def _in_history(current: _Stage) -> Iterator[None]:
    show = history.follower(current)
    with contextlib.nullcontext() if show is None else _beside(show):
        yield


@contextlib.contextmanager
def _bar(current: _Stage) -> Iterator[None]:
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(BAR_WIDTH),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        _Of(current.left),
        _Of(
            lambda: ", ".join(filter(None, [current.amounts(), current.doing()])),
            Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
    )
    with Progress(*columns, console=_console, transient=True, expand=True) as bar:
        task = bar.add_task(current.name, total=None)

        def show(stopped: threading.Event) -> None:
            while not stopped.wait(0.1):
                bar.update(task, completed=current.done, total=current.total or None)

        with _beside(show):
            yield


@contextlib.contextmanager
def _lines(current: _Stage) -> Iterator[None]:
    """A line after the first seconds, then one every ten, and one for each thing that is loaded or downloaded."""

    def show(stopped: threading.Event) -> None:
        due, told = time.monotonic() + SECONDS_BEFORE_WORDS, {""}
        while not stopped.wait(0.2):
            now, what = time.monotonic(), current.what
            if now >= due or what not in told:
                put(current.line(), sys.stderr)
                due = now + SECONDS_BETWEEN_LINES
                told.add(what)

    with _beside(show):
        yield


@contextlib.contextmanager
def _beside(show: Callable[[threading.Event], None]) -> Iterator[None]:
    """Runs ``show`` in a thread beside the block; its event is set at the end of the block, which waits for it."""
    stopped = threading.Event()
    showing = threading.Thread(target=show, args=(stopped,), daemon=True)
    showing.start()
    try:
        yield
    finally:
        stopped.set()
        showing.join()


@contextlib.contextmanager
def waiting(words: str, *, lines: bool = True) -> Iterator[None]:
    """Says what is waited for, where it takes more than a moment; elsewhere than on a terminal only with ``lines``."""
    status = _console.status(words) if _console.is_terminal else None

    def show() -> None:
        if status is not None:
            status.start()
        elif lines:
            put(f"{words} …", sys.stderr)

    timer = threading.Timer(SECONDS_BEFORE_WORDS, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if status is not None:
            status.stop()


def clock(seconds: float) -> str:
    """``1:02:05``, or ``2:05`` below an hour."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


class VideoProgress:
    """The progress of videos that are ingested side by side, in seconds of video; their threads report here.

    The length of a video is known when it has been probed. Until then it is estimated from its bytes, by those that are
    known, and the sum is said to be ``about`` so much.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._names: dict[str, str] = {}
        self._bytes: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._shares: dict[str, float] = {}

    def begin(self, report: Report, videos: dict[str, tuple[str, int]]) -> None:
        """``videos``: the name and the bytes of each, by digest."""
        self._report, self._seconds, self._shares = report, {}, {}
        self._names = {video: name for video, (name, _) in videos.items()}
        self._bytes = {video: size for video, (_, size) in videos.items()}

    def put(self, video: str, share: float, seconds: float | None = None) -> None:
        """``share``, 0 to 1, of a video is done, which is ``seconds`` long where that is known by now."""
        with self._lock:
            self._shares[video] = max(share, self._shares.get(video, 0.0))  # some are told late
            if seconds is not None:
                self._seconds[video] = seconds
            elif share >= 1:
                self._seconds.setdefault(video, 0.0)  # refused before its length was known
            if self._report:
                done = sum(seconds * self._shares[v] for v, seconds in self._seconds.items())
                ended = sum(share >= 1 for share in self._shares.values())
                words = f"{ended} of {len(self._bytes)} videos" if len(self._bytes) > 1 else ""
                self._report(done, self._total(), ", ".join(filter(None, [words, self._names[video]])))

    def _total(self) -> float:
        """Seconds in all; 0 where no length is known yet."""
        known = sum(self._seconds.values())
        read = sum(self._bytes[v] for v in self._seconds if self._seconds[v])
        unread = sum(size for v, size in self._bytes.items() if v not in self._seconds)
        return known + known / read * unread if read else known

    def amount(self, done: float, total: float) -> str:
        """``0:10 of about 2:05 of video``."""
        about = "about " if len(self._seconds) < len(self._bytes) else ""
        return f"{clock(done)} of {about}{clock(total)} of video"


video_progress = VideoProgress()
