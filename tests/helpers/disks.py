"""File systems of the tests' own, in memory: small ones fill up, and only one of its own can be made read-only."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A new folder ``place`` on a file system of so many bytes (``40m``); a skip where none can be mounted."""
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield place
    finally:
        # Lazily: a process that is ending may hold a file in it.
        subprocess.run(["umount", "-l", place], check=True)


def remount(disk: Path, how: str) -> None:
    """Another size (``size=900m``), or ``ro`` and ``rw``."""
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


def fill(disk: Path) -> Path:
    """The file that takes all the space that is left."""
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb") as stream:
        while True:
            stream.write(bytes(4096))
            stream.flush()
    return filler
