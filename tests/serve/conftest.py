"""A store of the sample videos and a server of it, which the tests of this room share."""

import contextlib
import shutil
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

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


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


@pytest.fixture(scope="session")
def browser(require):
    if BROWSER is None:
        require("browser", "no Chromium: `apt-get install chromium` brings one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opening(browser, server):
    """`opening(**options)`: a page of the shared server. What it asks of other hosts, and what fails in it, fails the test."""
    wrong: list[str] = []

    @contextlib.contextmanager
    def open_page(url: str = server.url, **options) -> Iterator:
        context = browser.new_context(base_url=url, **{"viewport": {"width": 1024, "height": 800}} | options)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(f"error {error}"))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on(
            "console",
            lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None,
        )
        page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith((url, "blob:")) else None)
        yield page
        context.close()

    yield open_page
    assert wrong == []
