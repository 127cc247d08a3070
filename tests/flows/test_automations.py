"""The automations of `videobert deploy` at work: a run that failed is told of once, and one whose process is gone ends."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from command import processes_with
from operating import Operator, at_work, imports, set_up

from flows.deploy import SECONDS_WITHOUT_HEARTBEAT

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
BLOCK = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
text = {"text": "{{subject}}\\n{{body}}"}
CustomWebhookNotificationBlock(name="alarm", url=sys.argv[1], json_data=text).save("alarm")
"""
SECONDS_TO_TELL = 60.0


class Told(http.server.BaseHTTPRequestHandler):
    """Keeps the texts that are posted."""

    texts: list[str] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.texts.append(json.loads(body)["text"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[str, list[str]]]:
    """The address of a server of ours, and what it was told."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Told)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", Told.texts
    server.shutdown()


@pytest.fixture(scope="module")
def operator(tmp_path_factory, told) -> Iterator[Operator]:
    """The three commands, and a notification block that leads to our server."""
    with set_up(tmp_path_factory.mktemp("automations")) as found:
        (found.folder / "block.py").write_text(BLOCK)
        found.variables["PREFECT_API_URL"] = found.url
        found.shell(f"python block.py {told[0]}")
        assert "failed runs on" in found.shell("videobert deploy --notify custom-webhook/alarm")
        yield found


@pytest.fixture(scope="module")
def worker(operator) -> Iterator[subprocess.Popen]:
    with at_work(operator) as process:
        yield process


def wait_for(texts: list[str], number: int) -> list[str]:
    """The texts, once so many have come."""
    due = time.monotonic() + SECONDS_TO_TELL
    while len(texts) < number:
        assert time.monotonic() < due, texts
        time.sleep(0.2)
    return texts


def test_a_run_that_failed_is_told_of_once(operator, worker, told):
    _, texts = told
    texts.clear()
    failed = operator.wait(operator.start("codebook/codebook", settings={"store": "none"}))
    assert failed["state"]["type"] == "FAILED"
    (text,) = wait_for(texts, 1)
    assert text.startswith("videobert: codebook Failed\n")
    assert failed["name"] in text and text.endswith(f": {failed['state']['message']}")


def test_a_run_whose_process_and_worker_are_killed_ends_with_its_part(operator, worker, told):
    _, texts = told
    texts.clear()
    settings = imports("killed")["settings"] | {"epochs": 100_000}
    run = operator.start("pipeline/nightly", **imports("killed") | {"settings": settings})
    operator.wait(run, lambda _: any(" steps" in part["name"] for part in operator.parts(run)))
    os.killpg(worker.pid, signal.SIGKILL)
    for process in processes_with(run):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    began = time.monotonic()
    (training,) = [part for part in operator.parts(run) if part["state"]["type"] == "RUNNING"]
    for one in (run, training["id"]):
        state = operator.wait(one)["state"]
        assert (state["type"], state["name"]) == ("CRASHED", "Crashed"), state
        assert state["message"].startswith(f"No heartbeat for {SECONDS_WITHOUT_HEARTBEAT} seconds")
    assert time.monotonic() - began < SECONDS_WITHOUT_HEARTBEAT + SECONDS_TO_TELL
    (text,) = wait_for(texts, 1)
    assert text.startswith("videobert: pipeline Crashed\nall stages: No heartbeat")
    time.sleep(5)
    assert len(texts) == 1, "the part of a run of all stages is not told of"
