"""`videobert compare`: a table, a page, JSON; and what is refused before any work begins."""

import json

import pytest
from command import run_inside
from tiny_store import three_videos_to_train_on

from flows.compare import named, options_of, which_run
from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.store import InputError, Store
from multimodal.systems import SYSTEMS


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Three videos, one of them held out."""
    return three_videos_to_train_on(tmp_path_factory.mktemp("store"))


@pytest.mark.long
def test_a_comparison_from_the_command_line(home, store, weights_or_skip):
    weights_or_skip("minilm-l6")
    call = ("compare", "video", "spanbert", "--store", store.root, "--text-start", "none", "--seeds", 1)
    first = home.run(*call, "--tokens", 400, "--json")
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    assert [run["system"] for run in document["runs"]] == ["videobert", "spanbert"]
    assert all(run["figures"]["next_token"]["n"] for run in document["runs"])
    page = store.comparison_page.read_text()
    assert document["page"] == str(store.comparison_page) and "spanbert" in page and "400 tokens" in page
    again = home.run(*call, "--tokens", 400)
    assert again.returncode == 0, again.stderr
    (head, *lines, last) = again.stdout.splitlines()
    assert head.split() == ["chance", "counts", "limit", "videobert", "spanbert"]
    assert any(line.startswith("next clip") for line in lines) and last == f"Page: {store.comparison_page}"
    with Catalogue(store.catalogue) as catalogue:
        assert catalogue.current("model") == "m", "the model in use is another matter"
    assert [folder.name for folder in (store.root / "models").iterdir()] == ["m"]


def test_names_may_be_beginnings_and_none_means_all():
    assert named(["video", "STRUCT", "videobert"]) == ["videobert", "structbert"]
    assert named([]) == list(SYSTEMS)
    with pytest.raises(InputError, match="--system elmo"):
        named(["elmo"])


def test_all_begin_alike():
    """With random weights where one of them cannot begin as a BERT; a start that is given is kept, or refused."""
    alike = options_of(Settings(), ["videobert", "electra"])
    assert [o.text_start for o in alike] == ["minilm-l6"] * 2
    every = options_of(Settings(), list(SYSTEMS))
    assert {o.text_start for o in every} == {"none"} and [o.system.name for o in every] == list(SYSTEMS)
    with pytest.raises(InputError, match="--text-start"):
        options_of(Settings(text_start="minilm-l6"), list(SYSTEMS))


def test_the_run_under_way_is_counted_from_one():
    assert [which_run(done, 2) for done in (0, 0.9, 1, 1.99, 2)] == [
        "run 1 of 2",
        "run 1 of 2",
        "run 2 of 2",
        "run 2 of 2",
        "run 2 of 2",
    ]


def test_a_store_that_is_not_there_is_refused(tmp_path, capsys):
    ended = run_inside(capsys, "compare", "--store", tmp_path / "nothing")
    assert ended.returncode == 2 and str(tmp_path / "nothing") in ended.stderr
