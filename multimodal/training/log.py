"""The figures of a training under way: a line a step in ``metrics.jsonl``, and the same as curves for TensorBoard."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from multimodal.store import InputError, write_whole
from multimodal.training.checkpoints import METRICS

CURVES = "tensorboard"


class TrainingLog:
    """Both in ``root``, cut back to the steps up to ``step``: what a stopped run wrote after its last checkpoint goes, and a
    line that it left half written. TensorBoard hides the later events of the runs before (``purge_step``).

    Raises :class:`InputError` for a damaged line of ``metrics.jsonl``.
    """

    def __init__(self, root: Path, step: int):
        metrics = root / METRICS
        kept = _lines(metrics, step)
        write_whole(metrics, "".join(f"{json.dumps(line)}\n" for line in kept).encode())
        self._lines = metrics.open("a", encoding="utf-8")
        self._curves = SummaryWriter(root / CURVES, purge_step=step + 1)

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
            raise InputError(
                f"{metrics}: line {number} is not as it was written; mend or remove the line and run again"
            ) from error
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
