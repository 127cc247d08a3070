"""Who answers: the stored evaluation of exactly this model decides, and a line says what not to trust."""

import json
import re
import shutil

import kitchen
import pytest
from changed import changed

from flows.formatting import caption_lines, classify_lines, next_lines
from multimodal import open_store
from multimodal.answers import answer_json
from multimodal.answers.counts import update_counts
from multimodal.answers.quality import COMPARISONS, Evaluation, evaluation_prefix
from multimodal.catalogue import Catalogue
from multimodal.library import usable
from multimodal.scoring.evaluation import evaluate_store
from multimodal.scoring.intervals import ScoredQuestions, difference
from multimodal.store import InputError, Store, canonical_json
from multimodal.tokens import train_and_held_out


def figure(value: float, low: float, high: float, chance: float = 0.1, n: int = 69) -> dict:
    return {"value": value, "low": low, "high": high, "chance": chance, "n": n, "note": ""}


def next_figures(model: float, plain: float, low: float, high: float) -> dict[str, dict]:
    """Of the next token; ``low`` and ``high``: of the difference."""
    return {
        "next_token": figure(model, model - 0.05, model + 0.05),
        "next_token_counts": figure(plain, plain - 0.05, plain + 0.05),
        "next_token_minus_counts": figure(model - plain, low, high, 0.0),
    }


@pytest.mark.parametrize(
    ("figures", "by", "verdict", "method", "above_chance"),
    [
        (next_figures(0.8, 0.5, 0.2, 0.4), "auto", "better", "model", True),
        (next_figures(0.8, 0.5, 0.2, 0.4), "plain", "better", "plain", True),
        (next_figures(0.21, 0.30, -0.2, 0.02), "auto", "not better", "plain", True),
        (next_figures(0.4, 0.30, -0.05, 0.2), "auto", "not better", "plain", True),
        (next_figures(0.21, 0.30, -0.2, 0.02), "model", "not better", "model", True),
        (next_figures(0.12, 0.12, -0.1, 0.1), "auto", "not better", "plain", False),
        ({"next_token_counts": figure(0.3, 0.25, 0.4)}, "auto", "unknown", "plain", True),
        ({"next_token_counts": figure(0.3, 0.25, 0.4)}, "model", "unknown", "model", False),
        ({}, "auto", "unknown", "plain", False),
        (None, "auto", "unknown", "plain", False),
    ],
)
def test_who_answers(figures, by, verdict, method, above_chance):
    found = Evaluation(figures, "six videos are too few", False).quality("next", by)
    assert (found.verdict, found.method, found.above_chance) == (verdict, method, above_chance)
    assert found.to_say == ([] if (verdict, method) == ("better", "model") else [found.line])
    assert "\n" not in found.line
    for name in figures or ():
        if (
            (verdict != "unknown" or "counts" in name)
            and "minus" not in name
            and not (method == "model" and verdict == "unknown")
        ):
            assert f"{figures[name]['value']:.2f}" in found.line
    assert ("do not rely on it" in found.line) == (not above_chance)
    assert verdict != "unknown" or "Six videos are too few" in found.line


def test_the_better_of_two_captioning_methods_answers():
    nearest = {"caption_micro_cider_of_nearest_neighbour": figure(1.0, 0.9, 1.1, 0.4)}
    both = nearest | {
        "caption_micro_cider": figure(1.1, 1.0, 1.3, 0.4),
        "caption_micro_cider_of_template": figure(1.2, 1.0, 1.3, 0.3),
        "caption_micro_cider_minus_nearest_neighbour": figure(0.1, 0.02, 0.3, 0.0),
        "caption_micro_cider_of_template_minus_nearest_neighbour": figure(0.2, -0.1, 0.4, 0.0),
    }
    assert Evaluation(both, "", True).quality("caption").method == "captioner"
    both["caption_micro_cider_of_template_minus_nearest_neighbour"]["low"] = 0.01
    assert Evaluation(both, "", True).quality("caption").method == "template"
    # without a captioner the figures that bear no method's name are the template's
    assert Evaluation(both, "", False).quality("caption").method == "template"
    assert Evaluation(nearest, "few", False).quality("caption", "model").method == "template"


def test_a_truth_says_more_than_the_words():
    words = {
        name.replace("next_token", "said_word"): f for name, f in next_figures(0.8, 0.5, 0.2, 0.4).items()
    }
    names = {name.replace("next_token", "verb_and_noun_zero_shot"): f for name, f in next_figures(0.9, 0.9, -0.1, 0.1).items()}  # fmt: skip
    assert Evaluation(words, "", False).quality("classify").verdict == "better"
    assert Evaluation(words | names, "", False).quality("classify").verdict == "not better"


def test_a_difference_is_paired():
    """Two methods that are right on the same videos differ surely, where their own intervals overlap."""
    first, second = ScoredQuestions(), ScoredQuestions()
    for n in range(20):
        for question in range(10):
            first.add(str(n), n % 2 or question < 2, 0.0)
            second.add(str(n), n % 2, 0.0)
    alone = first.figure(), second.figure()
    found = difference(first, second)
    assert alone[0].low < alone[1].high, "the control: apart they cannot be told"
    assert found.value == pytest.approx(0.1) and found.low > 0
    assert difference(ScoredQuestions(), ScoredQuestions()) is None


