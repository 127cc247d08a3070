"""Each system's model answers through the one door; what it cannot answer is absent and is said."""

import dataclasses
import json
from pathlib import Path

import joint_samples
import numpy as np
import pytest
import random_store
import torch

from flows.formatting import classify_lines
from multimodal.answers.caption import caption
from multimodal.answers.classify import classify_moments
from multimodal.answers.cohesion import of_pairs
from multimodal.answers.forecast import forecast_probabilities
from multimodal.answers.imagine import imagine
from multimodal.answers.index import index
from multimodal.answers.search import Index
from multimodal.inference.trained import load_trained
from multimodal.joint.options import Shape
from multimodal.library import read_material
from multimodal.objectives.weights import LossWeights
from multimodal.scoring.layer_probe import probe_figures
from multimodal.scoring.metrics import evaluate
from multimodal.systems import SYSTEMS
from multimodal.training.options import PretrainOptions
from multimodal.training.pretraining import pretrain
from multimodal.web.embedding_map import embedding_map

FEW = joint_samples.training(most_steps=2, least_steps=2, examples_per_step=8)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    return random_store.made(tmp_path_factory.mktemp("kitchen") / "store", 6)


@pytest.fixture(scope="module", params=SYSTEMS)
def opened(request, kitchen, weights_or_skip):
    weights_or_skip("minilm-l6")
    store, videos, codebook = kitchen
    options = PretrainOptions("none", Shape(2, 24, 2), training=FEW, system=SYSTEMS[request.param])
    name, _ = pretrain(store, videos, codebook, options, "cpu", random_store.quiet)
    return load_trained(store, name, codebook, "cpu")


def test_the_five_answers(kitchen, opened):
    store, videos, codebook = kitchen
    material = read_material(store, codebook, videos[0])
    captions = caption(opened, material)
    assert captions and all(found.text for found in captions)
    assert {found.route for found in captions} == {
        "written" if opened.left_to_right or opened.writer else "template"
    }
    following = forecast_probabilities(opened, [material.tokens[:5].tolist()], 2)
    torch.testing.assert_close(following.sum(-1), torch.ones(1, 2))
    assert len(imagine(store, opened, "cut the onion", 2)) == 2
    (found,) = classify_moments(opened, [material.tokens[:3].tolist()], ["cut", "stir"], ["onion", "apple"])
    assert sum(n.probability for n in found.verbs) == pytest.approx(1)
    assert all((n.aligned is not None) == opened.has_alignment for n in (*found.verbs, *found.nouns))
    index(store, opened, videos, random_store.quiet)
    searched = Index.load(store, opened, videos)
    assert searched.search("cut the onion")
    like = searched.like(videos[0], 2.0)
    assert like and all((h.alignment is None) or opened.has_alignment for h in like)


def test_its_evaluation_has_an_alignment_where_the_system_asks_for_it(kitchen, opened):
    store, videos, codebook = kitchen
    materials = [read_material(store, codebook, video) for video in videos]
    figures = evaluate(opened, materials[:3], materials[3:], None, random_store.quiet)
    assert {"search_mrr", "next_token"} & set(figures)
    assert ("text_cloze_with_video" in figures) == (not opened.left_to_right), (
        "a blank is no question to what writes"
    )
    assert ("alignment_auc" in figures) == opened.has_alignment
    assert not any(f.value != f.value for f in figures.values()), "no figure is no number"


def test_each_layer_is_asked_and_a_map_is_drawn(kitchen, opened):
    store, videos, codebook = kitchen
    materials = [read_material(store, codebook, video) for video in videos]
    layers = probe_figures(opened, materials[:3], materials[3:], None)
    assert len(layers) == 6, "modality and position, of the embeddings and two layers"
    assert layers["probe_modality_at_layer_2"].value > layers["probe_modality_at_layer_2"].chance
    tokens = list(range(opened.vocabulary.visual))
    assert len(embedding_map(opened, tokens, {0: "cut, onion", 1: "stir"}).words) == 3


def test_names_without_an_alignment_head_are_printed(kitchen, opened):
    (found,) = classify_moments(opened, [[1, 2]], ["cut", "stir"], [])
    moment = {"start": 0.0, "end": 1.0, "verbs": [dataclasses.asdict(n) for n in found.verbs], "nouns": []}
    for sure in (True, False):
        lines = classify_lines({"moments": [moment], "quality": {"method": "model", "above_chance": sure}})
        assert len(lines) == 2 and ("alignment" in lines[1]) == opened.has_alignment


def test_its_card_names_the_system(opened):
    card = Path(opened.folder / "README.md").read_text()
    system = (opened.folder / "card.json").read_text()
    assert "Pretrained as `" in card and '"pair_task"' in system
    assert ("what fills blanks is the generator" in card) == (opened.generator is not None)
    assert ("BertLMHeadModel" in card) == opened.left_to_right


def test_chapters_ask_the_pair_task_that_the_system_has(kitchen, opened):
    """Cut by the model's next-segment score with `bert`, by its alignment where there is one."""
    pair_task = json.loads((opened.folder / "card.json").read_text())["options"]["system"]["pair_task"]
    assert opened.has_next_segment == (pair_task == "next-segment")
    store, videos, codebook = kitchen
    moments = read_material(store, codebook, videos[0]).moments()
    if opened.has_alignment or opened.has_next_segment:
        found = of_pairs(opened, moments)
        assert found.shape == (len(moments) - 1,) and np.isfinite(found).all()


@pytest.mark.parametrize(
    ("system", "weights"), [("videobert", {"alignment": 0.0}), ("bert", {"next_segment": 0.0})]
)
def test_a_pair_head_without_weight_is_not_asked(kitchen, weights_or_skip, system, weights):
    weights_or_skip("minilm-l6")
    store, videos, codebook = kitchen
    training = dataclasses.replace(FEW, weights=LossWeights(**weights))
    options = PretrainOptions("none", Shape(1, 24, 2), training=training, system=SYSTEMS[system])
    name, _ = pretrain(store, videos, codebook, options, "cpu", random_store.quiet)
    trained = load_trained(store, name, codebook, "cpu")
    assert not trained.has_alignment and not trained.has_next_segment
