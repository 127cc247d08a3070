"""Beside a real refit every question is answered: the model, its index and its captioner become current together."""

import json
import shutil
from pathlib import Path

import fragments
import pytest
from command import Home, run_inside

from multimodal.catalogue import Catalogue

QUESTIONS = (
    ("search", "season the banana"), ("caption", "flower@1"), ("next", "flower@3"), ("classify", "flower@1", "--verbs", "chop,wash"), ("status",),
)  # fmt: skip


def current(store: Path) -> dict[str, str | None]:
    kinds = ("model", "model_codebook", "captioner", "next_model", "next_captioner")
    with Catalogue(store / "catalogue.sqlite", read_only=True) as catalogue:
        return {kind: catalogue.current(kind) for kind in kinds}


@pytest.fixture
def store(made, tmp_path) -> Path:
    return shutil.copytree(made.store, tmp_path / "store")


@pytest.mark.long
def test_readers_beside_a_refit_get_every_answer(home: Home, made, store, tmp_path, capsys):
    """A new video, so that codebook, model, captioner and index are all made anew; questions without a pause."""
    videos = shutil.copytree(made.videos, tmp_path / "videos")
    fragments.spoken(videos / "another.mp4", "kitchen-005.mp4")
    before, seen = current(store), set()
    run = home.start("run", videos, "--store", store, "--refit", log=tmp_path / "log")
    answers, refused = 0, []
    try:
        while run.poll() is None:
            for question in QUESTIONS:
                ended = run_inside(capsys, *question, "--store", store, "--json")
                answers += 1
                if ended.returncode != 0:
                    refused.append((question, ended.stderr))
                seen.add(tuple(current(store)[kind] for kind in ("model", "captioner")))
    finally:
        run.kill()
    assert run.wait() == 0, (tmp_path / "log").read_text()
    after = current(store)
    with capsys.disabled():
        print(f"\n{answers} questions beside a refit, {len(refused)} refused")
    assert refused == [] and answers >= len(QUESTIONS)
    assert after["model"] != before["model"] and after["next_model"] is None
    assert seen <= {(c["model"], c["captioner"]) for c in (before, after)}, "never the one without the other"


@pytest.mark.long
def test_stage_by_stage_the_model_before_answers_until_the_index(home: Home, made, store, capsys):
    before = current(store)
    for stage in ("pretrain", "captioner", "index"):
        now = current(store)
        assert {kind: now[kind] for kind in ("model", "captioner")} == {
            kind: before[kind] for kind in ("model", "captioner")
        }
        assert run_inside(capsys, "search", "banana", "--store", store).returncode == 0
        ended = home.run(stage, "--store", store, *(("--seed", 9) if stage == "pretrain" else ()))
        assert ended.returncode == 0, ended.stderr
    after = current(store)
    assert after["model"] != before["model"] and after["captioner"].startswith(after["model"])
    assert json.loads(run_inside(capsys, "search", "banana", "--store", store, "--json").stdout)["hits"]


@pytest.mark.long
def test_a_video_that_is_not_in_the_index_yet_stops_no_search(home: Home, made, store, tmp_path, capsys):
    fragments.spoken(tmp_path / "another.mp4", "kitchen-005.mp4")
    ended = home.run("ingest", tmp_path / "another.mp4", "--store", store)
    assert ended.returncode == 0, ended.stderr
    ended = run_inside(capsys, "search", "banana", "--store", store)
    assert ended.returncode == 0 and "Not searched: 1 new" in ended.stderr
