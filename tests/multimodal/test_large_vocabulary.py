"""Logits over a part of the vocabulary, and the product with a large table, against PyTorch's own."""

import dataclasses

import joint_samples
import pytest
import torch
import torch.nn.functional as F

from multimodal.inference.cloze import visual_probabilities
from multimodal.inference.trained import Trained
from multimodal.joint.large_vocabulary import FEW_STATES, LARGE_TABLE, TiedLogits
from multimodal.joint.model import JointBert

V = joint_samples.vocabulary()


@pytest.mark.parametrize("states", [1, FEW_STATES.start, FEW_STATES.stop - 1, FEW_STATES.stop])
@pytest.mark.parametrize("rows", [300, LARGE_TABLE // 64 + 5])
def test_logits_and_gradients_are_those_of_a_linear_layer(states, rows):
    torch.manual_seed(0)
    x, table, bias = torch.randn(states, 64), torch.randn(rows, 64), torch.randn(rows)
    for one in (x, table, bias):
        one.requires_grad_()
    weights = torch.randn(states, rows)
    found, gradients = [], []
    for logits in (TiedLogits.apply(x, table, bias), F.linear(x, table, bias)):
        found.append(logits.detach())
        gradients.append(torch.autograd.grad((logits * weights).sum(), (x, table, bias)))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize(
    "shape", [{}, {"frozen_rows": V.visual}, {"embedding_size": 8, "visual_rows": V.visual}]
)
@pytest.mark.parametrize(
    "columns",
    [
        V.visual_ids,
        slice(len(V.words)),
        slice(3, V.first_visual + 2),
        torch.tensor([1, 4, V.first_visual, V.size - 1]),
        torch.tensor([V.first_visual + 1]),
        torch.tensor([2, 3]),
    ],
    ids=["visual", "words", "across", "some of both", "one clip", "two words"],
)
def test_a_part_of_the_logits_is_that_of_all(shape, columns):
    options = dataclasses.replace(joint_samples.model(0).options, **shape)
    model = JointBert(options).init_weights(1).eval()
    x = torch.randn(5, options.hidden_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model.cloze(x, columns=columns), model.cloze(x)[:, columns])


@pytest.mark.parametrize("most", [2, V.visual - 1])
def test_clips_that_are_not_allowed_have_no_probability(most, tmp_path):
    trained = Trained("random", tmp_path, joint_samples.model(2), V, "")
    allowed = torch.arange(V.visual) < most
    asked = [(), V.encode("cut")], [[1, -1, -1], [-1, 2]]
    (every, some) = (
        visual_probabilities(trained, *asked),
        visual_probabilities(trained, *asked, allowed=allowed),
    )
    expected = every * allowed
    torch.testing.assert_close(some, expected / expected.sum(1, keepdim=True))
    assert some.shape == (3, V.visual) and not some[:, most:].any()
