"""`videobert runs`: every flow's runs with outcome and what was done, also of those that failed or were killed."""

import json
import signal
import time
from pathlib import Path

import imported_corpus
import pytest
from command import kill, run_inside

from flows.opened_run import recorded_run
from flows.settings import Settings
from multimodal.catalogue import Catalogue, Video
from multimodal.store import InputError, Store


@pytest.fixture
def store(tmp_path) -> Path:
    with recorded_run(Settings(store=tmp_path / "store"), "ingest"):
        pass
    return tmp_path / "store"


def listed(capsys, store: Path, *more: object) -> list[dict]:
    ended = run_inside(capsys, "runs", "--store", store, "--json", *more)
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)["runs"]


def fails(store: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), recorded_run(Settings(store=store), "codebook"):
        raise error


def test_each_outcome_is_told(store, capsys):
    fails(store, InputError("videos: none\n can be used"))
    fails(store, ZeroDivisionError("a defect"))
    fails(store, KeyboardInterrupt())
    with Catalogue(Store(store).catalogue) as catalogue:
        catalogue.begin_run("pretrain", {})
    assert [(run["flow"], run["outcome"], run["done"]) for run in listed(capsys, store)] == [
        ("ingest", "done", "nothing left to do"),
        ("codebook", "failed", "videos: none can be used"),
        ("codebook", "failed", "an unexpected ZeroDivisionError"),
        ("codebook", "stopped", ""),
        ("pretrain", "killed", ""),
    ]
    assert [run["seconds"] is None for run in listed(capsys, store)] == [False] * 4 + [True]
    assert [run["flow"] for run in listed(capsys, store, "--last", 1)] == ["pretrain"]
    lines = run_inside(capsys, "runs", "--store", store).stdout.splitlines()
    assert len(lines) == 5 and lines[0].endswith("done     ingest     nothing left to do")


def test_one_under_way_is_running(store, capsys):
    with recorded_run(Settings(store=store), "index"):
        assert listed(capsys, store)[-1]["outcome"] == "running"
    assert listed(capsys, store)[-1]["outcome"] == "done"


def test_the_stages_of_a_run_are_parts_of_its_record(store, capsys):
    settings = Settings(store=store)
    with recorded_run(settings, "pipeline") as run, recorded_run(run.settings, "codebook"):
        pass
    assert [run["flow"] for run in listed(capsys, store)] == ["ingest", "pipeline"]


def test_a_removed_videos_name_does_not_stay(store, capsys):
    fails(store, InputError("talk of a friend.mp4: no video can be used"))
    with Store(store).writing(), Catalogue(Store(store).catalogue) as catalogue:
        catalogue.put(Video("a" * 64, "talk of a friend.mp4", "/talk of a friend.mp4", 1))
        catalogue.forget(catalogue.get("a" * 64))
    assert [(run["outcome"], run["done"]) for run in listed(capsys, store)] == [
        ("done", "nothing left to do"), ("failed", ""),
    ]  # fmt: skip
    assert b"talk of a friend" not in (store / "catalogue.sqlite").read_bytes() or Catalogue(
        Store(store).catalogue
    ).forgotten(unfinished=True), "its row goes with its files"


@pytest.mark.parametrize(
    ("how", "outcome"), [("SIGINT", "stopped"), pytest.param("SIGKILL", "killed", marks=pytest.mark.long)]
)
def test_a_command_that_is_stopped(home, tmp_path, capsys, how, outcome):
    corpus = imported_corpus.write_corpus(tmp_path / "corpus", videos=400)
    store = tmp_path / "store"
    child = home.start(
        "ingest", "--import", corpus, "--import-stride", 1.5, "--store", store, log=tmp_path / "log"
    )
    due = time.monotonic() + 120
    while not any(store.glob("features/*.safetensors")) and time.monotonic() < due and child.poll() is None:
        time.sleep(0.01)
    kill(child, how)
    assert child.wait(60) == {"SIGINT": 128 + signal.SIGINT, "SIGKILL": -signal.SIGKILL}[how]
    assert [(run["flow"], run["outcome"]) for run in listed(capsys, store)] == [("ingest", outcome)]
