"""The disk: what was written is forced to it, an error tells whether it is full, what tells that a file is as it was."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import shutil
import socket
import sqlite3
from pathlib import Path

from safetensors import SafetensorError

LONGEST_NAME = 200
"""Bytes of a file's name, of 255 that file systems admit, to which what marks a file beside it can be added."""


def sync(path: Path) -> None:
    """Forces a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def share(path: Path) -> None:
    """Gives a file its folder's rights to read and to write: safetensors lets nobody but the owner read what it writes.
    A folder stays as it is."""
    if path.is_file():
        path.chmod(path.parent.stat().st_mode & 0o666)


def out_of_space(error: BaseException | None) -> bool:
    """True where ``error``, or an error that led to it, reports a full disk; SQLite and safetensors report it as text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if isinstance(error, sqlite3.OperationalError) and str(error).endswith(("is full", "disk I/O error")):
            return True
        if isinstance(error, SafetensorError) and f"os error {errno.ENOSPC}" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@dataclasses.dataclass(frozen=True)
class FileState:
    """What tells that a file is as it was: its device and inode, its ``bytes``, and when it was ``changed`` (ns)."""

    device: int
    inode: int
    bytes: int
    changed: int


def names_in(folder: Path) -> set[str]:
    """The names in a folder, read at once: asked one by one, those of a large library take longer. None where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except FileNotFoundError:
        return set()


def part_of(path: Path) -> Path:
    """The place where this process writes what will be ``path``; a long name is digested, so that the mark fits beside it.

    Processes of two machines, or of two containers, may have the same number and write the same on one file system.
    """
    name = path.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    return path.with_name(f".{name}.{machine}-{os.getpid()}.part")


def remove_parts(root: Path) -> None:
    """Removes what :func:`part_of` names under a folder: the unfinished files of killed writers, where nobody else may write."""
    for left in list(root.glob("**/.*.part")):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
