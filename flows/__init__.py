"""The outermost ring: Prefect flows and the command line, thin calls of plain functions."""

import os

PREFECT_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
}
"""What makes Prefect's embedded server start quietly and surely; what the user has set stays."""

for _name, _value in PREFECT_DEFAULTS.items():
    os.environ.setdefault(_name, _value)
