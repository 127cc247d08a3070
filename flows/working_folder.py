"""The pull step of the deployments: the folder that relative paths start from, `VIDEOBERT_HOME` of the machine that works."""

from __future__ import annotations

import os
from pathlib import Path

from multimodal.store import InputError

VARIABLE = "VIDEOBERT_HOME"


def working_folder() -> dict[str, str]:
    """The output of a step that sets the working directory. Where there is no such folder the run fails with the reason.

    Raises :class:`InputError` then.
    """
    home = os.environ.get(VARIABLE)
    if home and Path(home).is_dir():
        return {"directory": home}
    what = f"{VARIABLE} {home}: no such folder" if home else f"{VARIABLE}: not set"
    line = f"{what} where the worker runs; set it there to the folder that relative paths start from, and start the worker again"
    _record(line)
    raise InputError(line)


def _record(line: str) -> None:
    """Prefect itself would record the exit status of the process alone."""
    from prefect import get_client
    from prefect.runtime import flow_run
    from prefect.states import Failed

    if flow_run.id is not None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(flow_run.id, Failed(message=line), force=True)
