"""`videobert finetune` and `predict`: from a file of labels to predictions; and what is refused before any work begins."""

import json

import pytest
from command import run_inside
from tiny_store import three_videos_to_train_on

from multimodal.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Three videos, one of them held out."""
    return three_videos_to_train_on(tmp_path_factory.mktemp("store"))


@pytest.fixture
def file(tmp_path):
    rows = [f"{name}.mp4,{3 * n},{3 * n + 3},{'xy'[n]}" for name in ("a", "b", "kept") for n in range(2)]
    path = tmp_path / "colours.csv"
    path.write_text("\n".join(["video,start,end,label", *rows]))
    return path


@pytest.mark.long
def test_from_labels_to_predictions(home, store, file, capsys):
    call = (
        "finetune",
        "--task",
        file,
        "--store",
        store.root,
        "--kind",
        "sequence",
        "--adapt",
        "head",
        "--epochs",
        1,
    )
    ended = home.run(*call, "--json")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert (document["name"], document["kind"], document["classes"]) == ("colours", "sequence", ["x", "y"])
    assert document["figures"]["accuracy"]["n"] == document["counts"]["test"] > 0
    asked = ("predict", "kept", "--head", "colours", "--store", store.root)
    lines, answer, table = (run_inside(capsys, *asked, *more) for more in ((), ("--json",), ("--to", "csv")))
    found = json.loads(answer.stdout)["moments"]
    assert len(lines.stdout.splitlines()) == len(found) and "accuracy" in lines.stderr
    assert (
        table.stdout.splitlines()[0] == "start,end,label,probability"
        and len(table.stdout.splitlines()) == len(found) + 1
    )


def test_labels_of_nothing_are_one_line(store, file, capsys):
    file.write_text(file.read_text().replace("kept.mp4", "lost.mp4"))
    ended = run_inside(capsys, "finetune", "--task", file, "--store", store.root)
    assert ended.returncode == 2 and ended.stdout == ""
    *_, line = ended.stderr.splitlines()  # before it, on a slow machine, what was waited for
    assert "lost.mp4" in line and "line 6" in line


def test_a_head_that_is_not_there_is_one_line(store, capsys):
    ended = run_inside(capsys, "predict", "kept", "--head", "nothing", "--store", store.root)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1 and "--head nothing" in ended.stderr
