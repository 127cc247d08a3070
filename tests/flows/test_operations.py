"""All of docs/scheduling.md at once: runs by schedule, by hand and by chain, and everything that works on them killed in turn.

A server, `videobert deploy`, a worker and a Dask cluster. A Dask worker, a flow run, the server and the worker are killed by
SIGKILL while they work. In the store nothing that was finished is made again, and each video is accounted for.
"""

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import fragments
import pytest
from command import PROJECT, kept, made_again, processes_with, stamps, until
from dask_cluster import DaskCluster, dask_cluster
from operating import Operator, at_work, set_up
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from multimodal.catalogue import Catalogue
from multimodal.store import Store, write_artefact

CHAIN = ("codebook", "pretrain", "captioner", "index", "evaluate")
STEPS = 300
"""One an epoch: the videos are few."""
LENGTH = 9.0
"""Seconds of a video whose ingestion is met half way: about 3 on one core."""
SETTINGS = """
size = "demo"
backbone = "mobilenetv2"
captions = true
text_start = "bert"
spike = 1000.0
runner = "dask"
address = "{}"
"""
"""The model is small and trained for long, with a checkpoint every 100 steps, as with each training that watches for spikes."""
WORDS = "WEBVTT\n\n00:00.500 --> 00:04.000\nNow we {0} the onion.\n\n00:04.500 --> 00:08.500\nThen we {0} the carrot.\n"


def video(folder: Path, number: int) -> None:
    """A video with captions beside it."""
    fragments.silent(folder / f"{number}.mp4", f"kitchen-00{number}.mp4", LENGTH)
    (folder / f"{number}.vtt").write_text(WORDS.format("chop" if number % 2 else "wash"))
    fragments.at_rest(folder / f"{number}.vtt")


class Watched:
    """The store of the runs: what is finished in it, and what of that was made again."""

    def __init__(self, root: Path):
        self.root = root
        self.finished: dict[str, tuple[int, int]] = {}
        self.again: list[str] = []
        self.began = time.monotonic()

    def look(self, moment: str) -> None:
        """Adds what was made again since the look before, and takes down what is finished now."""
        self.again += made_again(self.root, self.finished)
        under_way = {f"{path.parent.parent.relative_to(self.root)}/" for path in self.checkpoints(done=False)}
        self.finished = {
            name: stamp for name, stamp in kept(self.root).items() if not name.startswith(tuple(under_way))
        }
        print(f"{time.monotonic() - self.began:6.1f} s  {len(self.finished):3} files  {moment}")

    def checkpoints(self, done: bool) -> list[Path]:
        """The states of trainings that ended, or of those that are under way, whose checkpoints replace each other."""
        found = []
        for path in self.root.glob("*/*/step-*/trainer.json"):
            state = json.loads(path.read_text())
            if (state["step"] >= state["steps"]) == done:
                found.append(path)
        return found

    def videos(self) -> dict[str, tuple[str, int, str | None]]:
        with Catalogue(Store(self.root).catalogue, read_only=True) as catalogue:
            return {v.name: (v.state, v.tries, v.gone) for v in catalogue.videos()}


def steps_of(training: Path) -> Counter[int]:
    """How often each step of a training was made, by the curves of all its runs."""
    files = (training / "tensorboard").glob("events.*")
    events = (event for file in files for event in EventFileLoader(str(file)).Load())
    return Counter(event.step for event in events for value in event.summary.value if value.tag == "loss")


