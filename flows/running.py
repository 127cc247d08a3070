"""A flow run for a command: started on a server that answers, ended at once by a signal, and recorded with Prefect as it ended.

A killed run cannot record its end. Each run is tagged with its store, and only one process at a time writes to a store:
when a run begins, any other run of the same tag that Prefect has as running was killed. Of each store the last runs are kept.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from flows import history, progress
from flows.printing import put
from multimodal import run_records
from multimodal.store import InputError, Store

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

SECONDS_TO_RECORD = 2.0
SECONDS_BETWEEN_SIGNALS = 0.5
KEPT_RUNS = 200
"""Flow runs of a store that Prefect's history keeps; a run of everything has seven."""


_under_way: Path | None = None
"""The store of the flow that this process runs."""


def tag_of(store: Path) -> str:
    """The tag of the flow runs that write to a store."""
    return f"store {store.resolve()}"


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """While a block imports what a flow needs, Prefect's server starts beside it. A held store is refused before."""
    from flows.server import begin_server

    with progress.waiting(progress.LOADING):
        begin_server()
        yield


def run_flow(store: Path, flow: Callable[..., Any], *args: Any) -> Any:
    """What the flow returns or raises. The caller holds the store for writing.

    The flow runs in a thread of its own: Python handles signals in the main thread, which here only waits, so a signal is
    handled at once whatever the flow is doing. The server is an embedded one where the user has set up none.
    Raises :class:`InputError` where the server does not start, or stops answering.
    """
    import httpx
    from prefect import tags
    from prefect.states import Crashed

    from flows.server import ensure_server, server_ended

    global _under_way
    with progress.waiting("starting Prefect's server"):
        ensure_server()
    tag, outcome = tag_of(store), Future()

    def work() -> None:
        try:
            end_runs(tag, Crashed(message="its process was killed"))
            _trim_runs(tag)
            with tags(tag):
                outcome.set_result(flow(*args))
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            outcome.set_exception(error)

    # The context carries the run that the command has opened (flows.opened_run).
    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
    _under_way = store
    try:
        # The system may deliver a signal to another thread, which does not wake a main thread that waits without end.
        while not outcome.done():
            wait([outcome], SECONDS_BETWEEN_SIGNALS)
            if (how := server_ended()) is not None and not outcome.done():
                _give_up(f"Prefect's server went away ({how}); run again, what was done is kept")
        return outcome.result()
    except httpx.TransportError as error:
        raise InputError(
            f"Prefect's server went away ({error}); start it and run again, what was done is kept"
        ) from error
    except httpx.HTTPStatusError as error:
        raise InputError(
            f"Prefect's server cannot keep its records (status {error.response.status_code}); see that there is space where "
            "PREFECT_HOME is, and run again, what was done is kept"
        ) from error
    finally:
        _under_way = None


def _give_up(line: str) -> NoReturn:
    """Ends the process at once, as a signal does: Prefect's client would ask a server that is gone for minutes."""
    progress.restore_terminal()
    put(f"videobert: {line}", sys.stderr)
    sys.stderr.flush()
    os._exit(2)


def record_stop() -> None:
    """Records with Prefect that the flow that this process runs was stopped; waits `SECONDS_TO_RECORD` at most."""
    if _under_way is None:
        return
    from prefect.states import Cancelled

    store, last = _under_way, Cancelled(message="stopped by a signal")
    tag = tag_of(store)

    def record() -> None:
        run_records.record_stop(Store(store, create=False).catalogue)
        # Where the server is gone there is no history to record it in, and the next run ends what is left.
        with contextlib.suppress(Exception):
            end_runs(tag, last)

    # In a thread, because the server may hang, and the person who pressed Ctrl-C waits.
    recording = threading.Thread(target=record, daemon=True)
    recording.start()
    recording.join(SECONDS_TO_RECORD)


def end_runs(tag: str, last: State) -> None:
    """Sets the flow runs of this tag that have not ended, and their task runs, to the state ``last``."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter

    tagged, unfinished = (
        {"tags": {"all_": [tag]}},
        {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}},
    )
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(tagged | unfinished)):
            client.set_flow_run_state(run.id, last, force=True)
        left = client.read_task_runs(
            flow_run_filter=FlowRunFilter.model_validate(tagged),
            task_run_filter=TaskRunFilter.model_validate(unfinished),
        )
        for task in left:
            client.set_task_run_state(task.id, last, force=True)


def _trim_runs(tag: str) -> None:
    """Deletes the flow runs of this tag but for the last :data:`KEPT_RUNS`."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    tagged = FlowRunFilter.model_validate({"tags": {"all_": [tag]}})
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(
            flow_run_filter=tagged, sort=FlowRunSort.START_TIME_DESC, offset=KEPT_RUNS
        ):
            history.delete_run(client, run.id)
