"""Owns the figures of a training under way: a line a step in ``metrics.jsonl``, and the same as curves for TensorBoard."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from multimodal.store import InputError, write_whole
from multimodal.training.checkpoints import METRICS

CURVES = "tensorboard/metrics.tfevents"
EVENTS_VERSION = "brain.Event:2"
"""What TensorBoard wants to read first in a file."""


class TrainingLog:
    """Both files in ``root``, cut back to the steps up to ``step``: what a stopped run wrote after its last checkpoint
    goes, and a line that it left half written. The curves are drawn anew from the lines, each at the moment that the curves
    of before say; a step that they lack, at the last one that is known before it.

    Raises :class:`InputError` for a damaged line of ``metrics.jsonl``.
    """

    def __init__(self, root: Path, step: int):
        metrics, curves = root / METRICS, root / CURVES
        kept, moments = _lines(metrics, step), _moments(curves)
        write_whole(metrics, "".join(f"{json.dumps(line)}\n" for line in kept).encode())
        moment, anew = moments.get(0, time.time()), io.BytesIO()
        drawn = RecordWriter(anew)
        drawn.write(Event(wall_time=moment, file_version=EVENTS_VERSION).SerializeToString())
        for line in kept:
            moment = moments.get(line["step"], moment)
            drawn.write(_event(line, moment).SerializeToString())
        write_whole(curves, anew.getvalue())
        self._lines = metrics.open("a", encoding="utf-8")
        self._file = curves.open("ab")
        self._curves = RecordWriter(self._file)

    def write(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line) + "\n")
        self._curves.write(_event(line, time.time()).SerializeToString())

    def sync(self) -> None:
        """Puts on disk what was written, before a checkpoint says that it is there."""
        for file in (self._lines, self._file):
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lines.close()
        self._file.close()


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


def _moments(curves: Path) -> dict[int, float]:
    """When each step was drawn, as far as the file can be read; the beginning at 0."""
    if not curves.exists():
        return {}
    events = map(Event.FromString, RawEventFileLoader(str(curves)).Load())
    return {event.step: event.wall_time for event in events}


def _event(line: dict[str, Any], moment: float) -> Event:
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in _numbers(line) if tag != "step"]
    return Event(wall_time=moment, step=line["step"], summary=Summary(value=values))


def _numbers(line: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of a line by name, those of ``held_out`` as ``held_out/text``."""
    found: list[tuple[str, float]] = []
    for name, value in line.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found.append((prefix + name, value))
    return found