@pytest.fixture
def operator(tmp_path, weights_or_skip) -> Iterator[Operator]:
    weights_or_skip("mobilenetv2-imagenet")
    with set_up(tmp_path, "--chain on") as found:
        yield found


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_nothing_is_made_twice_whatever_is_killed(operator):
    home = operator.folder / "home"
    store = Watched(home / "store")
    for number in range(4):
        video(home / "videos", number)
    fragments.at_rest(write(home / "videos/none.mp4", b"no video"))
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(dask_cluster(operator.variables, operator.folder / "cluster"))
        write(home / "videobert.toml", SETTINGS.format(cluster.address).encode())
        worker = stack.enter_context(at_work(operator, epochs=STEPS))
        by_schedule(operator, store, cluster)
        by_hand(operator, store)
        video(home / "videos", 4)
        by_chain(operator, store, worker, lambda: stack.enter_context(at_work(operator, "second.log", STEPS)))
        nothing_to_do(operator, store)
    assert store.again == []
    expected = {f"{n}.mp4": ("done", 0, None) for n in range(5)} | {"none.mp4": ("refused", 0, None)}
    assert store.videos() == expected
    assert len(list(store.root.glob("features/*.safetensors"))) == 5
    assert len(store.checkpoints(done=True)) == 2 and store.checkpoints(done=False) == []
    assert list(store.root.rglob("*.part")) == []


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def by_schedule(operator: Operator, store: Watched, cluster: DaskCluster) -> None:
    """A nightly run: a Dask worker is killed while it ingests, its own process while it trains."""
    assert "chain: on" in operator.told
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=80)
    cron = {"schedule": {"cron": f"{soon:%M %H} * * *", "timezone": "UTC"}}
    set_on_the_page(operator, "pipeline/nightly", **cron)
    # The chain's own schedule would begin one more run if the test met a full hour.
    set_on_the_page(operator, "ingest/ingest", active=False)
    store.look("deployed")
    until(lambda: started(operator, "nightly"))
    (run,) = started(operator, "nightly")
    assert run["auto_scheduled"]
    seen(operator, run["id"], store, "features/*.safetensors")
    store.look("a Dask worker is killed")
    cluster.workers[0].kill()
    cluster.add_worker()
    seen(operator, run["id"], store, "models/*/step-*/manifest.json")
    store.look("the run is killed")
    for process in processes_with(run["id"]):
        os.kill(process, signal.SIGKILL)
    ended = operator.wait(run["id"])
    assert ended["state"]["type"] == "CRASHED", ended["state"]


def set_on_the_page(operator: Operator, name: str, **changes: object) -> None:
    """Changes the schedule of a deployment."""
    found = operator.ask("GET", f"/deployments/name/{name}")
    (schedule,) = found["schedules"]
    operator.ask("PATCH", f"/deployments/{found['id']}/schedules/{schedule['id']}", **changes)
    # The server looks within seconds at a deployment that was changed, and once a minute at the others.
    operator.ask("PATCH", f"/deployments/{found['id']}", parameters=found["parameters"])


def by_hand(operator: Operator, store: Watched) -> None:
    """The same by hand: it goes on from the checkpoint. The server is killed beside it, and started again."""
    (checkpoint,) = store.checkpoints(done=False)
    step, training = json.loads(checkpoint.read_text())["step"], checkpoint.parent.parent
    run = operator.start("pipeline/nightly")
    seen(operator, run, store, "captioners/*/metrics.jsonl")
    made = steps_of(training)
    assert set(made) == set(range(1, STEPS + 1)) and {made[n] for n in range(1, step + 1)} == {1}
    store.look("the server is killed")
    os.kill(operator.server, signal.SIGKILL)
    until(lambda: not operator.answers())
    operator.start_server()
    store.look("the server is there again")
    lease = operator.run(run)["state"]["state_details"]["deployment_concurrency_lease_id"]
    operator.ask("POST", f"/v2/concurrency_limits/leases/{lease}/renew", lease_duration=300)
    ended = operator.wait(run)
    assert ended["state"]["type"] == "COMPLETED", ended["state"]
    store.look("the run by hand has completed")


