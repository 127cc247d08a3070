"""Counts over the learned videos against counting by hand, and the plain answers that are made of them."""

import dataclasses
from collections import Counter

import joint_samples
import kitchen
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multimodal.answers.caption import plain_captions
from multimodal.answers.classify import count_moments
from multimodal.answers.counts import Counts, read_counts, remove_counts, stems, update_counts
from multimodal.answers.plain import DISCOUNT, NGrams, WordsAndTokens
from multimodal.catalogue import Catalogue
from multimodal.library import read_material
from multimodal.store import Store
from multimodal.tokens import train_and_held_out

VISUAL = joint_samples.VISUAL
CUT_ONION, CUT_CARROT, STIR_ONION = (0, 0), (0, 1), (1, 0)


def of_runs(runs: list[list[int]]) -> Counts:
    """Counts of videos of which only the tokens matter."""
    material = joint_samples.material("v", [CUT_ONION])
    videos = [dataclasses.replace(material.video, video=str(n)) for n in range(len(runs))]
    return Counts.of(
        [dataclasses.replace(material, video=v, tokens=np.array(run, np.int64), starts=np.arange(len(run)) * 1.5)
         for v, run in zip(videos, runs, strict=True)]
    )  # fmt: skip


def by_hand(runs: list[list[int]], so_far: list[int], ahead: int, choices: int) -> np.ndarray:
    """Absolute discounting, one count after the other."""
    p = [1 / choices] * choices
    for length in range(6):
        context = so_far[len(so_far) - length :]
        if length > len(so_far):
            break
        counts: Counter[int] = Counter()
        for run in runs:
            if not length:
                counts.update(run)
                continue
            for end in range(length, len(run) - ahead + 1):
                if run[end - length : end] == context:
                    counts[run[end - 1 + ahead]] += 1
        if counts:
            n = counts.total()
            taken = DISCOUNT * len(counts) / n
            p = [max(counts[t] - DISCOUNT, 0) / n + taken * p[t] for t in range(choices)]
    return np.array(p)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
    st.integers(0, 4),
)
def test_ngrams_are_those_counted_one_by_one(runs, so_far, without):
    """The video that is asked about is counted up to now, not as a whole."""
    found = NGrams(of_runs(runs), 5).probabilities(so_far, [1, 3], str(without))
    others = [run for n, run in enumerate(runs) if n != without]
    for p, ahead in zip(found, [1, 3], strict=True):
        assert p.sum() == pytest.approx(1)
        assert p == pytest.approx(by_hand([*others, so_far], so_far, ahead, 5))


def test_stems_are_porters():
    assert stems(["chopping", "chopped", "chop", "onions"]) == {
        "chopping": "chop", "chopped": "chop", "chop": "chop", "onions": "onion",
    }  # fmt: skip
    assert stems([]) == {}


@pytest.fixture(scope="module")
def table() -> WordsAndTokens:
    """Cut the onion is shown and said twice, in two videos, cut the carrot and stir the onion once each."""
    materials = [joint_samples.material("a" * 64, [CUT_ONION, CUT_CARROT]), joint_samples.material("b" * 64, [CUT_ONION, STIR_ONION])]  # fmt: skip
    return WordsAndTokens(Counts.of(materials), VISUAL)


def test_words_are_counted_where_it_looks_alike(table):
    cut, carrot, nobody = table.fits(["cutting", "carrot", "zebra"], [0, 0])
    assert (cut.said, cut.seen) == (2, 2) and (carrot.said, carrot.seen) == (0, 2)
    assert cut.score > 0 > carrot.score and (nobody.score, nobody.said) == (0, 0)
    assert table.fits(["cut"], [0], "a" * 64)[0].seen == 1, "the video that is asked about is left out"
    assert table.fits(["cut"], [9])[0] == dataclasses.replace(nobody, seen=0)
    both, apart = table.fits(["cut carrot", "stir carrot"], [1])
    assert (both.said, apart.said) == (1, 0), "a name is said where all its words are"


