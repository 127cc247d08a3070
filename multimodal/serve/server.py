"""Running the application: uvicorn on a socket that is bound before anything is said, and slow clients cut off."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from multimodal.serve.app import make_app
from multimodal.serve.options import ServeOptions
from multimodal.store import InputError

SECONDS_FOR_HEADERS = 15.0
KEEP_ALIVE_SECONDS = 10
MOST_CONNECTIONS = 400
MOST_HEADER_BYTES = 32 << 10


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose first request is not there in time; uvicorn alone would wait for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(SECONDS_FOR_HEADERS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises :class:`InputError` where the address cannot be had."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(found[0], found[1])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
        listening.listen(128)
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: cannot be had ({error.strerror or error}); name another --port"
        ) from error
    return listening


def address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def make_server(folder: Path, options: ServeOptions) -> uvicorn.Server:
    """The server, which begins with its ``run(sockets=[…])``. Raises :class:`InputError` where the store cannot be used."""
    application, _ = make_app(folder, options)
    config = uvicorn.Config(
        application, http=TimedProtocol, ws="none", lifespan="on", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, date_header=True, timeout_keep_alive=KEEP_ALIVE_SECONDS,
        limit_concurrency=MOST_CONNECTIONS, h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        timeout_graceful_shutdown=3,
    )  # fmt: skip
    return uvicorn.Server(config)
