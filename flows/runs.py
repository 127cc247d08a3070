"""The command `runs`: the runs of the store, how long each took, how it ended, and what was done."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

from cyclopts import Parameter

from flows import progress
from flows.printing import JsonOption, print_json, put
from flows.settings import DEFAULT_STORE, StoreOption
from multimodal import locks
from multimodal.catalogue import Catalogue
from multimodal.store import InputError, Store

RUNNING = "running"


def runs(
    *,
    last: Annotated[int, Parameter(help="Number of runs, the last ones.")] = 20,
    store: StoreOption = DEFAULT_STORE,
    json_: JsonOption = False,
) -> None:
    """The runs of the store, the newest last: begin (UTC), duration, outcome, flow, and what was done.

    An outcome is done, failed, stopped (by a signal), killed or running. Reads only, so a run may write meanwhile.
    """
    if last < 1:
        raise InputError(f"--last {last}: at least 1")
    opened = Store(store, create=False)
    is_running = locks.holder(opened.root / locks.NAME) is not None
    with Catalogue(opened.catalogue, read_only=True) as catalogue:
        found = [_document(run, is_running=is_running) for run in catalogue.runs()[-last:]]
    if json_:
        print_json({"runs": found})
        return
    for run in found:
        took = "–" if run["seconds"] is None else progress.clock(run["seconds"])
        put(f"{run['started']:<19} {took:>9}  {run['outcome']:<8} {run['flow']:<10} {run['done']}".rstrip())


def _document(run: dict[str, Any], *, is_running: bool) -> dict[str, Any]:
    """A run for people and programs. One without an end was killed, where nobody writes to the store now."""
    outcome, ended = run["outcome"] or (RUNNING if is_running else "killed"), run["ended"]
    if outcome == RUNNING:
        ended = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    # Nobody knows when a killed run ended: the next one found it.
    begun, end = (datetime.datetime.fromisoformat(t) if t else None for t in (run["started"], ended))
    seconds = None if outcome == "killed" or begun is None or end is None else (end - begun).total_seconds()
    return {k: run[k] for k in ("id", "flow", "started", "done")} | {"outcome": outcome, "seconds": seconds}