def test_the_moment_that_looks_most_alike(table):
    counts = table.counts
    assert counts.source(table.alike([1, 1])) == ("a" * 64, 4.5, 9.0)
    assert counts.source(table.alike([0], "a" * 64)) == ("b" * 64, 0.0, 4.5)
    assert table.alike([9]) is None and table.alike([1], "a" * 64) is None


def test_a_name_that_is_said_in_the_moment_comes_first(table):
    moment = joint_samples.material("c" * 64, [STIR_ONION]).moments()[0]
    heard = dataclasses.replace(moment, text="a carrot, too", tokens=(0,))
    (found,) = count_moments(table, [heard], ["stir", "cut"], ["onion", "carrot"])
    assert [(n.name, n.heard, n.said, n.seen) for n in found.verbs] == [
        ("cut", False, 2, 2),
        ("stir", False, 0, 2),
    ]
    assert [(n.name, n.heard) for n in found.nouns] == [("carrot", True), ("onion", False)]
    assert sum(n.probability for n in found.nouns) == pytest.approx(1)


@pytest.fixture(scope="module")
def store(learned, tmp_path_factory):
    found = Store(tmp_path_factory.mktemp("plain") / "store")
    trained = kitchen.fill(found, learned)
    with Catalogue(found.catalogue) as catalogue:
        yield found, catalogue, trained, train_and_held_out(found, catalogue.videos(), trained.codebook)[0]


def test_stored_counts_are_those_of_the_videos(store):
    found, _, trained, train = store
    assert read_counts(found, trained) is None
    update_counts(found, trained, train)
    stored, counted = read_counts(found, trained), Counts.of(kitchen.materials()[0])
    for field in dataclasses.fields(Counts):
        one, other = getattr(stored, field.name), getattr(counted, field.name)
        one, other = ((x.values, x.ends) if hasattr(x, "ends") else (x,) for x in (one, other))
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)), field.name
    (path,) = found.root.glob("caches/*/counts.safetensors")
    before = path.stat().st_mtime_ns
    update_counts(found, trained, train)
    assert path.stat().st_mtime_ns == before, "nothing is done twice"
    path.write_bytes(path.read_bytes()[:100])
    assert read_counts(found, trained) is None, "damaged"
    update_counts(found, trained, train)
    assert read_counts(found, trained).videos == counted.videos
    remove_counts(found)
    assert not path.exists()


def test_a_caption_is_what_is_heard_or_was_heard_where_it_looks_alike(store):
    found, catalogue, trained, train = store
    table = WordsAndTokens(Counts.of([read_material(found, trained.codebook, v) for v in train]), VISUAL)
    material = kitchen.materials()[1][0]
    heard = plain_captions(found, catalogue, table, material)
    assert [(c.route, c.text) for c in heard] == [("heard", s.text) for s in material.transcript.sentences]
    silent = dataclasses.replace(material, transcript=dataclasses.replace(material.transcript, sentences=()))
    for c in plain_captions(found, catalogue, table, silent):
        assert c.route == "nearest_neighbour" and c.score is None and c.heard == ""
        source = catalogue.get(c.source.video)
        said = {s.start: s.text for s in read_material(found, trained.codebook, source).transcript.sentences}
        assert said[c.source.start] == c.text and source.video != material.video.video
    never = min(set(range(VISUAL)) - set(table.counts.shown.values.tolist()))
    unlike = dataclasses.replace(silent, tokens=np.full_like(silent.tokens, never))
    assert {(c.text, c.source) for c in plain_captions(found, catalogue, table, unlike)} == {("", None)}


def test_clips_that_are_shown_while_words_are_said(table):
    assert table.shown_with("Stirring an onion!", 5) == [4, 0], (
        "stir is said while 4 is shown alone, onion with 0 too"
    )
    assert table.shown_with("cut that carrot", 1) == [1]
    assert table.shown_with("the and", 3) == table.shown_with("zebra", 3) == []
