"""The outermost ring: Prefect flows and the command line, thin calls of plain functions."""

import os

PREFECT_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
}
"""What makes Prefect's embedded server start quietly and surely; what the user has set stays."""

THREAD_DEFAULTS = {"OMP_WAIT_POLICY": "passive"}
"""Threads that wait give their core away: on a machine that others use too, training was 5 times as fast (docs/log.md)."""

for _name, _value in (PREFECT_DEFAULTS | THREAD_DEFAULTS).items():
    os.environ.setdefault(_name, _value)
DISTRIBUTION = "videobert-workflow"