@pytest.fixture(scope="module")
def evaluated(learned, tmp_path_factory) -> Store:
    """The kitchen, evaluated on its four held-out videos."""
    store = Store(tmp_path_factory.mktemp("evaluated") / "store")
    trained = kitchen.fill(store, learned)
    with Catalogue(store.catalogue) as catalogue:
        videos = usable(catalogue)
        update_counts(store, trained, train_and_held_out(store, videos, trained.codebook)[0])
        path = evaluate_store(store, trained, None, videos, lambda *_: None)
        catalogue.set_current("evaluation", path.name)
    return store


def test_the_figures_decide_what_is_shown(evaluated):
    """Each answer is that of the method which its figures call better, and says which one it is."""
    with open_store(evaluated.root) as store:
        asked = {
            "caption": lambda by: store.caption("held-100", by=by),
            "next": lambda by: store.next("held-100@9", by=by),
            "classify": lambda by: store.classify("held-100", verbs=["cut", "wash"], by=by),
            "imagine": lambda by: store.imagine("now cut the onion.", by=by),
        }
        for kind, ask in asked.items():
            answer = {by: ask(by) for by in ("auto", "model", "plain")}
            quality = answer["auto"].quality
            ((comparison, *_),) = (g for g in COMPARISONS[kind] if g[0].figure in store.evaluation.figures)
            better = store.evaluation.figures[comparison.difference]["low"] > 0
            assert (quality.verdict == "better") == better
            assert list(answer["auto"]) == list(answer["model" if better else "plain"]), kind
            assert answer["plain"].quality.method == "plain" != answer["model"].quality.method
            assert (quality.line in answer["auto"]._repr_html_()) == (not better)
        assert store.evaluation.quality("next").figures[0].n == store.evaluation.figures["next_token"]["n"]


def test_an_evaluation_of_another_model_says_nothing(evaluated, tmp_path):
    store = Store(shutil.copytree(evaluated.root, tmp_path / "store"))
    with Catalogue(store.catalogue) as catalogue:
        name = catalogue.current("evaluation")
        catalogue.set_current("captioner", f"learned.step-200.{'0' * 12}")
    document = answer_json.forecast(store.root, "held-100@9")
    assert document["quality"]["verdict"] == "unknown" and document["quality"]["figures"] == {}
    assert "videobert evaluate" in document["quality"]["line"]
    with open_store(store.root) as opened:
        assert name.startswith(evaluation_prefix(opened.trained, None))
        assert not name.startswith(evaluation_prefix(opened.trained, f"learned.step-200.{'0' * 12}"))


def test_too_few_videos_to_hold_any_out(evaluated, tmp_path):
    """Six videos: the line says so, with how good the plain answers are by the counts of the other videos."""
    store = Store(shutil.copytree(evaluated.root, tmp_path / "store"))
    shutil.rmtree(store.root / "evaluations")
    about = store.codebook("codebook") / "codebook.json"
    description = json.loads(about.read_text())
    with changed(about.parent):
        about.write_text(json.dumps(description | {"videos": description["videos"][:6], "held_out": []}))
    with Catalogue(store.catalogue) as catalogue:
        for video in usable(catalogue)[6:]:
            catalogue.forget(video)
        with open_store(store.root) as opened:
            path = evaluate_store(store, opened.trained, None, usable(catalogue), lambda *_: None)
        catalogue.set_current("evaluation", path.name)
    figures = json.loads(path.read_text())
    assert "next_token" not in figures and figures["next_token_counts"]["n"] > 0
    video = description["videos"][0][0]
    documents = {
        "caption": (answer_json.caption(store.root, video), caption_lines),
        "next": (answer_json.forecast(store.root, f"{video}@9"), next_lines),
        "classify": (answer_json.classify(store.root, video, nouns=["onion"], by="model"), classify_lines),
    }
    for kind, (document, lines) in documents.items():
        quality = document["quality"]
        assert quality["verdict"] == "unknown" and "6 videos" in quality["line"] and quality["notes"], kind
        if not quality["above_chance"]:
            shown = " ".join(lines(document))
            assert not re.search(r"%| [01]\.\d\d", shown), "no probability looks like confidence"
    assert not documents["classify"][0]["quality"]["above_chance"], "nothing is known of the model"


def test_ways_that_do_not_go_together(evaluated):
    with open_store(evaluated.root) as store:
        for ask in (
            lambda: store.caption("held-100", by="captioner"),
            lambda: store.caption("held-100", template="we [MASK]", by="plain"),
            lambda: store.next("held-100@9", words=True, by="plain"),
        ):
            with pytest.raises(InputError, match="--by"):
                ask()
        assert store.next("held-100@9", words=True).quality.method == "model"
        assert store.caption("held-100", template="we [MASK]").quality.method == "template"
    assert canonical_json(answer_json.imagine(evaluated.root, "cut")["quality"])
