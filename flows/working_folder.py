"""The pull step of the deployments: the folder that relative paths start from, `VIDEOBERT_HOME` of the machine that works."""

from __future__ import annotations

import os
from pathlib import Path

from multimodal.extras import need
from multimodal.store import InputError

VARIABLE = "VIDEOBERT_HOME"
NEEDED = ("ingest", "train")
"""Extras of the flows' stages."""


def working_folder() -> dict[str, str]:
    """The output of a step that sets the working directory. Where there is no such folder, or the worker lacks what the flows
    import, the run fails with the reason.

    Raises :class:`InputError` then.
    """
    home = os.environ.get(VARIABLE)
    try:
        need("a worker of these deployments", *NEEDED)
        if home and Path(home).is_dir():
            return {"directory": home}
        what = f"{VARIABLE} {home}: no such folder" if home else f"{VARIABLE}: not set"
        raise InputError(
            f"{what} where the worker runs; set it there to the folder that relative paths start from, and start the worker again"
        )
    except InputError as error:
        _record(str(error))
        raise


def _record(line: str) -> None:
    """Prefect itself would record the exit status of the process alone."""
    from prefect import get_client
    from prefect.runtime import flow_run
    from prefect.states import Failed

    if flow_run.id is not None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(flow_run.id, Failed(message=line), force=True)
