"""References in an evaluation: which videos are judged by them, what is left out, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
from tiny_store import three_videos

from flows import captioner, evaluate
from flows.opened_run import open_run
from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.store import InputError, Store


@pytest.fixture(autouse=True)
def no_java(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Store:
    """Two videos learned from, one held out, and one that came later."""
    return three_videos(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(trained, tmp_path) -> Store:
    """A copy: a store remembers the references that it was evaluated with."""
    return Store(shutil.copytree(trained.root, tmp_path / "store"))


def figures(store: Store, folder: Path, rows: list[dict]) -> dict:
    file = folder / "references.json"
    file.write_text(json.dumps(rows))
    return evaluated(Settings(store=store.root, references=file, device="cpu"))


def evaluated(settings: Settings) -> dict:
    with open_run(settings) as run:
        return json.loads(evaluate.figures.fn(run).read_text())


def row(video: str, start: float, text: str) -> dict:
    return {"video": video, "start": start, "end": start + 3, "text": text}


def test_references_judge_the_videos_that_were_not_learned_from(store, tmp_path, capsys):
    rows = [row("kept", 0, "a carrot is chopped"), row("kept", 3, "an egg is washed"), row("kept", 900, "the end"),
            row("a", 0, "learned from"), row("gone", 0, "not there")]  # fmt: skip
    found = figures(store, tmp_path, rows)
    assert found["reference_search_recall_at_1"]["n"] == 2 and found["caption_micro_bleu_1"]["n"] == 2
    assert "what people wrote" in found["caption_micro_bleu_1"]["note"]
    said = " ".join(capsys.readouterr().err.split())
    used, left_out = said.split("references: ")[1].split("left out: ")
    assert re.findall(r"\d+", used) == ["2", "2", "1"], "sentences, moments, videos"
    assert re.findall(r"\d+", left_out)[:3] == ["1", "1", "1"], (
        "nothing shown, learned from, not in the store"
    )


def test_without_references_captions_are_scored_against_what_is_said(store):
    found = evaluated(Settings(store=store.root, device="cpu"))
    assert not [name for name in found if name.startswith("reference_")]
    assert "what is said there" in found["caption_micro_cider"]["note"]
    ways = {name for name in found if name.startswith("caption_micro_cider_of_")}
    assert ways == {"caption_micro_cider_of_nearest_neighbour"}, (
        "without a captioner the template is the first way"
    )
    assert found["caption_micro_meteor"] == {
        "value": None, "low": None, "high": None, "chance": None, "n": 0, "note": "not computed, Java is missing",
    }  # fmt: skip


@pytest.mark.parametrize("reads", ["tokens", "all"])
def test_a_captioner_is_judged_whatever_it_reads(store, tmp_path, reads):
    settings = Settings(store=store.root, captioner_reads=reads, epochs=1, device="cpu")
    with open_run(settings) as run:
        run.catalogue.set_current("captioner", captioner.learn.fn(run))
    rows = [row("kept", 0, "a carrot"), row("kept", 3, "an egg")]
    for found in (evaluated(settings), figures(store, tmp_path, rows)):
        assert {"caption_micro_cider_of_template", "caption_micro_cider_of_nearest_neighbour"} < set(found)
        assert found["caption_micro_bleu_1"]["n"] == 2


def test_other_references_are_another_evaluation(store, tmp_path):
    one = figures(store, tmp_path, [row("kept", 0, "a carrot"), row("kept", 3, "an egg")])
    other = figures(store, tmp_path, [row("kept", 0, "now chop the carrot"), row("kept", 3, "the egg")])
    assert one["caption_micro_bleu_1"] != other["caption_micro_bleu_1"]


def test_references_about_no_video_of_the_store_are_refused(store, tmp_path):
    with pytest.raises(InputError, match="--references .*2 videos.*'x'"):
        figures(store, tmp_path, [row("x", 0, "cut it"), row("y", 0, "cut it")])


def test_a_file_that_is_not_one_is_told_before_any_work(store, tmp_path):
    (tmp_path / "r.csv").write_text("video,start,end,text\na,1,0,x\n")
    with (
        Catalogue(store.catalogue) as catalogue,
        pytest.raises(InputError, match="r.csv: line 2"),
        Settings(references=tmp_path / "r.csv").at(catalogue),
    ):
        pass
