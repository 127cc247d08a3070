"""The disk: what was written is forced to it, and an error tells whether it is full."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from safetensors import SafetensorError


def sync(path: Path) -> None:
    """Forces a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
