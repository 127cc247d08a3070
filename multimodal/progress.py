"""Progress reports: the callback by which long work tells how far it is, announcements of what it waits for, and the file in
a store by which a run tells other processes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
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
