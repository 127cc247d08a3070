"""Questions whose answers are seconds, and labels of whole videos: both are read in windows."""

import dataclasses

import kitchen
import labels
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multimodal import open_store
from multimodal.catalogue import Catalogue
from multimodal.finetuning.figures import ious
from multimodal.finetuning.options import FineTuningOptions
from multimodal.finetuning.spans import best_run
from multimodal.finetuning.task_files import read_task
from multimodal.finetuning.training import fine_tune
from multimodal.inference.heads import best_span, by_unit, combined_windows
from multimodal.library import usable
from multimodal.store import InputError, Store

OPTIONS = FineTuningOptions(
    epochs=8, least_steps=40, learning_rate=2e-3, precision="fp32", window=8, stride=4
)


@pytest.fixture(scope="module")
def world(learned, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("windows") / "store")
    trained = kitchen.fill(store, learned)

    def tune(file, name, options=OPTIONS):
        with Catalogue(store.catalogue) as catalogue:
            return fine_tune(
                store, trained, usable(catalogue), read_task(file), name, options, lambda *_: None
            )

    tune.store = store
    return tune


scores = st.lists(st.floats(-5, 5), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(scores.flatmap(lambda s: st.tuples(st.just(s), st.lists(st.floats(-5, 5), min_size=len(s), max_size=len(s)))), min_size=1, max_size=4))  # fmt: skip
def test_the_best_answer_is_that_of_a_search_over_all_pairs(windows):
    every = {
        (w, i, j): start[i] + end[j]
        for w, (start, end) in enumerate(windows)
        for i in range(len(start))
        for j in range(i, len(end))
    }
    best = best_span([np.array(window, float).T for window in windows])
    assert every[best.window, best.first, best.last] == best.log_odds == max(every.values())


@settings(max_examples=60, deadline=None)
@given(scores)
def test_the_best_run_is_that_of_a_search_over_all_pairs(values):
    start, end = best_run(np.array(values), 1.5 * np.arange(len(values)))
    sums = {(i, j): sum(values[i : j + 1]) for i in range(len(values)) for j in range(i, len(values))}
    assert sums[round(start / 1.5), round(end / 1.5) - 1] == pytest.approx(max(sums.values()))


def test_windows_are_combined_as_published():
    """ClinicalBERT, section 3.4, with n windows and c = 2."""
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]])
    np.testing.assert_allclose(combined_windows(p), (p.max(0) + p.mean(0) * 3 / 2) / (1 + 3 / 2))
    np.testing.assert_allclose(combined_windows(p[:1]), p[0])
    np.testing.assert_allclose(by_unit(p, [1, 0, 1], 2), [p[1], p[[0, 2]].mean(0)])


def test_ious_of_times_and_of_none():
    nan = np.nan
    true = np.array([[0, 4], [0, 4], [0, 4], [nan, nan], [nan, nan]])
    made = np.array([[2, 6], [4, 6], [nan, nan], [0, 1], [nan, nan]])
    np.testing.assert_allclose(ious(true, made), [1 / 3, 0, 0, 0, 1])


@pytest.fixture(scope="module")
def asked(world, tmp_path_factory):
    """Where each step is done; and of each video one that it does not show."""
    rows = [(v, f"now {action} the {thing}", s, e) for v, s, e, action, thing in labels.steps()]
    rows = [row for row in rows if "held" in row[0] or int(row[0][:-4], 16) <= 8][::2]
    rows += [(v, "now peel the bowl", "", "") for v in dict.fromkeys(row[0] for row in rows)]
    return labels.write(tmp_path_factory.mktemp("task") / "where.csv", "video,question,start,end", rows)


def test_a_question_is_answered_by_seconds_or_by_none(world, asked):
    found = world(asked, "where", dataclasses.replace(OPTIONS, epochs=40))
    assert found.kind == "span"
    iou = found.figures["iou"]
    assert iou.value > max(iou.chance, found.figures["iou_majority"].value) and iou.value > 0.4
    with open_store(world.store.root) as opened:
        answer = opened.predict("held-100", head="where", text="now peel the bowl")
        assert len(answer) in (0, 1)
        with pytest.raises(InputError, match="--text"):
            opened.predict("held-100", head="where")
        with pytest.raises(InputError, match="leave the second out"):
            opened.predict("held-100@3", head="where", text="now cut the onion")


def test_questions_are_about_what_is_seen(world, asked):
    with pytest.raises(InputError, match="--read text"):
        world(asked, "where", dataclasses.replace(OPTIONS, read="text"))


def test_labels_of_whole_videos(world, tmp_path):
    """All videos show the same steps in another order, so there is nothing to be right about; but each has one answer."""
    firsts = {v: action for v, s, _, action, _ in labels.steps() if s == 0}
    file = labels.write(tmp_path / "first.csv", "video,label", firsts.items())
    found = world(file, "first")
    assert found.kind == "document"
    assert {"accuracy", "accuracy_by_mean", "accuracy_logistic_regression"} <= set(found.figures)
    assert found.figures["accuracy"].n == found.counts["test"]
    with open_store(world.store.root) as opened:
        (one,) = opened.predict("held-100", head="first")
    assert one.start == 0 and one.end > 0
    assert sum(one.probabilities.values()) == pytest.approx(1)
