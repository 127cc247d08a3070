"""Owns the figures of a training under way: a line a step in ``metrics.jsonl``, and the same as curves for TensorBoard."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from multimodal.store import write_whole
from multimodal.training.checkpoints import METRICS

CURVES = "tensorboard/metrics.tfevents"
EVENTS_VERSION = "brain.Event:2"
"""What TensorBoard wants to read first in a file."""


class TrainingLog:
    """Both files in ``root``, cut back to the steps up to ``step``: what a stopped run wrote after its last checkpoint
    goes, and a line that it left half written. The curves are drawn anew from the lines."""

    def __init__(self, root: Path, step: int):
        metrics, curves = root / METRICS, root / CURVES
        kept = _lines(metrics, step)
        write_whole(metrics, "".join(f"{json.dumps(line)}\n" for line in kept).encode())
        curves.parent.mkdir(exist_ok=True)
        self._lines = metrics.open("a", encoding="utf-8")
        self._file = curves.open("wb")
        self._curves = RecordWriter(self._file)
        self._curves.write(Event(wall_time=time.time(), file_version=EVENTS_VERSION).SerializeToString())
        for line in kept:
            self._draw(line)

    def write(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line) + "\n")
        self._draw(line)

    def sync(self) -> None:
        """Puts on disk what was written, before a checkpoint says that it is there."""
        for file in (self._lines, self._file):
            file.flush()
            os.fsync(file.fileno())

    def _draw(self, line: dict[str, Any]) -> None:
        values = [
            Summary.Value(tag=tag, simple_value=value) for tag, value in _numbers(line) if tag != "step"
        ]
        event = Event(wall_time=time.time(), step=line["step"], summary=Summary(value=values))
        self._curves.write(event.SerializeToString())

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lines.close()
        self._file.close()


def _lines(metrics: Path, step: int) -> list[dict[str, Any]]:
    if not metrics.exists():
        return []
    written = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    lines = [json.loads(line) for line in written if line.endswith("\n")]
    return [line for line in lines if line["step"] <= step]


def _numbers(line: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of a line by name, those of ``held_out`` as ``held_out/text``."""
    found: list[tuple[str, float]] = []
    for name, value in line.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found.append((prefix + name, value))
    return found
