"""Options of the server: where it listens, who may ask, and its limits."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from multimodal.store import InputError

PORT = 8420
LEAST_TOKEN = 16
"""Characters of a token at least."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """``body``: bytes of a request that is no upload. ``upload``: bytes of an uploaded file. ``uploads_per_hour``: their
    number. ``picture`` and ``clip``: bytes of one that is asked with. ``stalled``: seconds in which a client must send or take the next part. ``waiting``: questions that may wait.
    """

    body: int = 64 << 10
    upload: int = 4 << 30
    uploads_per_hour: int = 60
    picture: int = 16 << 20
    clip: int = 64 << 20
    stalled: float = 30.0
    waiting: int = 200


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """``token`` is asked for where it is not ``None``. ``ingest``: the commands that take in a file or a folder, in order, in
    ``environment``, where that is given. ``folders``: the folder of this machine whose videos may be taken in from the page,
    ``None`` for none.

    Raises :class:`InputError` where ``host`` is not of this machine alone and there is no token.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    token: str | None = None
    read_only: bool = False
    device: str = "cpu"
    limits: Limits = Limits()
    ingest: Callable[[Path, bool], Sequence[Sequence[str]]] | None = None
    environment: Mapping[str, str] | None = None
    folders: Path | None = None

    def __post_init__(self) -> None:
        if self.folders is not None and not self.folders.is_dir():
            raise InputError(f"--folders {self.folders}: no such folder; check the name")
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port {self.port}: must be 0 to 65535; 0 takes any that is free")
        if not is_loopback(self.host) and self.token is None:
            raise InputError(
                f"--host {self.host}: others could ask, so a token is needed; give --token-file FILE"
            )
        if self.token is not None and (len(self.token) < LEAST_TOKEN or not self.token.isascii()):
            raise InputError(
                f"--token-file: the token has {len(self.token)} characters; it must be {LEAST_TOKEN} or more of ASCII"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
