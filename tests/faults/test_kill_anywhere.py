"""A run may be killed at any moment: run again, it makes what an uninterrupted run makes, and nothing twice.

One store is made by a chain of runs, each stopped at the sight of another artefact, and compared with a store that was
made in one go. `VIDEOBERT_FAULTS=N` adds N kills at random times.
"""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import fragments
import httpx
import pytest
from command import Home, artefacts, contents, kill, made_again, prefect_server, stamps
from harm import edited

from multimodal.catalogue import Catalogue
from multimodal.store import Store

RANDOM_KILLS = int(os.environ.get("VIDEOBERT_FAULTS", "0"))
SETTINGS = ("--epochs", 1, "--size", "demo", "--backbone", "mobilenetv2")
"""The quickest of each kind: which network sees the clips changes nothing of how a run ends."""
STOPPED = "videobert: stopped; run again to go on"
SECONDS_TO_STOP = 30.0
"""Far more than it takes: a machine may be busy. Without the signal the run goes on for longer."""
STOPS = (
    # seen in the store     how                 status   on a server of the run's own
    ("transcripts/*", "SIGINT", 130, True),
    ("models/*/.step*.part/model.safetensors", "group", -9, False),
)
if RANDOM_KILLS:
    STOPS = (
        ("transcripts/*", "SIGINT", 130, True),
        ("features/*", "SIGKILL", -9, False),
        ("models/*/.step*.part/model.safetensors", "group", -9, True),
        ("models/*/step-*", "SIGTERM", 143, False),
    )


@dataclass
class Stop:
    """A run that was stopped: what was to be seen, how it ended, what it left."""

    at: str
    how: str
    status: int
    said: str
    seconds: float
    left_over: set[int]
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    redone: list[str] = field(default_factory=list)


@dataclass
class World:
    """A folder of videos and what an uninterrupted run makes of it."""

    root: Path
    videos: Path
    server: str
    whole: Path
    seconds: float

    def home(self, own_server: bool = False) -> Home:
        return Home(self.root / "own" if own_server else self.root, None if own_server else self.server)

    def run(self, store: Path) -> subprocess.CompletedProcess:
        return self.home().run("run", self.videos, "--store", store, *SETTINGS)


@pytest.fixture(scope="module")
def world(tmp_path_factory, weights_or_skip) -> World:
    for name in ("whisper-tiny.en", "mobilenetv2-imagenet", "minilm-l6"):
        weights_or_skip(name)
    root = tmp_path_factory.mktemp("faults")
    folder = root / "videos"
    fragments.spoken(folder / "spoken.mp4")
    fragments.speechless(folder / "silent.mp4")
    with prefect_server(root) as url:
        made = World(root, folder, url, root / "whole", 0.0)
        began = time.monotonic()
        ended = made.run(made.whole)
        assert ended.returncode == 0, ended.stderr
        made.seconds = time.monotonic() - began
        yield made


def whole_files(store: Path) -> dict[str, tuple[int, int]]:
    """The stamps of what a killed run finished: files under their names, folders with a manifest."""
    found = stamps(store)
    unfinished = [
        p.relative_to(store).as_posix()
        for kind in ("codebooks/*", "models/*/step-*", "captioners/*/step-*")
        for p in store.glob(kind)
        if not (p / "manifest.json").exists()
    ]
    return {
        name: stamp
        for name, stamp in found.items()
        if not name.endswith("metrics.jsonl") and not any(name.startswith(f"{u}/") for u in unfinished)
    }


def stop(world: World, store: Path, how: str, own_server: bool, *, at: str = "", after: float = 0.0) -> Stop:
    """Runs until something of the form `at` is in the store, or for `after` seconds, and stops it."""
    home, log = world.home(own_server), world.root / "stopped.log"
    child = home.start("run", world.videos, "--store", store, *SETTINGS, log=log)
    due = time.monotonic() + (after or 120)
    while child.poll() is None and time.monotonic() < due and not (at and any(store.glob(at))):
        time.sleep(0.002)
    if child.poll() is None:
        kill(child, how)
    began = time.monotonic()
    status = child.wait(60)
    seconds = time.monotonic() - began
    return Stop(at, how, status, log.read_text(), seconds, home.left_over(), whole_files(store))


