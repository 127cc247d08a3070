"""Prefect's embedded server: a child process in a session of its own that ends with this process.

The server that Prefect itself would start outlives a killed run, and a Ctrl-C on the terminal would end it before the run
has recorded its own end.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from multimodal.store import InputError

HOST = "127.0.0.1"
SECONDS_TO_START = 120.0
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_ANSWER = 10.0
SECONDS_TO_STOP = 10.0
PR_SET_PDEATHSIG = 1
_ROOT = str(Path(__file__).resolve().parents[1])


def ensure_server() -> None:
    """Starts a server for this process and its children where the user has set up none (``PREFECT_API_URL``).

    Raises :class:`InputError` where it does not start, or the user's own does not answer.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_API_URL

    if not (url := PREFECT_API_URL.value()):
        os.environ["PREFECT_API_URL"] = _start()
        refresh_global_settings_context()
    elif not _answers(url, urllib.request.build_opener()):
        raise InputError(
            f"PREFECT_API_URL {url}: no server answers there; start it, or unset the variable to run without one"
        )


def _start() -> str:
    """The address of a new server that answers."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))  # port 0: the system chooses a free one
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.server", str(port), str(os.getpid())],
            stdin=subprocess.DEVNULL, stdout=complaints, stderr=complaints, start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))},
        )  # fmt: skip
        atexit.register(_stop, child)
        url = f"http://{HOST}:{port}/api"
        due = time.monotonic() + SECONDS_TO_START
        # A proxy of the environment cannot reach this machine's own address.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while not _answers(url, direct):
            if child.poll() is not None or time.monotonic() > due:
                _stop(child)
                raise InputError(
                    f"Prefect's embedded server did not start ({_last_line(complaints)}); "
                    "run again, or run `prefect server start` and set PREFECT_API_URL to its address"
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)
    return url


def _answers(url: str, opener: urllib.request.OpenerDirector) -> bool:
    try:
        with opener.open(f"{url}/health", timeout=SECONDS_TO_ANSWER):
            return True
    except urllib.error.HTTPError:  # an answer all the same, such as 401 of a server with a password
        return True
    except OSError:
        return False


def _stop(child: subprocess.Popen) -> None:
    child.terminate()
    try:
        child.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _last_line(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "no message")


def _serve(port: int, parent: int) -> None:
    """The child's side: serves until it is told to stop or its parent is gone."""
    # The kernel sends the signal when the parent dies, even by SIGKILL. It may have died before this call.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(create_app(ephemeral=True, final=True), host=HOST, port=port, log_level="error")


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
