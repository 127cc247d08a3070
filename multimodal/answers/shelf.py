"""Owns vectors on disk: one kind's, in full and in half precision, with the number of the moment that each belongs to.

Three flat files that only grow, mapped into memory when they are read. Rows beyond those that were agreed on (a writer
was killed) are written over by the next.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from multimodal.answers.exact import rounding_error

FULL, HALF, NUMBER = np.dtype("<f4"), np.dtype("<i2"), np.dtype("<i8")


class Shelf:
    """Vectors [rows, width] in ``folder``/``name``.*; ``error`` is the largest rounding error of a half."""

    def __init__(self, folder: Path, name: str, rows: int, error: float, width: int):
        self.name, self.rows, self.width, self.error = name, rows, width, error
        self._paths = {
            "full": (folder / f"{name}.full", FULL, width),
            "halves": (folder / f"{name}.halves", HALF, width),
            "numbers": (folder / f"{name}.numbers", NUMBER, 1),
        }

    def is_whole(self) -> bool:
        """True where the files hold the rows that were agreed on."""
        return all(
            path.is_file() and path.stat().st_size >= self.rows * dtype.itemsize * width
            for path, dtype, width in self._paths.values()
        )

    def create(self) -> None:
        for path, _, _ in self._paths.values():
            path.touch()

    def _mapped(self, which: str, mode: str = "c") -> np.ndarray:
        path, dtype, width = self._paths[which]
        if not self.rows:
            return np.zeros((0, width), dtype)
        return np.memmap(path, dtype, mode, shape=(self.rows, width))

    def full(self) -> np.ndarray:
        return self._mapped("full")

    def halves(self) -> torch.Tensor:
        return torch.from_numpy(self._mapped("halves")).view(torch.bfloat16)

    def numbers(self) -> np.ndarray:
        """The moment's number of each row, ascending: int64 [rows]."""
        return self._mapped("numbers")[:, 0]

    def append(self, vectors: np.ndarray, first: int) -> None:
        """Adds those of ``vectors`` [n, width] that are not zero, as moments ``first``, ``first`` + 1, …"""
        some = np.flatnonzero(vectors.any(1))
        x = np.ascontiguousarray(vectors[some], FULL)
        halves = torch.from_numpy(x).bfloat16().view(torch.int16).numpy()
        for which, data in (("full", x), ("halves", halves), ("numbers", (some + first).astype(NUMBER))):
            path, dtype, width = self._paths[which]
            with path.open("r+b") as file:
                file.truncate(self.rows * dtype.itemsize * width)
                file.seek(0, os.SEEK_END)
                file.write(data.tobytes())
        self.rows += len(x)
        self.error = max(self.error, rounding_error(x))

    def blank(self, ranges: list[tuple[int, int]]) -> int:
        """Overwrites with zeros the vectors of the moments in each ``[first, after)``; returns how many there were."""
        numbers, blanked = self.numbers(), 0
        for which in ("full", "halves"):
            rows = self._mapped(which, "r+")
            for first, after in ranges:
                begin, end = np.searchsorted(numbers, (first, after))
                rows[begin:end] = 0
                blanked += int(end - begin)
            if self.rows:
                rows.flush()
        return blanked // 2

    def alive(self, ranges: np.ndarray) -> np.ndarray:
        """Which rows, bool [rows], belong to moments in one of ``ranges`` int64 [n, 2] of ``[first, after)``."""
        steps = np.zeros(self.rows + 1, np.int64)
        begins, ends = (np.searchsorted(self.numbers(), ranges[:, side]) for side in (0, 1))
        np.add.at(steps, begins, 1)
        np.add.at(steps, ends, -1)
        return steps[:-1].cumsum() > 0

    def sync(self) -> None:
        for path, _, _ in self._paths.values():
            with path.open("rb") as file:
                os.fsync(file.fileno())
