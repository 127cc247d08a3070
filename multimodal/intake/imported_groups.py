"""Features that a program writes as several files of one video: `video_features` has one a stream and one of times.

NAME_rgb.npy and NAME_flow.npy are the two streams of a network, whose features are one row side by side.
NAME_timestamps_ms.npy has the time of each row, NAME_fps.npy the frame rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from multimodal.intake.imported_arrays import ARRAYS, read_arrays
from multimodal.library import label_of
from multimodal.store import InputError

STREAMS = ("_rgb", "_flow")
TIMES, RATE = "_timestamps_ms", "_fps"
NETWORKS = ("_i3d", "_s3d", "_r21d", "_clip", "_resnet", "_timm")
"""Endings of single streams; they are part of a video's name unless a file of times lies beside them."""


@dataclasses.dataclass(frozen=True)
class Group:
    """The ``files`` of one video, in the order of the import. The last stands for all of them."""

    label: str
    files: tuple[Path, ...]

    @property
    def last(self) -> Path:
        return self.files[-1]

    def by_suffix(self, suffix: str) -> Path | None:
        return next((file for file in self.files if _parted(file)[1] == suffix), None)


def grouped(files: Sequence[Path]) -> dict[Path, Group]:
    """The group of each file that is part of one."""
    parts: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        if file.suffix.lower() in ARRAYS:
            parts.setdefault((file.parent, _parted(file)[0]), []).append(file)
    found = {}
    for (_, base), members in parts.items():
        suffixes = [_parted(file)[1] for file in members]
        timed = TIMES in suffixes or RATE in suffixes
        features = [s for s in suffixes if s in STREAMS or (timed and s not in (TIMES, RATE))]
        doubled = len(set(suffixes)) < len(suffixes)
        if not features or doubled or (len(features) > 1 and not set(features) <= set(STREAMS)):
            continue
        if not any(suffix in (*STREAMS, TIMES, RATE) for suffix in suffixes):
            continue
        group = Group(label_of(Path(base)), tuple(members))
        found |= dict.fromkeys(members, group)
    return found


def labels_of(files: Sequence[Path]) -> dict[Path, str]:
    """The label of each file's video."""
    groups = grouped(files)
    return {file: groups[file].label if file in groups else label_of(file) for file in files}


def _parted(file: Path) -> tuple[str, str]:
    """The name before a known suffix, with the file's ending, and the suffix, which may be empty."""
    for suffix in (*STREAMS, TIMES, RATE, *NETWORKS):
        if file.stem.endswith(suffix) and file.stem != suffix:
            return file.stem.removesuffix(suffix) + file.suffix, suffix
    return file.name, ""


def read_group(group: Group) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a group as those of one file, and a note on what was put together. Raises InputError.

    A time above 0 for the first row is when the row ends, as of a network that has then read its last frame; else it is
    when the row begins.
    """
    streams = [(file, read_arrays(file)) for file in group.files if _parted(file)[1] not in (TIMES, RATE)]
    streams.sort(key=lambda part: (*STREAMS, *NETWORKS, "").index(_parted(part[0])[1]))
    arrays = dict(streams[0][1])
    notes = []
    if len(streams) > 1:
        values = [_only(file, held) for file, held in streams]
        if len({len(v) for v in values}) > 1 or any(v.ndim != 2 for v in values):
            shapes = ", ".join(
                f"{file.name} {list(v.shape)}" for (file, _), v in zip(streams, values, strict=True)
            )
            raise InputError(f"{shapes}: two streams of one video have as many rows; make them again")
        arrays = {"features": np.concatenate(values, axis=1)}
        notes.append(f"{' and '.join(file.name for file, _ in streams)} side by side")
    if (file := group.by_suffix(TIMES)) is not None:
        count = len(next(iter(arrays.values())))
        times = _only(file, read_arrays(file))
        times = times[:, 0] if times.ndim == 2 and times.shape[1] == 1 else times
        if times.shape != (count,) or times.dtype.kind not in "fiu":
            raise InputError(
                f"{file.name}: {times.dtype} of shape {list(times.shape)}; {count} numbers of milliseconds are needed, one a row"
            )
        seconds = times.astype(np.float64) / 1000
        if count and seconds[0] > 0:
            arrays |= {"starts": np.maximum(seconds - seconds[0], 0.0), "ends": seconds}
        else:
            arrays |= {"starts": seconds}
        notes.append(f"times of {file.name}")
    return arrays, "; ".join(notes)


def _only(file: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if len(arrays) != 1:
        raise InputError(f"{file.name}: holds {len(arrays)} arrays; one is needed")
    return next(iter(arrays.values()))
