"""The store behind the server: what a run makes is taken up, and what it has half made is not asked."""

import dataclasses
import shutil
import threading
import time

import numpy as np
import sample_store

from multimodal.answers.cache import update_cache
from multimodal.answers.chapters import NO_WORDS, chapters, webvtt
from multimodal.answers.index import index
from multimodal.answers.session import open_trained
from multimodal.catalogue import Catalogue
from multimodal.library import usable
from multimodal.segments import Segment
from multimodal.serve.atlas import tree_positions
from multimodal.serve.live import LiveStore
from multimodal.serve.marks import marked
from multimodal.serve.search_page import context
from multimodal.serve.searching import Ask, Searches, search
from multimodal.store import Store
from multimodal.tokens import encode_videos


def quiet(*_: object) -> None:
    """Says nothing."""


def found(live: LiveStore, text: str) -> set[str]:
    return {hit.name for hit in search(live, live.snapshot(), Ask(text)).answer.hits if hit.heard}


def test_a_run_is_taken_up_stage_by_stage(sample, tmp_path):
    root = tmp_path / "store"
    shutil.copytree(sample.root, root)
    store, live = Store(root), LiveStore(root, "cpu", create=False)
    first = live.snapshot()
    assert live.snapshot() is first and "kitchen-000.mp4" in found(live, "cabbage")
    with Catalogue(store.catalogue) as catalogue:
        file = shutil.copyfile(sample_store.SAMPLES / "kitchen-009.mp4", tmp_path / "new.mp4")
        video = sample_store.add(
            store, catalogue, file, [(0.0, 3.0, "A rutabaga and a cabbage.")], np.zeros(4, int)
        )
        # Ingested, but not yet encoded and indexed: the others are searched on.
        assert video.video in live.snapshot().videos and video.video not in live.snapshot().searched
        assert found(live, "rutabaga") == set() and "kitchen-000.mp4" in found(live, "cabbage")
        assert live.snapshot().opened.trained is first.opened.trained, "the model is not opened again"
        trained = open_trained(store, catalogue, "cpu")
        encode_videos(store, trained.codebook, [video], quiet)
        index(store, trained, usable(catalogue), quiet)
        update_cache(store, trained, usable(catalogue), quiet)
        assert found(live, "rutabaga") == {"new.mp4"}
        # A newer model without an index yet: the one of before answers on.
        shutil.copytree(store.model("m"), store.model("n"))
        catalogue.set_current("model", "n")
        assert found(live, "rutabaga") == {"new.mp4"} and live.snapshot().opened.trained.name == "m"
        newer = open_trained(store, catalogue, "cpu")
        index(store, newer, usable(catalogue), quiet)
        update_cache(store, newer, usable(catalogue), quiet)
        assert live.snapshot().opened.trained.name == "n" and found(live, "rutabaga") == {"new.mp4"}
        catalogue.put(dataclasses.replace(catalogue.get(video.video), state="refused"))
        assert found(live, "rutabaga") == set()


def test_what_is_said_is_found_while_the_model_is_opened(sample, monkeypatch):
    live, careful = LiveStore(sample.root, "cpu", create=False), open_trained
    searches, begun, goes_on = Searches(live), threading.Event(), threading.Event()

    def slowly(*given):
        begun.set()
        assert goes_on.wait(60)
        return careful(*given)

    monkeypatch.setattr("multimodal.answers.session.open_trained", slowly)
    opening = threading.Thread(target=live.warm)
    opening.start()
    assert begun.wait(60)
    (early,) = searches.many([Ask("cabbage")])
    assert early.opening and early.answer.by == "words" and not live.is_open
    notes = context(live, Ask("cabbage"), early)["notes"]
    assert len(notes) == 1 and "being opened" in notes[0]
    goes_on.set()
    opening.join()
    (late,) = searches.many([Ask("cabbage")])
    assert not late.opening and late.answer.by == "model", "the early answer was not kept"
    assert {h.name for h in early.answer.hits} == {h.name for h in late.answer.hits if h.heard}


