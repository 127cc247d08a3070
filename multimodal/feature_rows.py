"""Owns the features of many videos as one long array on disk, of which only the rows asked for are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from safetensors import safe_open

from multimodal.catalogue import Video
from multimodal.store import InputError, Store

DENSE = 8
"""A file is read whole where at least one in so many of its rows is wanted, else run by run."""


class FeatureRows:
    """The clips of ``videos``, one after the other, as `vision.tree.Rows`: ``shape`` (n, d) and ``read``.

    No file stays open or mapped: what is held is what the caller keeps. Raises :class:`InputError` where the videos have
    features of several widths.
    """

    def __init__(self, store: Store, videos: Sequence[Video]):
        self._videos = list(videos)
        self._paths = [store.features(v.video, v.features) for v in self._videos]
        shapes = []
        for path in self._paths:
            with safe_open(path, "numpy") as file:
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
        whose_N = np.searchsorted(self._ends, rows_N, side="right")
        found, begins = np.unique(whose_N, return_index=True)
        parts = [
            self._of_file(int(file), rows)
            for file, rows in zip(found, np.split(rows_N, begins[1:]), strict=True)
        ]
        return np.concatenate(parts)

    def _of_file(self, number: int, rows_N: np.ndarray) -> np.ndarray:
        own = rows_N - (self._ends[number - 1] if number else 0)
        with safe_open(self._paths[number], "numpy") as file:
            values = file.get_slice("values")
            if len(own) * DENSE >= values.get_shape()[0]:
                return file.get_tensor("values")[own]
            runs = np.split(own, np.flatnonzero(np.diff(own) > 1) + 1)
            return np.concatenate([values[int(run[0]) : int(run[-1]) + 1] for run in runs])

    def where(self, row: int) -> tuple[Video, float]:
        """The video of a row and the second at which its clip begins."""
        number = int(np.searchsorted(self._ends, row, side="right"))
        with safe_open(self._paths[number], "numpy") as file:
            own = row - int(self._ends[number - 1] if number else 0)
            return self._videos[number], float(file.get_tensor("starts")[own])
