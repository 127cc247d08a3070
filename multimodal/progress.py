"""Progress reports: the callback by which long work tells how far it is, announcements of what it waits for, and the file in
a store by which a run tells other processes."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

Report = Callable[[int, int, str], None]
"""Arguments: units done, units in all, a few words for the person who waits."""

_listener: Callable[[str, str], None] = lambda what, amount: None  # noqa: E731 - replaced by `listen`


def announce(what: str, amount: str = "") -> None:
    """Says what is begun that counts no units, such as loading a model; ``amount``: how far it is, such as bytes of all.

    Model caches and downloads are reached from many places that know no :data:`Report`, so there is one listener for the
    process, as for a log.
    """
    _listener(what, amount)


def listen(listener: Callable[[str, str], None]) -> None:
    """Sets the listener of :func:`announce`."""
    global _listener
    _listener = listener


class _Stop:
    """A request to stop, which the training under way answers with a checkpoint."""

    def __init__(self) -> None:
        self.trainings = 0
        self.asked, self.answered = threading.Event(), threading.Event()
        self.step: int | None = None


_stop = _Stop()


@contextlib.contextmanager
def answering_stops() -> Iterator[None]:
    """A training asks :func:`stop_is_asked` after each step of the block, and tells :func:`checkpoint_made`."""
    _stop.trainings += 1
    try:
        yield
    finally:
        _stop.trainings -= 1


def stop_is_asked() -> bool:
    """Whether a checkpoint is waited for."""
    return _stop.asked.is_set() and not _stop.answered.is_set()


def checkpoint_made(step: int) -> None:
    if _stop.asked.is_set():
        _stop.step = step
        _stop.answered.set()


def checkpoint_now(seconds: float) -> int | None:
    """Asks the training under way for a checkpoint and waits for it; returns its step, ``None`` where there was none in time."""
    _stop.asked.set()
    if _stop.trainings:
        _stop.answered.wait(seconds)
    return _stop.step


RUN_FILE = ".run.json"
MOST_BYTES = 10_000


def tell(root: Path, stage: str, said: str) -> None:
    """Writes how far the run of this process is into its store. Not synced: it counts for as long as the process lives."""
    beside = root / f"{RUN_FILE}.{os.getpid()}.part"
    with contextlib.suppress(OSError):
        beside.write_text(json.dumps({"process": os.getpid(), "stage": stage, "said": said[:500]}))
        beside.replace(root / RUN_FILE)


def tell_end(root: Path) -> None:
    with contextlib.suppress(OSError):
        (root / RUN_FILE).unlink(missing_ok=True)


def told(root: Path, process: int) -> tuple[str, str] | None:
    """The stage of that process's run and how far it is, in words; ``None`` where it has told nothing."""
    try:
        with (root / RUN_FILE).open(encoding="utf-8") as file:
            stored = json.loads(file.read(MOST_BYTES))
        return (str(stored["stage"]), str(stored["said"])) if stored["process"] == process else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
