"""The figures of a training under way: a line a step in ``metrics.jsonl``, and the same as curves for TensorBoard."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from multimodal.store import DamagedFile, file_digest, seal, unseal, write_whole
from multimodal.sums import ALL, sum_line
from multimodal.training.checkpoints import METRICS

CURVES = "tensorboard"


class TrainingLog:
    """Both in ``root``, cut back to the steps up to ``step``: what a stopped run wrote after its last checkpoint goes, and a
    line that it left half written. TensorBoard hides the later events of the runs before (``purge_step``).

    When the training has ended both have their sums. Raises :class:`DamagedFile` for a damaged line of ``metrics.jsonl``.
    """

    def __init__(self, root: Path, step: int):
        self._metrics, self._folder = metrics, curves = root / METRICS, root / CURVES
        kept = _lines(metrics, step)
        unseal(metrics)
        unseal(curves / ALL)
        write_whole(metrics, "".join(f"{json.dumps(line)}\n" for line in kept).encode())
        self._lines = metrics.open("a", encoding="utf-8")
        self._curves = SummaryWriter(curves, purge_step=step + 1)

    def write(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line) + "\n")
        for name, value in _numbers(line):
            if name != "step":
                self._curves.add_scalar(name, value, line["step"])

    def sync(self) -> None:
        """Puts the lines on disk, before a checkpoint says that they are there."""
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._curves.flush()

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lines.close()
        self._curves.close()
        if kind is None:
            seal(self._metrics)
            _seal_folder(self._folder)


def _seal_folder(folder: Path) -> None:
    """Writes the sums of all files of a folder into one, where each by itself would be read as one of them."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name != ALL)
    write_whole(folder / ALL, b"".join(sum_line(file_digest(path), path) for path in files))


def _lines(metrics: Path, step: int) -> list[dict[str, Any]]:
    if not metrics.exists():
        return []
    kept = []
    for number, written in enumerate(metrics.read_bytes().splitlines(keepends=True), start=1):
        if not written.endswith(b"\n"):
            continue
        try:
            line = json.loads(written)
            if line["step"] <= step:
                kept.append(line)
        except (ValueError, LookupError, TypeError) as error:
            raise DamagedFile(metrics, f"line {number} is not as it was written") from error
    return kept


def _numbers(line: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of a line by name, those of ``held_out`` as ``held_out/text``."""
    found: list[tuple[str, float]] = []
    for name, value in line.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found.append((prefix + name, value))
    return found
