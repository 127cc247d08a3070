"""A server, `videobert deploy` and a worker as docs/scheduling.md has them: what an operator sees and can do."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import imported_corpus
import pytest
from command import PROJECT, Home

from multimodal.catalogue import Catalogue
from multimodal.store import Store

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
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
            answer = httpx.request(method, f"{self.url}{path}", json=body or None, timeout=60)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
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
            time.sleep(0.2)
        return found

    def lines(self, run: str) -> list[str]:
        asked = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.ask("POST", "/logs/filter", **asked)]

    def automations(self) -> dict[str, bool]:
        return {
            found["name"]: found["enabled"] for found in self.ask("POST", "/automations/filter", limit=50)
        }


def documented() -> list[str]:
    """The three commands of docs/scheduling.md."""
    text = (PROJECT / "docs/scheduling.md").read_text(encoding="utf-8")
    lines = re.findall(
        r"^    (.+)$", text.partition("## Three commands")[2].partition("The server stays")[0], re.M
    )
    assert len(lines) == 3
    return lines


@pytest.fixture(scope="module")
def operator(tmp_path_factory) -> Iterator[Operator]:
    """A server as the first of the three commands starts it, and what the second one makes; VIDEOBERT_HOME is a corpus."""
    folder = tmp_path_factory.mktemp("operator")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = Operator(folder, port)
    (folder / "home").mkdir()
    imported_corpus.write_corpus(folder / "home/corpus", videos=12)
    imported_corpus.write_bert(folder / "home/bert")
    (folder / "home/videobert.toml").write_text('text_start = "bert"\nepochs = 2\n')
    first, second, _ = documented()
    found.shell(first)
    try:
        due = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{found.url}/health").status_code == 200:
                    break
            assert time.monotonic() < due
            time.sleep(0.5)
        found.told = found.shell(second)
        yield found
    finally:
        found.shell("prefect server stop")


@pytest.fixture(scope="module")
def worker(operator) -> Iterator[Operator]:
    """And the worker that the third one starts, with a setting in a variable."""
    third = documented()[2].replace("/srv/videobert", f"{operator.folder / 'home'} VIDEOBERT_EPOCHS=1")
    with operator.beside(f"env {third.replace('http://127.0.0.1:4200/api', operator.url)}", "worker.log"):
        yield operator


def imports(store: str) -> dict:
    """Parameters of `ingest` and `pipeline` that take no video to decode; the file of settings and the worker say the rest."""
    return {
        "videos": [], "imports": {"paths": ["corpus"], "stride": 1.5},
        "settings": {"store": store},
    }  # fmt: skip


def test_deploy_can_be_repeated_and_keeps_what_is_on(operator):
    assert "nightly: 0 2 * * * " in operator.told and "chain: off" in operator.told
    assert operator.automations()["zombie runs"] is True
    nightly = operator.ask("GET", "/deployments/name/pipeline/nightly")
    ((schedule,), tags) = nightly["schedules"], nightly["tags"]
    assert (schedule["active"], schedule["schedule"]["cron"], tags) == (True, "0 2 * * *", ["stages"])
    operator.ask(
        "PATCH", f"/deployments/{nightly['id']}", parameters=nightly["parameters"] | {"videos": ["lectures"]}
    )
    operator.shell("videobert deploy --chain on")
    chain = {name for name in operator.automations() if name.endswith("__automation_1")}
    assert len(chain) == 5
    assert all(operator.automations()[name] for name in chain)
    (zombies,) = [
        a for a in operator.ask("POST", "/automations/filter", limit=50) if a["name"] == "zombie runs"
    ]
    operator.ask("PATCH", f"/automations/{zombies['id']}", enabled=False)

    told = operator.shell("videobert deploy")
    assert "chain: on" in told and "zombie runs off" in told
    assert all(operator.automations()[name] for name in chain) and not operator.automations()["zombie runs"]
    again = operator.ask("GET", "/deployments/name/pipeline/nightly")
    assert (again["schedules"][0]["active"], again["parameters"]["videos"]) == (True, ["lectures"])
    ingest = operator.ask("GET", "/deployments/name/ingest/ingest")
    assert [s["active"] for s in ingest["schedules"]] == [True]
    operator.shell("videobert deploy --chain off --nightly off")
    assert not any(operator.automations()[name] for name in chain)
    for name in ("pipeline/nightly", "ingest/ingest"):
        assert [s["active"] for s in operator.ask("GET", f"/deployments/name/{name}")["schedules"]] == [False]


def test_a_worker_without_a_home_is_told_what_it_lacks(operator):
    run = operator.start("codebook/codebook")  # before the worker, which looks once
    command = f"env PREFECT_API_URL={operator.url} prefect worker start --pool videobert --run-once"
    with operator.beside(command, "homeless.log", without="VIDEOBERT_HOME"):
        ended = operator.wait(run)
    assert ended["state"]["type"] == "FAILED" and ended["state"]["message"].startswith(
        "VIDEOBERT_HOME: not set"
    )


def test_a_nightly_run_on_the_worker(worker):
    ended = worker.wait(worker.start("pipeline/nightly", **imports("store")))
    assert ended["state"]["type"] == "COMPLETED", ended["state"]
    assert (ended["name"], set(ended["tags"])) == (
        "all stages", {"pipeline", "stages", f"store {worker.folder / 'home/store'}"},
    )  # fmt: skip
    assert any(line.startswith("pretrain: loss ") for line in worker.lines(ended["id"])) or any(
        line.startswith("pretrain: loss ")
        for run in parts(worker, ended["id"])
        for line in worker.lines(run["id"])
    )
    names = sorted(run["name"] for run in parts(worker, ended["id"]))
    assert [name.split()[0] for name in names] == [
        "captioner",
        "codebook",
        "evaluate",
        "index",
        "ingest",
        "pretrain",
    ]
    home = worker.folder / "home"
    with Catalogue(Store(home / "store").catalogue, read_only=True) as catalogue:
        assert json.loads(catalogue.current("settings")) == {"text_start": str(home / "bert"), "epochs": 1}
    (run,) = json.loads(worker.shell("videobert runs --store home/store --json"))["runs"]
    assert (run["flow"], run["outcome"]) == ("pipeline", "done") and "pretrain: " in run["done"]


def parts(operator: Operator, run: str) -> list[dict]:
    """The runs of the stages of a run."""
    asked = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}
    return operator.ask("POST", "/flow_runs/filter", **asked)


def to_train(worker: Operator, store: str, epochs: int) -> dict:
    """The parameters of a training in a store that was made as far as its visual tokens."""
    parameters = imports(store)
    ended = worker.wait(worker.start("ingest/ingest", **parameters))
    assert ended["state"]["type"] == "COMPLETED", ended["state"]
    settings = {"settings": parameters["settings"] | {"epochs": epochs}}
    assert worker.wait(worker.start("codebook/codebook", **settings))["state"]["type"] == "COMPLETED"
    return settings


def test_cancel_ends_a_training_within_five_seconds_with_a_checkpoint(worker):
    run = worker.start("pretrain/pretrain", **to_train(worker, "stopped", epochs=2000))
    worker.wait(run, lambda run: " steps" in run["name"])
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    began = time.monotonic()
    worker.ask("POST", f"/flow_runs/{run}/set_state", **cancelling)
    ended = worker.wait(run)
    took = time.monotonic() - began
    assert ended["state"]["type"] == "CANCELLED" and took < 5, (took, ended["state"])
    due = time.monotonic() + 10  # lines are sent as the process ends, after its state
    while not (told := [line for line in worker.lines(run) if line.startswith("cancelled, ")]):
        assert time.monotonic() < due
        time.sleep(0.2)
    (line,) = told
    step = int(re.search(r"a checkpoint of step (\d+)", line)[1])
    (checkpoint,) = (worker.folder / "home/stopped/models").glob("*/step-*/trainer.json")
    assert json.loads(checkpoint.read_text())["step"] == step
    assert [run["outcome"] for run in json.loads(worker.shell("videobert runs --store home/stopped --json"))["runs"]] == [
        "done", "done", "stopped",
    ]  # fmt: skip


def test_a_time_limit_ends_a_training_on_the_worker_with_a_checkpoint(worker):
    """The worker takes the end of the process for a good one, and leaves the state as it is."""
    run = worker.start("pretrain/pretrain", **to_train(worker, "limited", epochs=100_000), time_limit=25)
    worker.wait(run)
    time.sleep(3)
    state = worker.run(run)["state"]
    assert (state["type"], state["name"]) == ("FAILED", "TimedOut")
    step = int(
        re.fullmatch(
            r"the time limit of 25 s is over, with a checkpoint of step (\d+); .+", state["message"]
        )[1]
    )
    (checkpoint,) = (worker.folder / "home/limited/models").glob("*/step-*/trainer.json")
    assert json.loads(checkpoint.read_text())["step"] == step
