"""The time limit of a flow run: when it is over the process ends, with a checkpoint, and the run is on record as timed out.

Prefect's own limit raises an exception in the flow's thread, between two of its lines: a training would lose what was done
since its last checkpoint, and an ingestion would wait for the videos under way.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator

from flows import history, progress
from flows.printing import put
from flows.stopping import ENDED_WELL, GOES_ON, checkpointed
from multimodal import run_records
from multimodal.store import InputError, Store

PARAMETER = "time_limit"
HELP = "Seconds after which the run ends, with a checkpoint; the next one goes on from there. No limit where not given."
SECONDS_TO_CHECKPOINT = 60.0
"""Nobody waits for the end, unlike that of a run that is cancelled."""
TIMED_OUT = 124
"""Exit status of a process that no worker started: that of the command `timeout`."""


@contextlib.contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """The process ends where the block takes longer than ``seconds``. Raises :class:`InputError` for what is no length of time."""
    if seconds is None:
        yield
        return
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise InputError(f"{PARAMETER} {seconds:g}: more than 0 seconds; leave it out for no limit")
    run = history.identity() if history.is_kept() else None
    status = ENDED_WELL if history.is_deployed() else TIMED_OUT
    told, over, ended = history.sender(), threading.Lock(), threading.Event()

    def strike() -> None:
        with over:  # a block that ends meanwhile waits here for the end of the process
            if not ended.is_set():
                _put_on_record(seconds, run, told)
                os._exit(status)

    timer = threading.Timer(seconds, strike)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with over:
            ended.set()
        timer.cancel()


def _put_on_record(seconds: float, run: str | None, log: Callable[[str], None]) -> None:
    """Makes a checkpoint, and says so to whoever looks: on standard error, to Prefect, and in the store's catalogue."""
    from prefect import get_client
    from prefect.states import Failed

    from flows.running import end_runs, tag_of

    line = f"the time limit of {seconds:g} s is over, {checkpointed(SECONDS_TO_CHECKPOINT)}; {GOES_ON}"
    put(line, sys.stderr)
    log(line)
    last, store = Failed(name="TimedOut", message=line), progress.store_under_way()
    with contextlib.suppress(Exception):
        if run is not None:
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(run, last, force=True)
        if store is not None:
            end_runs(tag_of(store), last)
    if store is not None:
        run_records.record_stop(Store(store, create=False).catalogue, line)
    history.flush()
