"""Thresholds of similarity: random questions, and what they get in a library as it grows and shrinks."""

import math

import joint_samples
import numpy as np
import pytest

from multimodal.answers.cache import TEXT, VIDEO, Cache, open_cache, remove_video, update_cache
from multimodal.answers.index import index
from multimodal.answers.search import Index
from multimodal.answers.thresholds import QUANTILE, random_questions, threshold
from multimodal.answers.vectors import VectorIndex
from multimodal.store import Store
from multimodal.vocabulary import SPECIALS, Vocabulary

WORDS = tuple(
    a + b + c for a in ("bar", "kel", "dov", "mis") for b in "aeiou" for c in ("n", "rt", "ll", "st")
)
VOCABULARY = Vocabulary((*SPECIALS, "##ing", "the", "how", "no", "x", "2020", *WORDS), 4)


def quiet(*_: object) -> None:
    pass


def test_random_questions_are_of_words_that_nobody_says():
    said = set(WORDS[::2])
    questions = random_questions(VOCABULARY, said.__contains__, 15)
    words = [word for question in questions for word in question.split()]
    assert [len(q.split()) for q in questions] == [1, 2, 3] * 5
    assert len(set(words)) == len(words) and set(words) <= set(WORDS) - said
    assert questions == random_questions(VOCABULARY, said.__contains__, 15)
    assert len(random_questions(VOCABULARY, said.__contains__)) < 40, "the words run out"
    assert random_questions(VOCABULARY, lambda _: True) == []


@pytest.mark.parametrize("moments", [20, 2000])
def test_a_random_question_passes_once_in_a_hundred_however_many_the_moments(moments):
    random = np.random.default_rng(moments)

    def directions(count: int) -> np.ndarray:
        vectors = random.normal(size=(count, 24)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    searched = VectorIndex.of(directions(moments))
    least = threshold(searched.nearest(directions(400)))
    passed = (searched.nearest(directions(4000)) > least).mean()
    assert passed == pytest.approx(1 - QUANTILE, abs=0.012)
    assert (searched.nearest(directions(400)) > 0.3).mean() > 0.5, "a fixed threshold lets most pass"


def test_without_a_random_question_or_a_moment_nothing_passes():
    assert threshold(VectorIndex.empty(8).nearest(np.ones((5, 8), np.float32))) == math.inf
    assert threshold(VectorIndex.of(np.eye(8, dtype=np.float32)).nearest(np.zeros((0, 8)))) == math.inf


def test_the_stored_thresholds_are_those_of_the_moments_that_are_there(tmp_path):
    store, trained = Store(tmp_path / "store"), joint_samples.trained(tmp_path)
    materials = joint_samples.materials(5, kinds=6)
    videos = [joint_samples.put(store, m) for m in materials]

    def stored() -> dict[str, float]:
        return Cache.open(store.cache("untrained.step-0")).thresholds

    def computed(left: list) -> dict[str, float]:
        fresh = Index._read(store, trained, left).thresholds
        return {TEXT: pytest.approx(fresh.near, abs=1e-5), VIDEO: pytest.approx(fresh.seen, abs=1e-5)}

    index(store, trained, videos, quiet)
    update_cache(store, trained, videos[:2], quiet)
    two = stored()
    assert two == computed(videos[:2])
    update_cache(store, trained, videos, quiet)
    assert stored() == computed(videos) and all(stored()[kind] >= two[kind] for kind in two)
    *_, opened = open_cache(store, trained, videos)
    assert (opened.near, opened.seen) == (stored()[TEXT], stored()[VIDEO])
    for video in videos[2:]:
        remove_video(store, video.video)
    assert stored() == computed(videos[:2]), "removed by somebody who has no model"
    update_cache(store, trained, videos[:1], quiet)
    assert stored() == computed(videos[:1])
