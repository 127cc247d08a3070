"""A flow run that a worker started, stopped by SIGTERM: within seconds, with a checkpoint, and rightly on record.

A worker sends the signal when somebody presses *Cancel* on Prefect's page, and when it ends itself. Prefect's own handler
raises an exception in the main thread, which may compute for minutes before it sees it; after 30 s the worker kills it.

A worker that is killed sends nothing: the run goes on without it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from flows import history
from flows.printing import put
from multimodal import progress, run_records
from multimodal.store import Store

SECONDS_TO_CHECKPOINT = 3.0
"""A checkpoint that takes longer is left out: the last one stays, and what was done since is done again."""
ENDED_WELL = 0
"""Of a cancelled run. The worker takes another exit status for a crash."""
GOES_ON = "the next run goes on from there"


@contextlib.contextmanager
def stopped_at_once(store: Path) -> Iterator[None]:
    """SIGTERM in the block ends the process, if the block is the main thread's and the flow run is that of a deployment."""
    if threading.current_thread() is not threading.main_thread() or not history.is_deployed():
        yield
        return
    threading.Thread(target=_write_nowhere_once_unread, daemon=True).start()
    run, told = history.identity(), history.sender()
    ends, signals = os.pipe()
    os.set_blocking(signals, False)
    # Python writes the number of a signal there at once, also while the main thread is inside of PyTorch.
    before = signal.set_wakeup_fd(signals, warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGTERM, lambda *_: None)
    watching = threading.Thread(target=_watch, args=(ends, lambda: _stop(store, run, told)), daemon=True)
    watching.start()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.set_wakeup_fd(before)
        os.close(signals)
        watching.join()
        os.close(ends)


def _write_nowhere_once_unread() -> None:
    """Leads standard output and error to nowhere when their reader is gone.

    A worker reads both through pipes. Of a pipe that nobody reads the next line makes an error; Rich, by which Prefect writes
    its log lines too, ends the process then.
    """
    unread, nowhere = select.poll(), os.open(os.devnull, os.O_WRONLY)
    left = {1, 2}
    for descriptor in left:
        unread.register(descriptor, 0)  # errors alone, such as this one
    while left:
        for descriptor, _ in unread.poll():
            os.dup2(nowhere, descriptor)
            unread.unregister(descriptor)
            left.remove(descriptor)


def _watch(ends: int, stop: Callable[[], None]) -> None:
    """Calls ``stop`` when SIGTERM comes; returns when the other end is closed."""
    while number := os.read(ends, 1):
        if number[0] == signal.SIGTERM:
            stop()


def checkpointed(seconds: float) -> str:
    """Asks the training under way for a checkpoint, which may take ``seconds``, and says what is kept."""
    step = progress.checkpoint_now(seconds)
    return f"with a checkpoint of step {step}" if step is not None else "what was done is kept"


def _stop(store: Path, run: str, log: Callable[[str], None]) -> NoReturn:
    """Ends the process. Each stored file is whole or absent, and child processes end with this one."""
    from prefect import get_client
    from prefect.states import Cancelled, Crashed

    from flows.running import end_runs, tag_of

    where = checkpointed(SECONDS_TO_CHECKPOINT)
    status = 128 + signal.SIGTERM
    with contextlib.suppress(Exception), get_client(sync_client=True) as client:
        state = client.read_flow_run(run).state
        cancelled = state is not None and state.is_cancelling()
        by = "cancelled" if cancelled else "stopped by a signal, as its worker ended"
        line = f"{by}, {where}; {GOES_ON}"
        put(line, sys.stderr)
        log(line)
        end_runs(tag_of(store), (Cancelled if cancelled else Crashed)(message=line))
        status = ENDED_WELL if cancelled else status
    run_records.record_stop(Store(store, create=False).catalogue, where)
    history.flush()
    os._exit(status)
