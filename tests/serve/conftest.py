"""A store of the sample videos and a server of it, which the tests of this room share."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

sys.path.insert(0, str(Path(__file__).parent / "helpers"))
sys.path.insert(0, str(Path(__file__).parents[1] / "multimodal/helpers"))

import sample_store  # noqa: E402

from multimodal.serve.options import ServeOptions  # noqa: E402
from multimodal.serve.server import address, bind, make_server  # noqa: E402
from multimodal.store import Store  # noqa: E402


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Store:
    """A store that no test changes."""
    return sample_store.make(tmp_path_factory.mktemp("serve"))


@dataclass
class Server:
    """A server that runs in a thread of this process, on a socket of its own; its address, and a client that asks it."""

    url: str
    client: httpx.Client
    running: uvicorn.Server
    thread: threading.Thread
    store: Path

    def digest(self, name: str) -> str:
        rows = self.client.get("/api/videos").json()["videos"]
        return next(row["video"] for row in rows if row["name"] == name)

    def stop(self) -> None:
        self.client.close()
        self.running.should_exit = True
        self.thread.join(20)


def start(store: Path, **options: object) -> Server:
    running = make_server(store, ServeOptions(port=0, **options))
    listening = bind("127.0.0.1", 0)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    url = address(listening)
    return Server(url, httpx.Client(base_url=url, timeout=120), running, thread, store)


@pytest.fixture(scope="session")
def server(sample) -> Iterator[Server]:
    """A server of the shared store, which changes nothing of it."""
    running = start(sample.root)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def starting():
    """`starting(store, **options)`: another server; all of them end with the session."""
    running = []

    def begin(store: Path, **options: object) -> Server:
        running.append(start(store, **options))
        return running[-1]

    yield begin
    for one in running:
        one.stop()
