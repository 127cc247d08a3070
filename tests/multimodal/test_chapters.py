"""Chapters: where a video is cut, by counts and by the model; their lines, JSON, WebVTT and card."""

import dataclasses
import itertools
from functools import partial

import numpy as np
import pytest
import tiny_store
from scipy.special import gammaln
from scipy.stats import dirichlet_multinomial

from multimodal import open_store
from multimodal.answers import answer_json, cohesion
from multimodal.answers.chapters import LEAST_SECONDS, PRICE, chapters
from multimodal.inference.pairs import together
from multimodal.segments import Segment
from multimodal.store import InputError


def moments(*subjects: tuple[str, int]) -> list[Segment]:
    """Ten moments of 5 s about each subject: its words, its visual token."""
    shown = [subject for subject in subjects for _ in range(10)]
    return [Segment("v", 5.0 * i, 5.0 * i + 5, text, (token,), (i,)) for i, (text, token) in enumerate(shown)]


WORDS_CHANGE = moments(("chop the onion", 1), ("stir the soup", 1))
TOKENS_CHANGE = moments(("look at this", 1), ("look at this", 2))


@pytest.mark.parametrize(
    ("way", "said", "seen"),
    [(cohesion.of_words, True, False), (cohesion.of_tokens, False, True), (cohesion.plain, True, True)],
)
def test_each_way_sees_its_own_changes(way, said, seen):
    for told, changing in ((said, WORDS_CHANGE), (seen, TOKENS_CHANGE)):
        cut = chapters(changing, 100.0, cohesion_of=way)
        assert [c.start for c in cut] == ([0.0, 50.0] if told else [0.0])


def test_features_change_where_another_thing_is_seen():
    features = np.repeat(np.eye(4)[:2], 10, 0)
    cut = chapters(
        moments(("", 1), ("", 1)), 100.0, cohesion_of=partial(cohesion.of_features, features=features)
    )
    assert [c.start for c in cut] == [0.0, 50.0]


def test_counts_are_the_dirichlet_multinomials_of_scipy():
    random = np.random.default_rng(0)
    items = [random.integers(5, size=random.integers(4)).tolist() for _ in range(8)]
    table, kinds = cohesion.of_counts(items), len({item for some in items for item in some})
    for a in range(8):
        for b in range(a, 8):
            drawn = [item for some in items[a : b + 1] for item in some]
            counts = np.bincount(drawn, minlength=5)[:kinds] if drawn else np.zeros(kinds, int)
            # The probability of the counts, less the orders in which they may come.
            orders = gammaln(len(drawn) + 1) - gammaln(counts + 1).sum()
            expected = dirichlet_multinomial.logpmf(counts, np.ones(kinds), len(drawn)) - orders
            assert table[a, b] == pytest.approx(expected, abs=1e-5)


def test_vectors_are_normal_around_the_mean_of_their_stretch():
    random = np.random.default_rng(1)
    vectors = random.normal(size=(7, 3)) + 3
    vectors[4] = np.nan
    known = vectors[~np.isnan(vectors[:, 0])]
    variance = ((known - known.mean(0)) ** 2).sum() / len(known)
    table = cohesion.of_vectors(vectors)
    for a in range(7):
        for b in range(a, 7):
            part = vectors[a : b + 1][~np.isnan(vectors[a : b + 1, 0])]
            expected = -((part - part.mean(0)) ** 2).sum() / (2 * variance) if len(part) else 0.0
            assert table[a, b] == pytest.approx(expected, abs=1e-9)
    assert not cohesion.of_vectors(np.full((3, 2), np.nan)).any()
    assert not cohesion.of_vectors(np.ones((3, 2))).any(), "nothing changes"


def test_the_cuts_are_the_best_of_all_ways_to_cut():
    random, shown = np.random.default_rng(2), moments(("", 1))
    for _ in range(20):
        table = 20 * np.triu(random.normal(size=(10, 10)))
        found = [
            int(c.start / 5) for c in chapters(shown, 50.0, cohesion_of=lambda _, table=table: table)[1:]
        ]

        def worth(cuts, table=table):
            bounds = [0, *cuts, 10]
            parts = list(itertools.pairwise(bounds))
            if any((b - a) * 5 < LEAST_SECONDS for a, b in parts):
                return -np.inf
            return sum(table[a, b - 1] - PRICE for a, b in parts)

        every = (cuts for k in range(3) for cuts in itertools.combinations(range(1, 10), k))
        assert worth(found) == pytest.approx(max(map(worth, every)))


def test_a_long_video_is_cut_between_moments_in_a_row(monkeypatch):
    changing = moments(
        *((f"{name} the {name}s", n) for n, name in enumerate(("onion", "soup", "pan", "plate")))
    )
    expected = [0.0, 50.0, 100.0, 150.0]
    assert [c.start for c in chapters(changing, 200.0)] == expected
    monkeypatch.setattr("multimodal.answers.chapters.MOST_MOMENTS", 20)
    assert [c.start for c in chapters(changing, 200.0)] == expected
    assert chapters(changing[:2], 10.0)[0].end == 10.0, "shorter than a chapter"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with open_store(tiny_store.three_videos(tmp_path_factory.mktemp("chapters")).root) as opened:
        yield opened


def test_a_model_is_asked_only_what_it_learned(store):
    said, silent = Segment("v", 0, 5, "chop the carrot", (1,)), Segment("v", 5, 10, "", (2,))
    of = partial(dataclasses.replace, store.trained)
    odds = together(store.trained, [(said, said), (said, silent), (silent, silent)])
    assert np.isfinite(odds[:2]).all() and np.isnan(odds[2]), "nothing is said: nothing can be asked"
    assert np.isfinite(together(of(has_next_segment=True), [(said, silent), (silent, silent)])).all()
    assert together(of(has_alignment=False), [(said, said)]) is None
    for trained in (store.trained, of(has_alignment=False)):
        assert np.isfinite(cohesion.by_model(trained, WORDS_CHANGE)).all()


@pytest.mark.parametrize("by", ["auto", "plain", "model"])
def test_a_stored_video_has_chapters_from_its_start_to_its_end(store, by):
    answer = store.chapters("kept", by=by)
    assert answer.method == ("model" if by == "model" else "plain")
    assert answer[0].start == 0.0 and answer[-1].end >= answer.video.seconds
    assert [c.end for c in answer][:-1] == [c.start for c in answer][1:]
    document = answer_json.chapters(store.store.root, "kept", by=by)
    assert document["chapters"] == [dataclasses.asdict(c) for c in answer] and document["name"] == "kept.mp4"
    assert answer[0].title in answer._repr_html_()


def test_an_unknown_video_or_way_is_an_error(store):
    with pytest.raises(InputError, match="another"):
        store.chapters("another")
    with pytest.raises(InputError, match="--by"):
        store.chapters("kept", by="chance")
