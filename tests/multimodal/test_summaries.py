"""Summaries: the most central sentences, what a decoder writes of windows, and who is asked of a store."""

import dataclasses

import joint_samples
import kitchen
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multimodal.answers import answer_json
from multimodal.answers.opened_store import OpenedStore
from multimodal.answers.summary import SummarySentence, most_central, written
from multimodal.catalogue import Catalogue
from multimodal.inference import writing
from multimodal.joint.writer import Writer
from multimodal.segments import Segment
from multimodal.store import InputError, Store
from multimodal.systems import NOISES

TALK = (
    "Hello and welcome to my channel.",
    "Today we bake bread with rye flour and a sourdough starter.",
    "My cat was sick last week.",
    "Mix the rye flour with water and the sourdough starter.",
    "Knead the dough of rye flour for ten minutes.",
    "Please subscribe.",
    "Let the dough with the sourdough starter rest over night.",
    "Bake the bread of rye dough for an hour.",
    "Bake the bread of rye dough for an hour!",
    "Bye.",
)


def said(texts) -> list[SummarySentence]:
    return [SummarySentence(text, 2.0 * n, 2.0 * n + 2) for n, text in enumerate(texts)]


def test_the_central_sentences_are_those_that_others_say_too():
    found = most_central(said(TALK), 3)
    assert all("rye" in s.text or "sourdough" in s.text for s in found) and len(found) == 3
    assert len({s.text.strip("!.") for s in found}) == 3, "none says again what another says"
    assert [s.start for s in found] == sorted(s.start for s in found)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text("ab cde. ", max_size=12), max_size=30), st.integers(1, 6))
def test_any_sentences_give_some_of_themselves(texts, count):
    given_, found = said(texts), most_central(said(texts), count)
    assert set(found) <= set(given_) and len(found) <= count
    assert bool(found) == any(text.strip() for text in texts)


def test_a_long_video_is_read_in_windows_and_these_again():
    random = np.random.default_rng(0)
    topics = [[f"word{'abcdefghij'[t]}{'klmnopqrst'[w]}" for w in range(6)] for t in range(3)]
    texts = [" ".join(random.choice(topics[n // 250], 5)) for n in range(750)]
    found = most_central(said(texts), 3)
    assert len(found) == 3
    assert [s.start for s in found] == sorted(s.start for s in found)


def test_windows_are_written_and_what_was_written_is_read_again():
    windows = [[Segment("", 10.0 * n, 10.0 * n + 9, f"part {n}", (1,), (0,))] for n in range(40)]
    read = []

    def write(some):
        read.append([[s.text for s in window] for window in some])
        return [" ".join(s.text.split()[-1] for s in window) for window in some]

    found = written(windows, 4, write)
    assert [len(r) for r in read] == [40, 5, 4]
    assert [word for s in found for word in s.text.split()] == _last(read[-1])
    assert (found[0].start, found[-1].end) == (0.0, 399.0)
    assert all(a.end <= b.start for a, b in zip(found, found[1:], strict=False))


def _last(windows):
    return [text.split()[-1] for window in windows for text in window]


def test_what_repeats_joins_the_sentence_before_it():
    windows = [[Segment("", float(n), n + 1.0, "x", (), ())] for n in range(4)]
    assert written(windows, 5, lambda some: ["a", "a", "", "a"]) == [SummarySentence("a", 0.0, 4.0)]


@pytest.fixture(scope="module")
def store(learned, tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("summaries") / "store")
    kitchen.fill(store, learned)
    return store


def test_a_store_that_is_not_judged_says_what_was_said(store):
    document = answer_json.summarise(store.root, "held-100", sentences=2)
    assert document["route"] == "said" and len(document["sentences"]) == 2 and document["quality"]["notes"]
    assert document["text"] == " ".join(f"{s['text'].rstrip('.')}." for s in document["sentences"]), "ended"
    (material,) = [m for m in kitchen.materials()[1] if m.video.name == "held-100.mp4"]
    spoken = {(s.start, s.end): s.text for s in material.transcript.sentences}
    assert all(spoken[s["start"], s["end"]] == s["text"] for s in document["sentences"])


def test_without_a_model_it_is_the_same(store, tmp_path):
    bare = Store(tmp_path / "bare")
    with Catalogue(bare.catalogue) as catalogue:
        kitchen.put(bare, catalogue, kitchen.materials()[1][0])
    document, of_store = (answer_json.summarise(s.root, "held-100", sentences=2) for s in (bare, store))
    assert document["sentences"] == of_store["sentences"] and document["route"] == "said"
    assert "no model" in document["quality"]["notes"][0]


@pytest.mark.parametrize(
    "video, options, said",
    [
        ("held-100", {"sentences": 0}, "--sentences 0"),
        ("held-100@3", {}, "held-100@3"),
        ("held-100", {"by": "model"}, "bart"),
        ("held-100", {"by": "best"}, "--by best"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(store, video, options, said):
    with pytest.raises(InputError, match=said) as error:
        answer_json.summarise(store.root, video, **options)
    assert "\n" not in str(error.value)


def test_a_decoder_writes_of_all_moments(store):
    with OpenedStore(store.root) as opened:
        trained = opened.trained
        writer = Writer(trained.model.options)
        writer.init_from(trained.model)
        opened.__dict__["trained"] = dataclasses.replace(trained, writer=writer.eval(), form=NOISES)
        answer = opened.summarise("held-100", sentences=3, by="model")
        assert answer.route == "written" and 1 <= len(answer) <= 3
        moments = opened.segments().to_pylist()
    of = [m for m in moments if m["name"] == "held-100.mp4"]
    assert answer[0].start == of[0]["start"] and answer[-1].end == of[-1]["end"]
    html = answer._repr_html_()
    assert answer[0].text in html.replace("&#39;", "'")


def test_windows_fit_into_a_sequence(learned):
    spoken = [s for m in joint_samples.materials(2) for s in m.moments()]
    windows = writing.summary_windows(learned, spoken, 1, longest=40)
    assert [s for window in windows for s in window] == spoken and len(windows) > 2
    apart = writing.summary_windows(learned, spoken, 3, longest=400)
    assert len(apart) == 3 and sum(apart, []) == spoken
    assert all(len(w) == 1 or sum(len(learned.vocabulary.encode(s.text)) + len(s.tokens) for s in w) < 40 for w in windows)  # fmt: skip