def test_filters_and_order(sample):
    live = LiveStore(sample.root, "cpu", create=False)

    def hits(text: str = "the", **narrow) -> list:
        return list(search(live, live.snapshot(), Ask(text, top=200, **narrow)).answer.hits)

    every = hits("onion carrot tomato egg cabbage banana")
    assert {h.name for h in hits("onion carrot", video="kitchen-001")} == {"kitchen-001.mp4"}
    assert {h.name for h in hits("onion carrot tomato egg cabbage banana", folder="more")} <= {
        "kitchen-002.mp4"
    }
    assert all(h.text for h in hits("onion carrot", speech="spoken"))
    assert not any(h.text for h in hits("onion carrot", speech="silent"))
    assert {h.name for h in every if h.name.startswith("kitchen")} == {
        h.name for h in hits("onion carrot tomato egg cabbage banana", longer=10)
    }
    named = hits("onion carrot tomato egg cabbage banana", sort="name")
    assert [(h.name.casefold(), h.start) for h in named] == sorted(
        (h.name.casefold(), h.start) for h in named
    )


def test_words_are_marked_as_they_were_found():
    parts = marked(
        ["He is chopping onions, chop!", "administrator", "no", "<b>"],
        [["chop", "onion"], ["admin"], [], ["b"]],
    )
    assert [text for text, found in parts[0] if found] == ["chopping", "onions", "chop"]
    assert "".join(text for text, _ in parts[0]) == "He is chopping onions, chop!"
    assert parts[1] == [("administrator", True)] and parts[2] == [("no", False)]
    assert [text for text, found in parts[3] if found] == ["b"]


def test_forms_that_a_stem_finds_are_marked():
    said = "Die Zwiebeln schneiden wir in Würfel, jede Zwiebel."
    (parts,) = marked([said], [["zwiebel", "würfeln"]], ["de"])
    assert [text for text, found in parts if found] == ["Zwiebeln", "Würfel", "Zwiebel"]
    assert "".join(text for text, _ in parts) == said
    (parts,) = marked([said], [["zwiebel", "würfeln"]])
    assert [text for text, found in parts if found] == ["Zwiebel"], "the control: Porter's stems alone"


def moment(start: float, text: str, token: int) -> Segment:
    return Segment("v", start, start + 5, text, (token,))


def test_chapters_are_cut_where_words_and_tokens_change():
    moments = [moment(5.0 * i, "Now chop the onion <b>.", 1) for i in range(8)]
    moments += [moment(40 + 5.0 * i, "Stir the soup.", 2) for i in range(8)]
    cut = chapters(moments, 80.0)
    assert [(c.start, c.end) for c in cut] == [(0.0, 40.0), (40.0, 80.0)]
    assert "onion" in cut[0].title and "soup" in cut[1].title
    assert "00:00:40.000 --> 00:01:20.000\nsoup, stir\n" in webvtt(cut)
    same = chapters(moments[:8], 40.0)
    assert len(same) == 1, "the control: nothing changes"
    silent = chapters([moment(0, "", 3), moment(5, "", 3)], 10.0, {3: "pan, oil"})
    assert [c.title for c in silent] == ["pan, oil"]
    assert chapters([moment(0, "", 3)], 5.0)[0].title == NO_WORDS and chapters([], 5.0) == []


def test_a_large_map_takes_no_time_and_keeps_the_tree():
    k, depth = 12, 4
    random = np.random.default_rng(0)
    tokens = np.sort(random.permutation(k**depth)[:20_000])
    centroids = sum(
        random.normal(0, 1 / (level + 1), (k ** (level + 1), 8))[tokens // k ** (depth - 1 - level)]
        for level in range(depth)
    )
    began = time.process_time()
    xy = tree_positions(centroids, tokens, k, depth)
    assert time.process_time() - began < 20 and xy.min() >= 0 and xy.max() <= 1
    branch = tokens // k ** (depth - 1)
    own = np.mean(
        [np.linalg.norm(xy[branch == b] - xy[branch == b].mean(0), axis=1).mean() for b in range(k)]
    )
    assert own < 0.5 * np.linalg.norm(xy - xy.mean(0), axis=1).mean(), "tokens of a branch lie together"
