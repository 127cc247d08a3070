"""Videos that go and come back, by the commands of a user; and what a store answers before it has a model."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from command import run_inside, stamps
from harm import edited


@pytest.fixture
def store(made, tmp_path) -> Path:
    return shutil.copytree(made.store, tmp_path / "store")


def current(store: Path) -> dict[str, str]:
    with sqlite3.connect(store / "catalogue.sqlite") as db:
        found = dict(db.execute("SELECT kind, value FROM current"))
    db.close()
    return {kind: found[kind] for kind in ("codebook", "model")}


@pytest.mark.long
def test_a_video_goes_and_comes_back_as_new(made, home, store, capsys):
    model, before = current(store), stamps(store)
    original = (made.videos / "flower.mp4").read_bytes()
    ended = run_inside(capsys, "remove", "flower", "--store", store)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (
        ended.stdout.startswith("removed flower.mp4: ")
        and "until `videobert run VIDEOS --refit`" in ended.stdout
    )
    assert (made.videos / "flower.mp4").read_bytes() == original
    hits = json.loads(
        run_inside(
            capsys, "search", "season the banana flower", "--store", store, "--top", 99, "--json"
        ).stdout
    )["hits"]
    assert hits and "flower.mp4" not in {h["name"] for h in hits}
    again = run_inside(capsys, "remove", "flower", "--store", store)
    assert again.returncode == 2 and "not in this store" in again.stderr

    ended = home.run("run", made.videos, "--store", store, "--json")
    assert ended.returncode == 0, ended.stderr
    videos = {v["name"]: v["state"] for v in json.loads(ended.stdout)["videos"]}
    assert videos["flower.mp4"] == "done" and current(store) == model
    models = {name: stamp for name, stamp in before.items() if name.startswith("models/")}
    assert {name: stamps(store)[name] for name in models} == models, "nothing was trained anew"
    hits = json.loads(
        run_inside(
            capsys, "search", "season the banana flower", "--store", store, "--top", 99, "--json"
        ).stdout
    )["hits"]
    assert "flower.mp4" in {h["name"] for h in hits}


def test_like_a_moment_and_what_fits_it(store, capsys):
    for more in ((), ("--texts",)):
        ended = run_inside(capsys, "search", "--like", "flower@2", *more, "--store", store, "--json")
        answer = json.loads(ended.stdout)
        assert answer["query"] is None and (answer["like"]["name"], answer["like"]["at"]) == (
            "flower.mp4",
            2,
        )
        assert len(answer["hits"]) >= 1
        assert all(h["name"] != "flower.mp4" for h in answer["hits"]), "it has one moment, and says nothing"
    lines = run_inside(capsys, "search", "--like", "flower@2", "--store", store).stdout
    assert lines.startswith("1. ") and "(no. 1 by sight, cosine " in lines


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--like", "flower@99"), "flower.mp4@99"),
        (("--like", "flower"), "flower"),
        (("--like", "tulip@1"), "tulip"),
        (("--like", "broken@1"), "refused: "),
        ((" ",), "no word"),
    ],
)
def test_a_question_that_cannot_be_answered_is_one_line(store, capsys, arguments, says):
    ended = run_inside(capsys, "search", *arguments, "--store", store)
    (line,) = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (2, "") and says in line


def test_nothing_found_is_an_answer(store, capsys):
    with edited(store / "catalogue.sqlite") as db:
        db.execute("DELETE FROM current WHERE kind IN ('model', 'model_codebook')")
    for text, says in (
        ("xylophone", "xylophone"), ("the", '"the"'), ('"banana season"', '"banana season"'), ("banana -banana", "exclude"),
    ):  # fmt: skip
        ended = run_inside(capsys, "search", text, "--store", store)
        assert (ended.returncode, ended.stdout) == (1, "") and says in ended.stderr.splitlines()[-1]
        ended = run_inside(capsys, "search", text, "--store", store, "--json")
        answer = json.loads(ended.stdout)
        assert (ended.returncode, answer["hits"], ended.stderr) == (1, [], "") and says in answer["reason"]
    ended = run_inside(capsys, "search", "bananna", "--store", store)
    assert ended.returncode == 0 and "(banana)" in ended.stdout and "Did you mean: banana?" in ended.stderr
    answer = json.loads(run_inside(capsys, "search", "the flowers", "--store", store, "--json").stdout)
    assert [(h["name"], h["labels"], h["title_words"]) for h in answer["hits"]] == [
        ("flower.mp4", ["title"], ["flowers"])
    ]
    assert (answer["ignored"], answer["reason"]) == (["the"], None)


def test_before_a_model_it_answers_by_words_and_says_so(store, capsys):
    with edited(store / "catalogue.sqlite") as db:
        db.execute("DELETE FROM current WHERE kind IN ('model', 'model_codebook')")
    ended = run_inside(capsys, "search", "banana", "--store", store)
    assert ended.returncode == 0 and ended.stdout.startswith("1. ") and "(banana)" in ended.stdout
    assert "no model" in ended.stderr and ended.stderr.count("\n") == 1
    answer = json.loads(run_inside(capsys, "search", "banana", "--store", store, "--json").stdout)
    assert (
        answer["by"] == "words"
        and answer["hits"][0]["words"] == ["banana"]
        and answer["hits"][0]["seen"] == 0
    )
    ended = run_inside(capsys, "search", "--like", "flower@2", "--store", store)
    assert ended.returncode == 2 and "has no model yet" in ended.stderr
