"""The probe by layer: what only the other words and clips tell is not in the embeddings, and is in the layers above them."""

import dataclasses
import json

import joint_samples
import kitchen
import numpy as np
from changed import changed

from multimodal.catalogue import Catalogue
from multimodal.library import usable
from multimodal.scoring.evaluation import evaluate_store
from multimodal.scoring.layer_probe import linear_probe, probe_figures
from multimodal.scoring.layers import MODALITY, NOUN, POSITION, PROPERTIES, VERB, by_layer, probe_figure
from multimodal.scoring.truth import Truth, TruthStep
from multimodal.store import Store
from multimodal.web import charts, results


def shown_at_random(materials, seed):
    """The same words, beside visual tokens that have nothing to do with them."""
    random = np.random.default_rng(seed)
    return [
        dataclasses.replace(m, tokens=random.integers(joint_samples.VISUAL, size=len(m.tokens)))
        for m in materials
    ]


def truth(materials) -> Truth:
    steps = {}
    for m in materials:
        words = [(s.start, s.end, s.text.split()) for s in m.transcript.sentences]
        steps[m.video.video] = tuple(TruthStep(s, e, w[1], w[3].rstrip(".")) for s, e, w in words)
    return Truth(joint_samples.ACTIONS, joint_samples.THINGS, steps, frozenset())


def layers_of(found, what):
    return by_layer(found, lambda layer: probe_figure(what, layer))


def test_what_a_token_says_by_itself_is_in_the_embeddings(learned):
    train, after = joint_samples.materials(40), joint_samples.materials(8, seed=77)
    found = probe_figures(learned, train, after, truth([*train, *after]))
    assert len(found) == 3 * len(PROPERTIES)  # the embeddings and two layers
    for what in (VERB, NOUN, MODALITY):
        embeddings = layers_of(found, what)[0]
        assert embeddings.value > 0.9 > embeddings.chance, what
    position = layers_of(found, POSITION)[0]
    assert position.value > 0.9 > 0.2 > position.chance
    # 48 moments of "now wash the onion ." and three clips: n is of clips, of all, and of these at most 1,000
    assert [layers_of(found, what)[0].n for what in PROPERTIES] == [144, 144, 384, 384]
    assert found == probe_figures(learned, train, after, truth([*train, *after]))


def test_what_only_the_words_say_comes_from_the_layers(learned):
    train = shown_at_random(joint_samples.materials(60), 1)
    after = shown_at_random(joint_samples.materials(12, seed=77), 2)
    found = probe_figures(learned, train, after, truth([*train, *after]))
    for what in (VERB, NOUN):
        embeddings, *above = layers_of(found, what)
        assert embeddings.low < embeddings.chance + 0.1, "a random token tells nothing"
        assert max(layer.value for layer in above) > embeddings.high


def test_labels_that_mean_nothing_are_told_at_chance(learned):
    """The control of a probe: it does not learn labels dealt out at random (Hewitt and Liang 2019)."""
    train, after = joint_samples.materials(40), joint_samples.materials(8, seed=77)
    random = np.random.default_rng(0)
    true = truth([*train, *after])
    dealt = {
        video: tuple(dataclasses.replace(s, action=random.choice(joint_samples.ACTIONS)) for s in steps)
        for video, steps in true.steps.items()
    }
    found = probe_figures(learned, train, after, dataclasses.replace(true, steps=dealt))
    assert all(layer.low < 0.35 for layer in layers_of(found, VERB))


def test_without_a_truth_modality_and_place_are_asked(learned):
    after = joint_samples.materials(4, seed=77)
    found = probe_figures(learned, joint_samples.materials(8), after, None)
    assert {name.split("_")[1] for name in found} == {MODALITY, POSITION}
    assert probe_figures(learned, joint_samples.materials(8), [], None) == {}


def test_a_probe_is_logistic_regression():
    random = np.random.default_rng(0)
    states, labels = random.normal(size=(400, 8)), random.integers(2, size=400)
    states[:, 3] += 6.0 * labels
    said = linear_probe(states[:200], labels[:200], states[200:])
    assert (said == labels[200:]).mean() > 0.95


def test_an_evaluation_is_added_to_and_keeps_its_probe(learned, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)  # METEOR's program takes seconds to start
    store = Store(tmp_path / "store")
    trained = kitchen.fill(store, learned)
    with Catalogue(store.catalogue) as catalogue:
        videos = usable(catalogue)

    def figures(**given):
        path = evaluate_store(store, trained, None, videos, lambda *_: None, **given)
        return path, json.loads(path.read_text())

    plain, before = figures()
    probed, after = figures(probe=True)
    assert plain != probed and before == {n: f for n, f in after.items() if not n.startswith("probe_")}
    assert before != after and figures() == figures(probe=True) == (probed, after)


def test_nothing_held_out_to_judge_a_layer_by_is_said(learned, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    store, told = Store(tmp_path / "store"), []
    trained = kitchen.fill(store, learned)
    about = store.codebook("codebook") / "codebook.json"
    with changed(about.parent):
        about.write_text(json.dumps(json.loads(about.read_text()) | {"held_out": []}))
    with Catalogue(store.catalogue) as catalogue:
        for _ in range(2):
            path = evaluate_store(
                store, trained, None, usable(catalogue), lambda *_: None, probe=True, say=told.append
            )
    assert len(told) == 2 and told[0] == told[1] and told[0].startswith("--probe: no layer is judged")
    assert not [name for name in json.loads(path.read_text()) if name.startswith("probe_")]


def test_each_property_has_a_chart_and_a_line(learned):
    train, after = joint_samples.materials(8), joint_samples.materials(4, seed=77)
    found = probe_figures(learned, train, after, truth([*train, *after]))
    figures = {name: dataclasses.asdict(figure) for name, figure in found.items()}
    drawn = charts.figure_charts(figures)
    assert [chart.title for chart in drawn] == [f"What each layer knows: {what}" for what in PROPERTIES]
    for chart, what in zip(drawn, PROPERTIES, strict=True):
        assert [words for _, words in chart.x_ticks] == ["0", "1", "2"]
        assert [dot[-1].rpartition(" ")[2] for dot in chart.series[0].dots] == [
            f"{figure.value:.1%}" for figure in layers_of(found, what)
        ]
    assert results.results_by_task(figures) == []
    table = results.figures_table(figures)[-len(PROPERTIES) :]
    assert [line.split()[0] for line in table] == list(PROPERTIES)
    for line, what in zip(table, PROPERTIES, strict=True):
        chance, *values = map(float, line.split()[1:])
        assert values == [round(figure.value, 3) for figure in layers_of(found, what)]
        assert chance == round(layers_of(found, what)[0].chance, 3)
