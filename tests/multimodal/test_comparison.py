"""Comparison of systems: equal budgets, figures that are those of a training alone, nothing done twice, the table and the page."""

import dataclasses
import re

import joint_samples
import numpy as np
import pytest
import random_store
from random_store import quiet

from multimodal.comparison import runs as comparison
from multimodal.comparison import table
from multimodal.comparison.budget import Budget, token_cost
from multimodal.comparison.page import LEFT, RIGHT, WIDTH, picture, write_page
from multimodal.comparison.runs import ComparedRun, compare
from multimodal.inference.trained import load_trained
from multimodal.joint.options import Shape
from multimodal.library import read_material
from multimodal.scoring.evaluation import TEMPLATE, captioning_methods
from multimodal.scoring.metrics import NEAREST, evaluate
from multimodal.store import InputError
from multimodal.systems import SYSTEMS
from multimodal.tokens import train_and_held_out
from multimodal.training.options import PretrainOptions
from multimodal.training.pretraining import model_name, pretrain

OPTIONS = PretrainOptions("none", shape=Shape(1, 16, 2), training=joint_samples.training(examples_per_step=6))
CHOSEN = [SYSTEMS["videobert"], SYSTEMS["electra"]]
CANDIDATES = [dataclasses.replace(OPTIONS, system=row) for row in CHOSEN]
TOKENS = 1500


