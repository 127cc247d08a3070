"""Prefect's embedded server: a child process in a session of its own that ends with this process.

The server that Prefect itself would start outlives a killed run, and a Ctrl-C on the terminal would end it before the run
has recorded its own end. It would also serve every user of the machine and every page in a browser: this one wants a random
key, names no other origin as allowed, and answers to its own address alone.
"""

from __future__ import annotations

import atexit
import ctypes
import dataclasses
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from typing import IO

from flows import import_path
from multimodal.store import InputError

HOST = "127.0.0.1"
SECONDS_TO_START = 300.0
"""A first start takes 15 CPU seconds, which on a busy machine with slow disks is minutes."""
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_ANSWER = 10.0
SECONDS_TO_STOP = 10.0
PR_SET_PDEATHSIG = 1
_server: subprocess.Popen | None = None
"""This process's own server."""
_begun: _Begun | None = None
"""The same before it has answered."""


@dataclasses.dataclass(frozen=True)
class _Begun:
    """A child that becomes a server; ``complaints``: what it writes."""

    child: subprocess.Popen
    url: str
    key: str
    complaints: IO[bytes]


def begin_server() -> None:
    """Starts a server for this process where the user has set up none (``PREFECT_API_URL``), and does not wait for it."""
    from prefect.settings import PREFECT_API_URL

    global _server, _begun
    if _begun is None and not PREFECT_API_URL.value():
        _begun = _child(f"videobert:{secrets.token_urlsafe(32)}")
        _server = _begun.child


def ensure_server() -> None:
    """Waits for the server of :func:`begin_server`, or asks that of the user.

    Raises :class:`InputError` where it does not start, or the user's own does not answer or wants another key.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_API_URL

    global _begun
    begin_server()
    if _begun is not None:
        begun, _begun = _begun, None
        _wait_for(begun)
        os.environ["PREFECT_API_URL"] = begun.url
        os.environ["PREFECT_API_AUTH_STRING"] = begun.key
        refresh_global_settings_context()
        # Prefect's client in this process has the key now. Children, which read files from outside, are not given it.
        del os.environ["PREFECT_API_AUTH_STRING"]
        return
    url = PREFECT_API_URL.value()
    if not _answers(url, urllib.request.build_opener()):
        raise InputError(
            f"PREFECT_API_URL {url}: no server answers there; start it, or unset the variable to run without one"
        )
    _check_key(url)


def address_of_server() -> str:
    """The address of the server that the user has set up: ``PREFECT_API_URL``, else where `prefect server start` listens.

    Raises :class:`InputError` where none answers, or where it wants another key.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_API_HOST, PREFECT_SERVER_API_PORT

    usual = f"http://{PREFECT_SERVER_API_HOST.value()}:{PREFECT_SERVER_API_PORT.value()}/api"
    if not PREFECT_API_URL.value() and _answers(usual, urllib.request.build_opener()):
        os.environ["PREFECT_API_URL"] = usual
        refresh_global_settings_context()
    if not (url := PREFECT_API_URL.value()):
        raise InputError(
            f"PREFECT_API_URL: not set, and no server answers at {usual}; start one, `prefect server start` "
            "(docs/scheduling.md)"
        )
    ensure_server()
    return url


def is_embedded() -> bool:
    """Whether this process has started a server of its own."""
    return _server is not None


def server_ended() -> str | None:
    """How this process's own server ended; ``None`` while it runs, and where the user has one."""
    status = _server.poll() if _server is not None else None
    if status is None:
        return None
    return f"killed by signal {-status}" if status < 0 else f"it ended with status {status}"


def _check_key(url: str) -> None:
    """Raises :class:`InputError` where the user's server does not take the client's key."""
    import httpx
    from prefect import get_client

    try:
        with get_client(sync_client=True) as client:
            client.request("GET", "/admin/version").raise_for_status()
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.UNAUTHORIZED:
            raise InputError(
                f"PREFECT_API_URL {url}: the server wants its key; set PREFECT_API_AUTH_STRING to the server's "
                "PREFECT_SERVER_API_AUTH_STRING (docs/scheduling.md)"
            ) from error
        raise InputError(
            f"PREFECT_API_URL {url}: what answers there is no Prefect server ({error.response.status_code}); "
            "check the address, or unset the variable to run without one"
        ) from error


def _child(key: str) -> _Begun:
    """A new server that will answer to clients with this key."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))  # port 0: the system chooses a free one
        port = probe.getsockname()[1]
    # Its environment can be read by its own user alone, a command line by everyone.
    guarded = {
        "PREFECT_SERVER_API_AUTH_STRING": key,
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port}",
        "PYTHONPATH": import_path(),
    }
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the server has answered
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "flows.server", str(port), str(os.getpid())],
        stdin=subprocess.DEVNULL, stdout=complaints, stderr=complaints, start_new_session=True,
        env=os.environ | guarded,
    )  # fmt: skip
    atexit.register(_stop, child)
    return _Begun(child, f"http://{HOST}:{port}/api", key, complaints)


def _wait_for(begun: _Begun) -> None:
    """Raises :class:`InputError` where the server ends, or does not answer in time."""
    from prefect.settings import PREFECT_HOME

    due = time.monotonic() + SECONDS_TO_START
    # A proxy of the environment cannot reach this machine's own address.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with begun.complaints:
        while not _answers(begun.url, direct):
            ended, late = begun.child.poll() is not None, time.monotonic() > due
            if ended or late:
                _stop(begun.child)
                why = (
                    _reason(begun.complaints)
                    if ended
                    else f"it did not answer within {SECONDS_TO_START:.0f} s"
                )
                raise InputError(
                    f"Prefect's embedded server did not start ({why}); its files are in {PREFECT_HOME.value()}: see that "
                    "there is space and the right to write, or set PREFECT_HOME to another folder, and run again"
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _answers(url: str, opener: urllib.request.OpenerDirector) -> bool:
    try:
        with opener.open(f"{url}/health", timeout=SECONDS_TO_ANSWER):
            return True
    except urllib.error.HTTPError:  # an answer all the same
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


def _reason(complaints: IO[bytes]) -> str:
    """Why the server ended: the last error that it wrote, else its last line."""
    complaints.seek(0)
    lines = [
        line.strip()[:200] for line in complaints.read().decode(errors="replace").split("\n") if line.strip()
    ]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    return (errors or lines or ["no message"])[-1]


def _serve(port: int, parent: int) -> None:
    """The child's side: serves until it is told to stop or its parent is gone."""
    # The kernel sends the signal when the parent dies, even by SIGKILL. It may have died before this call.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    import uvicorn
    from prefect.server.api.server import create_app
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    # A page whose own name is made to lead to this address (DNS rebinding) sends that name as the host.
    app = TrustedHostMiddleware(create_app(ephemeral=True, final=True), allowed_hosts=[HOST])
    uvicorn.run(app, host=HOST, port=port, log_level="error")


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
