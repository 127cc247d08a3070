"""The command `serve`: the store in a browser, and as a JSON API."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.printing import put
from flows.questions import Device
from flows.settings import DEFAULT_STORE, StoreOption
from multimodal.store import InputError


def serve(
    *,
    store: StoreOption = DEFAULT_STORE,
    host: Annotated[
        str, Parameter(help="Address to listen at; another than this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen at; 0 takes any that is free.")] = 8420,
    token_file: Annotated[
        Path | None,
        Parameter(
            help="File whose first line is the token that is asked for; made up where --host needs one."
        ),
    ] = None,
    read_only: Annotated[
        bool,
        Parameter(
            help="Change nothing: no upload, no removal, no correction.", negative=(), show_default=False
        ),
    ] = False,
    folders: Annotated[
        Path | None,
        Parameter(
            help="Folder of this machine whose videos may be taken in from the page; none where not given.",
            show_default=False,
        ),
    ] = None,
    device: Device = "cpu",
) -> None:
    """A page to search, watch and look, and its JSON API, in a browser on this machine.

    Reads only, so a run may write to the store meanwhile; what it makes is taken up without a restart. Uploads, removals and
    corrections hold the store for as long as they take.
    """
    environment = dict(os.environ)
    # As many questions are answered at once as there are cores: a thread for each, or they wait for each other's.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from multimodal.serve import server
    from multimodal.serve.options import ServeOptions, is_loopback

    token = _token(token_file)
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    options = ServeOptions(
        host=host,
        port=port,
        token=token,
        read_only=read_only,
        device=device,
        ingest=lambda *of: ingestion(store, *of),
        environment=environment,
        folders=folders,
    )
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", level=logging.WARNING)
    running = server.make_server(store, options)
    with server.bind(host, port) as listening:
        known = f"?token={token}" if token and token_file is None else ""
        put(f"{server.address(listening)}{known}", sys.stdout)
        put("Ctrl-C ends it.", sys.stderr)
        running.run(sockets=[listening])


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        first = file.read_text(encoding="ascii").splitlines()[:1]
    except (OSError, ValueError) as error:
        raise InputError(
            f"--token-file {file}: cannot be read ({getattr(error, 'strerror', None) or 'it is not ASCII'}); write a token into it"
        ) from error
    return first[0].strip() if first else ""


def ingestion(store: Path, file: Path, indexed: bool) -> Sequence[Sequence[str]]:
    """The commands that take in an uploaded file; ``indexed``: the store has a model, whose index is brought up to date."""
    begun = [sys.executable, "-m", "flows"]
    commands = [[*begun, "ingest", str(file), "--store", str(store.absolute())]]
    return commands + ([[*begun, "index", "--store", str(store.absolute())]] if indexed else [])