@pytest.fixture(scope="module", autouse=True)
def no_java():
    """METEOR's program takes seconds to start, for each run; its own test does so."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("PATH", "")
        yield


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory, weights_or_skip) -> tuple:
    weights_or_skip("minilm-l6")
    return random_store.made(tmp_path_factory.mktemp("compared") / "store", 5)


def compared(kitchen, budget: Budget = Budget(tokens=TOKENS), **options) -> list[ComparedRun]:  # noqa: B008
    return compare(*kitchen, CANDIDATES, [0, 1], budget, "cpu", quiet, **options)


@pytest.fixture(scope="module")
def found(kitchen) -> list[ComparedRun]:
    return compared(kitchen)


def alone(run: ComparedRun) -> PretrainOptions:
    training = dataclasses.replace(
        OPTIONS.training, seed=run.seed, least_steps=run.steps, most_steps=run.steps
    )
    return dataclasses.replace(OPTIONS, system=SYSTEMS[run.system], training=training)


def test_each_run_reads_the_budget(kitchen, found):
    assert [(run.system, run.seed) for run in found] == [
        (system.name, seed) for system in CHOSEN for seed in (0, 1)
    ]
    for run in found:
        cost = token_cost(*kitchen, dataclasses.replace(OPTIONS, system=SYSTEMS[run.system]))
        assert abs(run.tokens - TOKENS) <= cost.tokens / 2 + 1
        assert run.steps == round(TOKENS / cost.tokens) > 2 and run.seconds > 0


def test_a_figure_is_that_of_a_model_trained_alone(kitchen, found):
    store, videos, codebook = kitchen
    run = found[3]
    name, _ = pretrain(store, videos, codebook, alone(run), "cpu", quiet)
    parts = [
        [read_material(store, codebook, v) for v in part]
        for part in train_and_held_out(store, videos, codebook)
    ]
    trained = load_trained(store, name, codebook, "cpu")
    methods = captioning_methods(store, trained, None, *parts, with_references=False)
    nearest = {NEAREST: methods[NEAREST]}
    figures = evaluate(trained, *parts, None, quiet, caption=methods[TEMPLATE], other_captions=nearest)
    assert {n: f.value for n, f in figures.items()} == {n: f["value"] for n, f in run.figures.items()}
    store.remove_model(name)


def test_what_was_done_is_not_done_again_and_its_model_is_gone(kitchen, found, monkeypatch):
    store = kitchen[0]
    assert not list((store.root / "models").iterdir())
    monkeypatch.setattr(comparison, "pretrain", lambda *_: pytest.fail("trained again"))
    assert compared(kitchen) == found


def test_the_current_model_is_kept(kitchen, found):
    store, videos, codebook = kitchen
    name = model_name(store, videos, codebook, alone(found[0]))
    for file in (store.root / "comparisons").iterdir():
        file.unlink()
    again = compared(kitchen, keep=frozenset({name}))
    assert [run.figures for run in again] == [run.figures for run in found]
    assert [folder.name for folder in (store.root / "models").iterdir()] == [name]
    store.remove_model(name)


@pytest.mark.long
def test_seconds_are_a_budget_too_and_the_pace_is_measured_once(kitchen, monkeypatch):
    budget = Budget(seconds=0.5)
    found = compared(kitchen, budget)
    store = kitchen[0]
    assert len(list((store.root / "comparisons").glob("pace-*.json"))) == len(CHOSEN)
    monkeypatch.setattr(comparison, "pretrain", lambda *_: pytest.fail("trained again"))
    assert compared(kitchen, budget) == found
    assert all(run.steps >= 1 and run.tokens > 0 for run in found)


@pytest.mark.parametrize("given", [{}, {"tokens": 1, "seconds": 1.0}, {"tokens": 0}, {"seconds": -1.0}])
def test_a_budget_is_one_number_above_0(given):
    with pytest.raises(InputError, match="--tokens|--seconds"):
        Budget(**given)


def test_without_a_held_out_video_there_is_nothing_to_judge_by(kitchen, tmp_path):
    store, videos, codebook = random_store.made(tmp_path / "store", 2)
    with pytest.raises(InputError, match="held out"):
        compare(store, videos[:1], codebook, CANDIDATES, [0], Budget(tokens=1), "cpu", quiet)


def figure(value: float, low: float, high: float) -> dict:
    return {"value": value, "low": low, "high": high, "chance": 0.1, "n": 50, "note": ""}


def made_up() -> list[ComparedRun]:
    """Two systems, one without alignment; of the first the counts lie below the interval, of the second above."""
    beside = {"next_token_counts": figure(0.5, 0.4, 0.6), "next_token_limit": figure(0.9, 0.8, 1.0)}
    one = [
        ComparedRun("videobert", s, 10, 1000, 5.0, 99, beside | {"next_token": figure(v, v - 0.1, v + 0.1)})
        for s, v in enumerate((0.65, 0.75))
    ]
    one[0].figures["alignment_auc"] = one[1].figures["alignment_auc"] = figure(0.8, 0.7, 0.9)
    other = ComparedRun("bert", 0, 12, 1010, None, 98, beside | {"next_token": figure(0.3, 0.2, 0.4)})
    return [*one, other]


def test_the_table():
    rows = {row.name: row for row in table.rows(made_up())}
    assert set(rows) == {"next_token", "alignment_auc"}
    row = rows["next_token"]
    assert (row.chance, row.counts, row.limit, row.n) == pytest.approx((0.1, 0.5, 0.9, 50))
    cell = row.cells["videobert"]
    assert (cell.value, cell.low, cell.high) == pytest.approx((0.7, 0.6, 0.8))
    assert cell.deviation == pytest.approx(np.std([0.65, 0.75], ddof=1))
    assert row.cells["bert"].deviation is None
    assert [row.cells[name].against(row.counts) for name in ("videobert", "bert")] == [1, -1]
    assert set(rows["alignment_auc"].cells) == {"videobert"} and rows["alignment_auc"].counts is None
    (head, *lines) = table.lines(made_up())
    assert head.split() == ["chance", "counts", "limit", "videobert", "bert"]
    (next_clip,) = (line for line in lines if line.startswith("next clip, 1.5 s"))
    assert next_clip.split()[-5:] == ["10.0", "50.0", "90.0", "70.0±7.1▲", "30.0▼"]
    assert len({len(line) for line in (head, *lines[:2])}) == 1
    (seconds,) = (line for line in lines if line.startswith("seconds"))
    assert seconds.split() == ["seconds", "5", "–"], "a run that was stopped has none"


def test_the_page(tmp_path):
    page = write_page(tmp_path / "comparison.html", made_up(), "reading 1,000 tokens").read_text()
    assert "70.0±7.1▲" in page and "30.0▼" in page and "reading 1,000 tokens" in page
    assert not re.search(r'src=|href="http', page), "nothing is fetched"
    drawn = picture(table.rows(made_up()), ["videobert", "bert"])
    dots = [dot for group in drawn.groups for dot in group.dots]
    assert len(dots) == 3
    assert all(LEFT <= dot.low <= dot.x <= dot.high <= WIDTH - RIGHT for dot in dots)
    tops = [group.top for group in drawn.groups]
    assert tops == sorted(tops) and all(g.top < d.y < g.bottom for g in drawn.groups for d in g.dots)


def test_captions_stand_beside_the_nearest_moments_words_and_cider_off_the_picture():
    (run, *_) = made_up()
    cider = {
        "caption_micro_cider": figure(1.5, 1.2, 1.9),
        "caption_micro_cider_of_nearest_neighbour": figure(1.0, 0.8, 1.1),
    }
    runs = [dataclasses.replace(run, figures=run.figures | cider)]
    row = table.rows(runs)[-1]
    assert (row.name, row.counts, row.cells["videobert"].against(row.counts)) == (
        "caption_micro_cider",
        1.0,
        1,
    )
    words = [group.words for group in picture(table.rows(runs), ["videobert"]).groups]
    assert words == [other.words for other in table.rows(runs)[:-1]]


def test_the_names_of_figures_are_those_of_an_evaluation(found):
    asked = {name for name, _ in table.QUESTIONS}
    assert len(asked & found[0].figures.keys()) >= 12


def test_what_a_decoder_writes_is_in_the_budget(kitchen):
    """BART reads what `videobert` reads, in the mean a little less, and writes all of it once more."""
    masks, both = (
        token_cost(*kitchen, dataclasses.replace(OPTIONS, system=SYSTEMS[name])).tokens
        for name in ("videobert", "bart")
    )
    assert both > 1.6 * masks
