"""The lock of a store: one process at a time writes, and the system releases the lock when it ends in any way."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

NAME = ".lock"
"""The file of a store in which the holder's number stands."""


class HeldError(Exception):
    """Another process holds the lock; the argument is its number, with its machine where that is another one, or
    ``unknown``."""


@contextlib.contextmanager
def exclusive(named: Path, kept: Path) -> Iterator[None]:
    """Holds the locks (flock) of two files: ``named``, in which the holder's number and machine stand, and ``kept``.

    Somebody may delete ``named`` while it is held, and a new file of that name is not locked. ``kept`` is one that the
    store cannot be without. Raises :class:`HeldError` where another process holds either.
    """
    with contextlib.ExitStack() as held:
        lock = held.enter_context(named.open("a+"))
        _take(lock.fileno(), fcntl.LOCK_EX, named)
        _take(held.enter_context(kept.open("r+")).fileno(), fcntl.LOCK_EX, named)
        lock.truncate(0)
        lock.write(f"{os.getpid()} {socket.gethostname()}")
        lock.flush()
        yield


@contextlib.contextmanager
def shared(named: Path, kept: Path) -> Iterator[None]:
    """Holds the same locks for reading, so that nobody writes meanwhile; writes nothing itself.

    Raises :class:`HeldError` where a process writes.
    """
    with contextlib.ExitStack() as held:
        for path in (named, kept):
            if path.exists():
                _take(held.enter_context(path.open("rb")).fileno(), fcntl.LOCK_SH, named)
        yield


def holder(named: Path) -> int | None:
    """The process that holds the lock ``named`` now, ``None`` where none does. The lock is looked at, never taken."""
    try:
        inode = named.stat().st_ino
        # As /proc/locks has it: `1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`.
        rows = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    except OSError:
        return None
    held = (int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].rpartition(":")[2] == str(inode))
    return next(held, None)


def _take(descriptor: int, how: int, named: Path) -> None:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError as error:
        written = named.read_text(errors="replace").strip() if named.exists() else ""
        number, _, machine = written.partition(" ")
        elsewhere = f" on {machine}" if machine and machine != socket.gethostname() else ""
        raise HeldError(f"{number or 'unknown'}{elsewhere}") from error
