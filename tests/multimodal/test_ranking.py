"""Ranks, recall, precision, medians and areas against scikit-learn and against trying every order of what ties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from multimodal.scoring.intervals import ScoredQuestions, VideoBootstrap, figure_of_sums
from multimodal.scoring.ranking import (
    above_and_tied,
    mean_ranks,
    median_figure,
    perplexity_figure,
    precision_at,
    recall_at,
    retrieval_figures,
    roc_auc,
)

TIED = st.integers(0, 3).map(float)
"""Scores that often tie."""


@st.composite
def scored(draw) -> tuple[np.ndarray, np.ndarray]:
    """Scores [n, m] and the candidates that belong to each query, at least one."""
    n, m = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    scores = draw(arrays(float, (n, m), elements=TIED))
    own = draw(arrays(bool, (n, m)))
    own[np.arange(n), draw(st.lists(st.integers(0, m - 1), min_size=n, max_size=n))] = True
    return scores, own


def orders(scores: np.ndarray) -> list[tuple[int, ...]]:
    """Every order of the candidates in which none stands before a higher one."""
    every = itertools.permutations(range(len(scores)))
    return [o for o in every if all(scores[a] >= scores[b] for a, b in itertools.pairwise(o))]


@given(scored(), st.integers(1, 4))
def test_ties_are_judged_by_the_mean_over_their_orders(case, k):
    scores, own = case
    for row, mine in zip(scores, own, strict=True):
        shares = [np.mean([mine[i] for i in order[:k]]) for order in orders(row)]
        if k < len(row):
            assert precision_at(row[None], mine[None], k)[0] == pytest.approx(np.mean(shares))
        if mine.sum() == 1:
            above, tied = above_and_tied(row[None], mine[None])
            places = [order.index(int(mine.argmax())) for order in orders(row)]
            assert mean_ranks(above, tied)[0] == pytest.approx(1 + np.mean(places))
            assert recall_at(above, tied, k)[0] == pytest.approx(np.mean([p < k for p in places]))


@given(scored())
def test_recall_grows_with_k_and_ranks_lie_in_their_range(case):
    scores, own = case
    above, tied = above_and_tied(scores, own)
    found = [recall_at(above, tied, k) for k in range(1, scores.shape[1] + 1)]
    assert all((a <= b).all() for a, b in itertools.pairwise(found)) and (found[-1] == 1).all()
    assert ((mean_ranks(above, tied) >= 1) & (mean_ranks(above, tied) <= scores.shape[1])).all()


def test_retrieval_by_hand():
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [5.0, 5.0, 5.0]])
    found = retrieval_figures("search", scores, np.eye(3, dtype=bool), ["a", "b", "c"])
    # ranks: 1, 2, and 2 as the mean of three that tie
    assert found["search_recall_at_1"].value == pytest.approx((1 + 0 + 1 / 3) / 3)
    assert found["search_recall_at_1"].chance == pytest.approx(1 / 3)
    assert (found["search_recall_at_5"].value, found["search_recall_at_5"].chance) == (1.0, 1.0)
    assert (found["search_median_rank"].value, found["search_median_rank"].chance) == (2.0, 2.0)
    assert (found["search_median_rank"].low, found["search_median_rank"].high) == (1.0, 2.0)
    assert retrieval_figures("search", np.zeros((1, 1)), np.ones((1, 1), bool), ["a"]) == {}


def test_chance_is_what_a_blind_order_reaches():
    """Also where a query has several candidates of its own."""
    random, count, owns = np.random.default_rng(0), 12, 3
    own = np.zeros((1500, count), bool)
    own[:, :owns] = True
    videos = [f"v{i}" for i in range(len(own))]
    found = retrieval_figures("blind", random.random((len(own), count)), own, videos)
    for k in (1, 5, 10):
        figure = found[f"blind_recall_at_{k}"]
        assert figure.value == pytest.approx(figure.chance, abs=0.03)
    above, tied = above_and_tied(random.random((len(own), count)), own)
    assert found["blind_median_rank"].chance == pytest.approx(mean_ranks(above, tied).mean(), abs=0.1)


@settings(max_examples=40, deadline=None)
@given(st.lists(TIED, min_size=1, max_size=12), st.lists(TIED, min_size=1, max_size=12))
def test_the_area_is_scikit_learns(positive, negative):
    videos = [f"v{i % 4}" for i in range(len(positive))], [f"v{i % 3}" for i in range(len(negative))]
    figure = roc_auc(np.array(positive), np.array(negative), *videos)
    truth = [1] * len(positive) + [0] * len(negative)
    assert figure.value == pytest.approx(roc_auc_score(truth, [*positive, *negative]))
    assert 0 <= figure.low <= figure.high <= 1 and (figure.chance, figure.n) == (0.5, len(truth))


def test_the_area_s_interval_is_that_of_resampled_videos():
    random = np.random.default_rng(1)
    videos = [f"v{i // 4:02}" for i in range(120)]
    positive, negative = random.normal(0.7, 1, 120), random.normal(0, 1, 120)
    figure = roc_auc(positive, negative, videos, videos, seed=3)
    bootstrap = VideoBootstrap([*videos, *videos], seed=3)
    values = []
    for drawn in bootstrap.drawn_RV[:400]:
        weights = drawn[bootstrap.of_N]
        truth = np.r_[np.ones(120), np.zeros(120)]
        values.append(roc_auc_score(truth, np.r_[positive, negative], sample_weight=weights))
    assert figure.low == pytest.approx(np.quantile(values, 0.025), abs=0.02)
    assert figure.high == pytest.approx(np.quantile(values, 0.975), abs=0.02)
    assert roc_auc(np.zeros(0), negative, [], videos) is None


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=30))
def test_the_median_and_its_interval_are_those_of_repeated_values(values):
    videos = [f"v{i % 5}" for i in range(len(values))]
    figure = median_figure(np.array(values), videos, 5.0, (1.0, 9.0), seed=2)
    bootstrap = VideoBootstrap(videos, seed=2)
    resampled = [np.median(np.repeat(values, drawn[bootstrap.of_N])) for drawn in bootstrap.drawn_RV]
    assert figure.value == np.median(values)
    assert (figure.low, figure.high) == tuple(np.quantile(resampled, [0.025, 0.975]))


def test_perplexity_by_hand():
    figure = perplexity_figure(np.log([0.5, 0.125]), np.log([0.25, 0.25]), ["a", "b"], 30)
    assert figure.value == pytest.approx(4.0) and figure.chance == pytest.approx(4.0)
    assert (figure.low, figure.high, figure.n) == (1.0, 30.0, 2), "of two videos nothing is sure"
    assert perplexity_figure([], [], [], 30) is None


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 1)), min_size=1, max_size=20))
def test_a_mean_of_answers_is_the_figure_of_their_sums(scored_questions):
    questions = ScoredQuestions()
    for video, right in scored_questions:
        questions.add(video, right, 0.5)
    figure = questions.figure()
    assert figure.value == pytest.approx(np.mean([r for _, r in scored_questions]))
    means = [
        np.mean([r for v, r in scored_questions if v == video]) for video in {v for v, _ in scored_questions}
    ]
    sure = len(means) >= 3
    assert (
        (min(means) if sure else 0) - 1e-9 <= figure.low <= figure.high <= (max(means) if sure else 1) + 1e-9
    )
    assert math.isclose(figure.chance, 0.5) and figure.n == len(scored_questions)
    assert figure_of_sums([], np.zeros((0, 2)), lambda sums: sums[..., 0], 0.5) is None
