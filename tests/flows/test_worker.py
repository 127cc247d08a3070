"""A server, `videobert deploy` and a worker as docs/scheduling.md has them: what an operator sees and can do."""

import json
import re
import time
from collections.abc import Iterator

import pytest
from operating import Operator, at_work, imports, set_up

from multimodal.catalogue import Catalogue
from multimodal.store import Store

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def operator(tmp_path_factory) -> Iterator[Operator]:
    with set_up(tmp_path_factory.mktemp("operator")) as found:
        yield found


@pytest.fixture(scope="module")
def worker(operator) -> Iterator[Operator]:
    with at_work(operator):
        yield operator


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
        for run in worker.parts(ended["id"])
        for line in worker.lines(run["id"])
    )
    names = sorted(run["name"] for run in worker.parts(ended["id"]))
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