@pytest.fixture(scope="module")
def chain(world) -> tuple[Path, list[Stop]]:
    """A store made by runs that were all stopped but the last, and those stops."""
    store, stops = world.root / "chain", []
    for at, how, _, own_server in STOPS:
        stops.append(stop(world, store, how, own_server, at=at))
        if len(stops) > 1:
            stops[-2].redone = made_again(store, stops[-2].kept)
    ended = world.run(store)
    assert ended.returncode == 0, ended.stderr
    stops[-1].redone = made_again(store, stops[-1].kept)
    return store, stops


def differences(store: Path, whole: Path) -> list[str]:
    """What differs between two stores: artefacts, what the catalogue says, leftovers."""
    a, b = contents(store), contents(whole)
    found = [f"artefact {name}" for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
    found += [f"left over {p.relative_to(store)}" for p in store.rglob("*.part*")]
    found += [f"catalogue {line}" for line in sorted(set(catalogue(store)) ^ set(catalogue(whole)))]
    return found


def catalogue(store: Path) -> list[str]:
    """What the catalogue says of videos and of what is in use; not its record of runs."""
    with sqlite3.connect(store / "catalogue.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = [*db.execute("SELECT * FROM videos"), *db.execute("SELECT * FROM current")]
    db.close()
    return [json.dumps(row) for row in rows]


def test_each_stop_came_where_it_was_meant(chain):
    assert [(s.at, s.status) for s in chain[1]] == [(at, status) for at, _, status, _ in STOPS]


def test_a_signal_ends_it_soon_and_says_so_in_one_line(chain):
    for s in chain[1]:
        last = s.said.splitlines()[-1] if s.said else ""
        assert (last == STOPPED) == (s.status > 0), s.said
        assert "Traceback" not in s.said and s.seconds < SECONDS_TO_STOP, s


def test_no_process_stays_behind(chain):
    assert [(s.at, s.left_over) for s in chain[1] if s.left_over] == []


def test_nothing_is_done_twice(chain):
    assert [(s.at, s.redone) for s in chain[1] if s.redone] == []
    assert len(chain[1][-1].kept) > len(chain[1][0].kept)


def test_the_store_is_that_of_an_uninterrupted_run(world, chain):
    assert differences(chain[0], world.whole) == []


def test_the_runs_that_were_stopped_are_on_record(chain):
    with sqlite3.connect(chain[0] / "catalogue.sqlite") as db:
        outcomes = [o for (o,) in db.execute("SELECT outcome FROM runs ORDER BY id")]
    db.close()
    assert outcomes == ["stopped" if status > 0 else "killed" for _, _, status, _ in STOPS] + ["done"]


def test_prefect_does_not_have_them_as_running(world, chain):
    """Of the runs on the one server: the killed one is ended by the next, the one that a signal stopped by itself."""
    asked = {"flow_runs": {"tags": {"all_": [f"store {chain[0].resolve()}"]}}, "sort": "START_TIME_ASC"}
    runs = httpx.post(f"{world.server}/flow_runs/filter", json=asked).json()
    recorded = {-9: "CRASHED", 130: "CANCELLED", 143: "CANCELLED", 0: "COMPLETED"}
    expected = [recorded[status] for _, _, status, own_server in STOPS if not own_server] + ["COMPLETED"]
    assert len(runs) > len(expected) and {run["state_type"] for run in runs} == set(expected)
    ends = [run["state_type"] for run in runs if run["parent_task_run_id"] is None]
    assert ends == expected
    tasks = httpx.post(f"{world.server}/task_runs/filter", json=asked | {"sort": "ID_DESC"}).json()
    assert tasks and {t["state_type"] for t in tasks} <= {
        "CRASHED",
        "CANCELLED",
        "COMPLETED",
        "FAILED",
    }


def test_prefects_history_names_no_video(world, chain):
    """A video that is removed is then found nowhere: by its digest alone it was ever known there."""
    with Catalogue(Store(chain[0]).catalogue, read_only=True) as opened:
        videos = opened.videos()
    held = b"".join(path.read_bytes() for path in world.root.glob("prefect.db*"))
    assert any(video.video.encode() in held for video in videos), "the control"
    assert not [video.name for video in videos if video.name.encode() in held]
    assert str(world.videos).encode() not in held


def test_a_second_run_at_once_is_told_who_holds_the_store(world, chain, tmp_path):
    store, home = tmp_path / "store", world.home()
    child = home.start("ingest", world.videos, "--store", store, log=tmp_path / "log")
    try:
        while not (store / "catalogue.sqlite").exists():
            assert child.poll() is None
            time.sleep(0.01)
        second = home.run("run", world.videos, "--store", store)
    finally:
        kill(child, "group")
        child.wait()
    assert (second.returncode, second.stdout) == (3, "")
    (line,) = second.stderr.splitlines()
    assert f"process {child.pid} writes to it" in line
    assert home.left_over() == set()


@pytest.mark.skipif(not RANDOM_KILLS, reason="the long loop: VIDEOBERT_FAULTS=60, or make faults")
@pytest.mark.timeout(3600)
def test_killed_at_random_times(world):
    draw = random.Random(0)
    kills, round_ = 0, 0
    while kills < RANDOM_KILLS:
        store, round_ = world.root / f"random-{round_}", round_ + 1
        before: dict[str, tuple[int, int]] = {}
        while kills < RANDOM_KILLS:
            how = draw.choice(("group", "SIGKILL", "SIGTERM", "SIGINT"))
            ended = stop(world, store, how, draw.random() < 0.2, after=draw.uniform(0.5, world.seconds))
            assert ended.left_over == set()
            assert made_again(store, before) == []
            before = ended.kept
            if ended.status == 0:
                break
            before_it_listened = (ended.status == -15 and not ended.said) or ended.status == -2
            assert ended.status in (-9, 130, 143) or before_it_listened, ended.said
            kills += 1
        last = world.run(store)
        assert last.returncode == 0, last.stderr
        assert made_again(store, before) == [] and differences(store, world.whole) == []


CARELESS = """
import sys, time
from pathlib import Path
from multimodal.intake import ingest
from multimodal import store
def careless(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(data[:len(data) // 2]); stream.flush(); time.sleep(60)
ingest.write_artefact = careless
from flows.cli import main
main()
"""


@pytest.mark.long
def test_the_comparison_finds_a_careless_writer(world, tmp_path):
    """The control: a writer that writes under the final name leaves a store that no later run makes good."""
    store, home = tmp_path / "store", world.home()
    command = [
        sys.executable,
        "-c",
        CARELESS,
        *map(str, ("ingest", world.videos, "--store", store, *SETTINGS)),
    ]
    child = subprocess.Popen(
        command, env=home.environment, start_new_session=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )  # fmt: skip
    try:
        while not any(p.stat().st_size for p in store.glob("transcripts/*.json")):
            assert child.poll() is None
            time.sleep(0.01)
    finally:
        kill(child, "group")
        child.wait()
    home.run("ingest", world.videos, "--store", store, *SETTINGS)
    made, meant = contents(store), contents(world.whole)
    half = [name for name in made if made[name] != meant[name]]
    assert half and f"artefact {half[0]}" in differences(store, world.whole)


@pytest.mark.parametrize("harm", ["changed", "missing", "left over", "row"])
def test_the_comparison_finds_each_kind_of_harm(world, harm, tmp_path):
    store, whole = (
        shutil.copytree(world.whole, tmp_path / n, ignore=shutil.ignore_patterns("models")) for n in "ab"
    )
    assert differences(store, whole) == []
    victim = next(iter(artefacts(store).values()))
    if harm == "changed":
        victim.write_bytes(victim.read_bytes()[:-1] + b"\0")
    elif harm == "missing":
        victim.unlink()
    elif harm == "left over":
        victim.with_name(f".{victim.name}.1.part").touch()
    else:
        with edited(store / "catalogue.sqlite") as db:
            db.execute("UPDATE videos SET state = 'refused' WHERE name = 'silent.mp4'")
    assert len(differences(store, whole)) >= 1
