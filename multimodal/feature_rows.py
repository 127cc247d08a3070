"""Features of many videos as one array on disk, of which single rows can be read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from safetensors import safe_open

from multimodal.catalogue import Video
from multimodal.store import InputError, Store, reading

DENSE = 8
"""A file is read whole where at least one row in so many is wanted, else run by run."""


class FeatureRows:
    """The features of all clips of ``videos``, one after the other, as `vision.assignment.Rows`.

    ``shape`` is (n, d). Each file is compared with its sum once, here. No file stays open or mapped: memory holds only what the caller keeps.
    Raises :class:`InputError` where the videos have features of several widths.
    """

    def __init__(self, store: Store, videos: Sequence[Video]):
        self._videos = list(videos)
        self._paths = [store.features(v.video, v.features) for v in self._videos]
        shapes = []
        for path in self._paths:
            with reading(path), safe_open(path, "numpy") as file:
                shapes.append(file.get_slice("values").get_shape())
        widths = {shape[1]: video for shape, video in zip(shapes, self._videos, strict=True)}
        if len(widths) > 1:
            one, other = sorted(widths)[:2]
            raise InputError(
                f"videos {widths[one].name} and {widths[other].name}: have {one} and {other} numbers a feature; a codebook "
                "is of one kind, keep them in a --store of their own"
            )
        self._ends = np.cumsum([shape[0] for shape in shapes])
        self.shape = (int(self._ends[-1]), shapes[0][1])

    def read(self, rows_N: np.ndarray) -> np.ndarray:
        """float [len, d]: the rows of ascending numbers."""
        # Ascending numbers: the rows of one file are a run, so each file is opened once.
        file_N = np.searchsorted(self._ends, rows_N, side="right")
        files, begins = np.unique(file_N, return_index=True)
        parts = [
            self._read_file(int(file), rows)
            for file, rows in zip(files, np.split(rows_N, begins[1:]), strict=True)
        ]
        return np.concatenate(parts)

    def _read_file(self, number: int, rows_N: np.ndarray) -> np.ndarray:
        own_N = rows_N - self._first_row(number)
        with safe_open(self._paths[number], "numpy") as file:
            values = file.get_slice("values")
            if len(own_N) * DENSE >= values.get_shape()[0]:
                return file.get_tensor("values")[own_N]
            runs = np.split(own_N, np.flatnonzero(np.diff(own_N) > 1) + 1)
            return np.concatenate([values[int(run[0]) : int(run[-1]) + 1] for run in runs])

    def _first_row(self, number: int) -> int:
        return int(self._ends[number - 1]) if number else 0

    def locate(self, row: int) -> tuple[Video, float]:
        """The video of a row and the second at which its clip begins."""
        number = int(np.searchsorted(self._ends, row, side="right"))
        with safe_open(self._paths[number], "numpy") as file:
            start = file.get_tensor("starts")[row - self._first_row(number)]
        return self._videos[number], float(start)