def by_chain(
    operator: Operator, store: Watched, worker: subprocess.Popen, another: Callable[[], object]
) -> None:
    """A new video goes through the chain, whose worker is killed while it is ingested."""
    run = operator.start("ingest/ingest")
    operator.wait(run, lambda run: "1 to do" in run["name"])
    store.look("the worker is killed")
    os.kill(worker.pid, signal.SIGKILL)
    another()
    ended = operator.wait(run)
    assert ended["state"]["type"] == "COMPLETED", ended["state"]
    store.look("ingest has completed")
    for stage in CHAIN:
        until(lambda stage=stage: "COMPLETED" in states(operator, stage))
        store.look(f"{stage} has completed")
    until(lambda: not {"RUNNING", "PENDING"} & states(operator, "ingest", *CHAIN))


def nothing_to_do(operator: Operator, store: Watched) -> None:
    """All stages once more, and what the histories of Prefect and of the store say."""
    whole = stamps(store.root)
    ended = operator.wait(operator.start("pipeline/nightly"))
    assert ended["state"]["type"] == "COMPLETED", ended["state"]
    assert stamps(store.root) == whole
    store.look("nothing to do")
    runs = json.loads(operator.shell("videobert runs --store home/store --json"))["runs"]
    assert [run["outcome"] for run in runs] == ["killed", *["done"] * (len(runs) - 1)], runs
    everywhere = operator.ask("POST", "/flow_runs/filter", sort="START_TIME_ASC")
    crashed = [run["name"] for run in everywhere if run["state"]["type"] == "CRASHED"]
    assert crashed[0] == "all stages of videos" and crashed[1].startswith("pretrain") and len(crashed) == 2
    # The chain of a server whose database was locked may begin a stage twice.
    others = {
        run["state"]["message"] for run in everywhere if run["state"]["type"] in ("CANCELLED", "FAILED")
    }
    assert all("limit reached" in message or "writes to it" in message for message in others), others


def started(operator: Operator, *deployments: str) -> list[dict]:
    """The runs that have begun, of deployments where some are named."""
    asked = {"deployments": {"name": {"any_": list(deployments)}}} if deployments else {}
    return operator.ask("POST", "/flow_runs/filter", flow_runs={"start_time": {"is_null_": False}}, **asked)


def states(operator: Operator, *deployments: str) -> set[str]:
    return {run["state"]["type"] for run in started(operator, *deployments)}


def seen(operator: Operator, run: str, store: Watched, pattern: str) -> None:
    """Waits for a file of the pattern in the store. Raises where the run ends before."""
    next_ask = 0.0
    while not any(store.root.glob(pattern)):
        if time.monotonic() > next_ask:
            state = operator.run(run)["state"]
            assert state["type"] in ("SCHEDULED", "PENDING", "RUNNING"), state
            next_ask = time.monotonic() + 2
        time.sleep(0.02)


def test_the_count_sees_a_file_that_is_made_again(tmp_path):
    """The control: the same bytes under the same name, written as the product writes them."""
    file = tmp_path / "features/a.safetensors"
    write_artefact(file, b"features")
    store = Watched(tmp_path)
    store.look("made")
    store.look("left alone")
    assert store.again == [] and list(store.finished) == ["features/a.safetensors"]
    write_artefact(file, b"features")
    store.look("made again")
    assert store.again == ["features/a.safetensors"]


WRITES = """
import sys, threading, time
from rich.console import Console
from flows.stopping import _write_nowhere_once_unread
if sys.argv[1] == "outlives":
    threading.Thread(target=_write_nowhere_once_unread, daemon=True).start()
for line in range(5):
    Console(stderr=True).print(line)
    print(line, flush=True)
    time.sleep(0.2)
open(sys.argv[2], "w").close()
"""


@pytest.mark.parametrize("how", ["outlives", "ends with"])
def test_a_run_outlives_the_reader_of_its_lines(how, tmp_path):
    """And the control: Rich, and so Prefect's log, ends a process whose lines nobody reads."""
    ended = tmp_path / "ended"
    child = subprocess.Popen(
        [sys.executable, "-c", WRITES, how, ended], env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == b"0\n"
    child.stdout.close()
    assert (child.wait(60) == 0) == ended.exists() == (how == "outlives")
