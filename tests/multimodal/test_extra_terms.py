"""The terms that systems add to the loss: each prediction worked out alone by plain PyTorch."""

import joint_samples
import pytest
import torch
import torch.nn.functional as F

from multimodal.examples.packing import pack
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.systems import SYSTEMS
from multimodal.terms import BOUNDARY, SHUFFLED

V = joint_samples.vocabulary()


def objective_and_batch(name: str) -> tuple:
    examples = joint_samples.examples(1, system=SYSTEMS[name])
    batch = pack([example for item in range(0, len(examples), 4) for example in examples.draw(0, item)])
    return PretrainingObjective(joint_samples.model(3), V, system=SYSTEMS[name], seed=3).eval(), batch


def test_the_boundary_objective_predicts_each_token_from_its_boundaries_and_its_place():
    found, batch = objective_and_batch("spanbert")
    term, reading = found.terms[BOUNDARY], found.read(batch)
    table = found.model.bert["embeddings"].word_embeddings.weight
    term.bias.data.normal_()
    expected, places = 0.0, set()
    for left, right, position, label in batch.asks[BOUNDARY].tolist():
        places.add(position - left - 1)
        x = torch.cat(
            [reading.x_TH[left], reading.x_TH[right], term.place_embeddings.weight[position - left - 1]]
        )
        for layer in term.layers:
            x = F.layer_norm(
                F.gelu(layer["dense"].weight @ x + layer["dense"].bias),
                x.shape[:0] + (len(layer["dense"].bias),),
                layer["LayerNorm"].weight,
                layer["LayerNorm"].bias,
                layer["LayerNorm"].eps,
            )
        expected += F.cross_entropy(table @ x + term.bias, torch.tensor(label)).item()
    assert found.losses(batch)[BOUNDARY].item() * len(batch.asks[BOUNDARY]) == pytest.approx(
        expected, rel=1e-5
    )
    assert {0, 1, 2} <= places and len(places) == max(places) + 1


def test_shuffled_tokens_are_asked_of_the_cloze_head():
    found, batch = objective_and_batch("structbert")
    position, label = batch.asks[SHUFFLED].unbind(1)
    logits = found.model.cloze(found.model.encode(batch)[position])
    assert found.losses(batch)[SHUFFLED].item() == pytest.approx(
        F.cross_entropy(logits, label).item(), rel=1e-5
    )
    assert len(position) >= 9
