"""Owns doing harm to a store: bits are flipped, files cut short, catalogues edited behind the program's back."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from multimodal.sums import sum_file


def empty(path: Path) -> None:
    path.write_bytes(b"")


def halve(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip(path: Path, bit: int | None = None) -> None:
    """One bit, in the middle where none is named: the size stays."""
    data = bytearray(path.read_bytes())
    bit = len(data) // 2 * 8 if bit is None else bit
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


HARMS = {"empty": empty, "halved": halve, "flipped": flip}


@contextlib.contextmanager
def edited(catalogue: Path) -> Iterator[sqlite3.Connection]:
    """The catalogue open for statements of a test's own; its sum, which would tell of them, is taken away."""
    sum_file(catalogue).unlink(missing_ok=True)
    with sqlite3.connect(catalogue) as db:
        yield db
    db.close()
