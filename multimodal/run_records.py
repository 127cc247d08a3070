"""The runs of a store: when each began and ended, how it ended, and what was done."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from multimodal import catalogue_file

COLUMNS = ("id", "flow", "options", "started", "ended", "outcome", "done")
_END = "UPDATE runs SET ended = datetime('now'), outcome = ?"


class RunRecords:
    """The table ``runs`` of a catalogue. ``outcome``: done, failed, stopped (by a signal or its time limit) or killed; ``done``: in words."""

    @property
    def _db(self) -> sqlite3.Connection:
        raise NotImplementedError

    def begin_run(self, flow: str, options: dict[str, Any]) -> int:
        """Records that a run began and returns its number. Earlier runs without an end are recorded as killed."""
        self._db.execute(f"{_END} WHERE ended IS NULL", ("killed",))
        cursor = self._db.execute(
            "INSERT INTO runs (flow, options, started) VALUES (?, ?, datetime('now'))",
            (flow, json.dumps(options, default=str)),
        )
        return int(cursor.lastrowid or 0)

    def end_run(self, run: int, outcome: str, done: str = "") -> None:
        self._db.execute(f"{_END}, done = ? WHERE id = ?", (outcome, done, run))

    def _forget_in_runs(self, name: str) -> None:
        """Erases why a run failed where that may name a video; what a run did names none."""
        asked = "UPDATE runs SET done = '' WHERE outcome = 'failed' AND instr(done, ?)"
        self._db.execute(asked, (Path(name).stem,))

    def runs(self) -> list[dict[str, Any]]:
        rows = self._db.execute(f"SELECT {', '.join(COLUMNS)} FROM runs ORDER BY id")
        return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def record_stop(catalogue: Path, said: str = "") -> None:
    """Records that the run under way was stopped, by a signal or its time limit, and what was ``said`` then: beside the
    thread that writes.

    Nothing is recorded where that thread holds the file; the next run then takes it for killed.
    """
    with contextlib.suppress(sqlite3.Error), contextlib.closing(catalogue_file.connect(catalogue)) as db:
        db.execute(f"{_END}, done = ? WHERE ended IS NULL", ("stopped", said))
