"""Runs a flow for a command: on a server that is there, stopped at once by a signal, and rightly on record with Prefect.

A run that was killed cannot say so itself. Each run bears its store's name as a tag, and as only one at a time may
write to a store, whatever stands as running under it when the next begins is gone.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multimodal.store import InputError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

SECONDS_TO_RECORD = 2.0


_under_way: str | None = None
"""The tag of the flow that this process runs."""


def run_flow(store: Path, flow: Callable[..., Any], *args: Any) -> Any:
    """What the flow returns or raises. The caller holds the store for writing.

    The flow has a thread of its own, so that the main thread can hear a signal, whatever the flow waits for. The server is an
    embedded one where the user has set up none. Raises InputError where it does not start, or went away.
    """
    import httpx
    from prefect import tags
    from prefect.states import Crashed

    from flows.server import ensure_server

    global _under_way
    ensure_server()
    tag, outcome = f"store {store.resolve()}", Future()

    def work() -> None:
        try:
            _end_runs(tag, Crashed(message="its process was killed"))
            with tags(tag):
                outcome.set_result(flow(*args))
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            outcome.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
    _under_way = tag
    try:
        return outcome.result()
    except httpx.TransportError as error:
        raise InputError(
            f"Prefect's server went away ({error}); start it and run again, what was done is kept"
        ) from error
    finally:
        _under_way = None


def record_stop() -> None:
    """Tells Prefect that the flow under way, where there is one, was stopped; gives up after `SECONDS_TO_RECORD`."""
    if _under_way is None:
        return
    from prefect.states import Cancelled

    last = Cancelled(message="stopped by a signal")
    recording = threading.Thread(target=_end_runs, args=(_under_way, last), daemon=True)
    recording.start()
    recording.join(SECONDS_TO_RECORD)


def _end_runs(tag: str, last: State) -> None:
    """Puts the flow runs of this tag that stand as pending or running into their last state."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    unfinished = {"tags": {"all_": [tag]}, "state": {"type": {"any_": ["PENDING", "RUNNING"]}}}
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(unfinished)):
            client.set_flow_run_state(run.id, last, force=True)
