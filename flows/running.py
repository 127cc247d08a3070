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


class Stopped(BaseException):
    """A signal, whose number it holds, asked us to stop."""


def run_flow(store: Path, flow: Callable[..., Any], *args: Any) -> Any:
    """What the flow returns or raises. The caller holds the store for writing.

    The flow has a thread of its own: a signal (`Stopped`, raised in the main thread) then ends the process at once, whatever
    the flow waits for. That is safe, as what is stored is whole or absent. The server is an embedded one where the user has
    set up none. Raises InputError where it does not start, or went away.
    """
    import httpx
    from prefect import tags
    from prefect.states import Cancelled, Crashed

    from flows.server import ensure_server

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
    try:
        return outcome.result()
    except Stopped:
        last = Cancelled(message="stopped by a signal")
        recording = threading.Thread(target=_end_runs, args=(tag, last), daemon=True)
        recording.start()
        recording.join(SECONDS_TO_RECORD)
        raise
    except httpx.TransportError as error:
        raise InputError(
            f"Prefect's server went away ({error}); start it and run again, what was done is kept"
        ) from error


def _end_runs(tag: str, last: State) -> None:
    """Puts the flow runs of this tag that stand as pending or running into their last state."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    unfinished = {"tags": {"all_": [tag]}, "state": {"type": {"any_": ["PENDING", "RUNNING"]}}}
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(unfinished)):
            client.set_flow_run_state(run.id, last, force=True)
