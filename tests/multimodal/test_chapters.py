"""Chapters: where a video is cut, by counts and by the model; their lines, JSON, WebVTT and card."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import tiny_store

from multimodal import open_store
from multimodal.answers import answer_json, likeness
from multimodal.answers.chapters import chapters
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
    ("alike", "said", "seen"),
    [(likeness.in_words, True, False), (likeness.in_tokens, False, True), (likeness.in_words_and_tokens, True, True)],
)  # fmt: skip
def test_each_way_sees_its_own_changes(alike, said, seen):
    for told, changing in ((said, WORDS_CHANGE), (seen, TOKENS_CHANGE)):
        cut = chapters(changing, 100.0, likeness=alike)
        assert [c.start for c in cut] == ([0.0, 50.0] if told else [0.0])


def test_features_change_where_another_thing_is_seen():
    values, starts = np.repeat(np.eye(4)[:2], 33, 0), 1.5 * np.arange(66)
    alike = partial(likeness.in_features, values=values, starts=starts)
    assert [c.start for c in chapters(WORDS_CHANGE, 100.0, likeness=alike)] == [0.0, 50.0]


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
        assert np.isfinite(likeness.by_model(trained, WORDS_CHANGE)).all()


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
