"""What an operator does: a server, `videobert deploy` and a worker as docs/scheduling.md has them, commands and requests."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import imported_corpus
from command import PROJECT, Home, free_port, until

SECONDS = 480.0
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


class Operator:
    """Commands and requests of an operator. `variables`: the environment of the commands."""

    def __init__(self, folder: Path, port: int):
        self.folder, self.url = folder, f"http://127.0.0.1:{port}/api"
        self.variables = Home(folder / "prefect").environment | {
            "PREFECT_SERVER_API_PORT": str(port), "PREFECT_LOGGING_LEVEL": "INFO",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        (folder / "bin").mkdir()
        command = folder / "bin/videobert"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m flows "$@"\n')
        command.chmod(0o755)

    def shell(self, line: str) -> str:
        ended = subprocess.run(
            ["bash", "-c", line], env=self.variables, capture_output=True, text=True, timeout=SECONDS, cwd=self.folder, check=False
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return ended.stdout

    @contextlib.contextmanager
    def beside(self, line: str, log: str, without: str = "") -> Iterator[subprocess.Popen]:
        """A command that stays, in a session of its own, killed at the end with all that it started; ``without`` a variable of
        the environment."""
        variables = {name: value for name, value in self.variables.items() if name != without}
        with (self.folder / log).open("wb") as out:
            child = subprocess.Popen(
                ["bash", "-c", f"exec {line}"], env=variables, stdout=out, stderr=out, cwd=self.folder, start_new_session=True
            )  # fmt: skip
        try:
            yield child
        finally:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """As Prefect's own client: asked again where the server is busy, its database being written to."""
        for pause in (1, 2, 4, 8, 0):
            try:
                answer = httpx.request(method, f"{self.url}{path}", json=body or None, timeout=60)
            except httpx.TransportError:
                if not pause or not (method == "GET" or path.endswith("/filter")):
                    raise
            else:
                if not answer.is_server_error:
                    break
            time.sleep(pause)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def start(self, name: str, **parameters: Any) -> str:
        """A run of the deployment FLOW/NAME; returns its identifier."""
        deployment = self.ask("GET", f"/deployments/name/{name}")
        merged = {"parameters": deployment["parameters"] | parameters}
        return self.ask("POST", f"/deployments/{deployment['id']}/create_flow_run", **merged)["id"]

    def run(self, run: str) -> dict:
        return self.ask("GET", f"/flow_runs/{run}")

    def wait(
        self, run: str, until: Callable[[dict], bool] = lambda run: run["state"]["type"] in FINAL
    ) -> dict:
        due = time.monotonic() + SECONDS
        while not until(found := self.run(run)):
            assert time.monotonic() < due, found["state"]
            time.sleep(0.5)
        return found

    def parts(self, run: str) -> list[dict]:
        """The runs of the stages of a run."""
        asked = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}
        return self.ask("POST", "/flow_runs/filter", **asked)

    def lines(self, run: str) -> list[str]:
        asked = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.ask("POST", "/logs/filter", **asked)]

    def automations(self) -> dict[str, bool]:
        return {
            found["name"]: found["enabled"] for found in self.ask("POST", "/automations/filter", limit=50)
        }

    def start_server(self) -> None:
        """Starts the server as the first of the three commands does; returns when it answers."""
        first = documented()[0].replace("~", str(self.folder))
        self.server = int(self.shell(f"{first} echo $!"))
        until(self.answers, SECONDS)

    def answers(self) -> bool:
        """Whether the server does."""
        try:
            return httpx.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError:
            return False


def documented() -> list[str]:
    """The three commands of docs/scheduling.md."""
    text = (PROJECT / "docs/scheduling.md").read_text(encoding="utf-8")
    lines = re.findall(
        r"^    (.+)$", text.partition("## Three commands")[2].partition("The server stays")[0], re.M
    )
    assert len(lines) == 3
    return lines


@contextlib.contextmanager
def set_up(folder: Path, switch: str = "") -> Iterator[Operator]:
    """A server as the first of the three commands starts it, and what the second one makes, which may ``switch`` something on;
    VIDEOBERT_HOME is a corpus."""
    port = free_port()
    found = Operator(folder, port)
    (folder / "home").mkdir()
    imported_corpus.write_corpus(folder / "home/corpus", videos=12)
    imported_corpus.write_bert(folder / "home/bert")
    (folder / "home/videobert.toml").write_text('text_start = "bert"\nepochs = 2\n')
    try:
        found.start_server()
        found.told = found.shell(f"{documented()[1]} {switch}")
        yield found
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.server, signal.SIGTERM)


@contextlib.contextmanager
def at_work(found: Operator, log: str = "worker.log", epochs: int = 1) -> Iterator[subprocess.Popen]:
    """And the worker that the third one starts, with a setting in a variable."""
    third = documented()[2].replace("/srv/videobert", f"{found.folder / 'home'} VIDEOBERT_EPOCHS={epochs}")
    with found.beside(f"env {third.replace('http://127.0.0.1:4200/api', found.url)}", log) as worker:
        yield worker


def imports(store: str) -> dict:
    """Parameters of `ingest` and `pipeline` that take no video to decode; the file of settings and the worker say the rest."""
    return {
        "videos": [], "imports": {"paths": ["corpus"], "stride": 1.5},
        "settings": {"store": store},
    }  # fmt: skip
