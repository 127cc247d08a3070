"""Prefect flows and the command line: the outermost layer, which calls the functions of the other packages."""

import os
import sys
from pathlib import Path

PREFECT_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
}
"""Settings with which Prefect's embedded server starts on a slow machine and reports to nobody. The user's own win."""

THREAD_DEFAULTS = {"OMP_WAIT_POLICY": "passive"}
"""Waiting OpenMP threads yield their core: on a machine that others use too, training was 5 times as fast (docs/decisions.md)."""

for _name, _value in (PREFECT_DEFAULTS | THREAD_DEFAULTS).items():
    os.environ.setdefault(_name, _value)
if "prefect.context" in sys.modules:
    # Whoever imported Prefect before us, such as a script of a Dask cluster, has its settings without these.
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()


def import_path() -> str:
    """``PYTHONPATH`` of a child process that imports these packages, wherever this process found them."""
    root = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
