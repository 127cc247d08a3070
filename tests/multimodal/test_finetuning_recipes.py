"""How a head learns: the mean of its steps, its distance from it, rates by layer, a mix of layers; and exact resume."""

import dataclasses

import joint_samples
import numpy as np
import pytest
import torch

from multimodal.examples.packing import Example, pack, sequence
from multimodal.finetuning.options import FineTuningOptions
from multimodal.finetuning.training import TaskDataset
from multimodal.inference.head_shapes import HeadShape
from multimodal.inference.trained import Trained
from multimodal.objectives.finetuning import AVERAGE, LayerMix, Rates
from multimodal.store import InputError
from multimodal.terms import LABEL
from multimodal.training import checkpoints
from multimodal.training.loop import train

V = joint_samples.vocabulary()
SHAPE = HeadShape("sequence", "both", ("a", "b", "c"))


def examples() -> list[Example]:
    random = np.random.default_rng(0)
    drawn = [(random.integers(16, size=4).tolist(), n % 3) for n in range(12)]
    return [
        Example(*sequence(V, V.encode("now cut the onion"), tokens), {LABEL: [(0, label)]})
        for tokens, label in drawn
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    return joint_samples.trained(tmp_path_factory.mktemp("model"))


def learn(root, trained, shape=SHAPE, steps=6, distilled=0.0, rates=Rates(), dataset=None):  # noqa: B008
    """The weights and the files of so many steps."""
    made = []

    def begin(_):
        made.append(shape.make(trained, torch.eye(3), rates=rates, distilled=distilled))
        return made[-1]

    options = joint_samples.training(
        examples_per_step=4, least_steps=steps, most_steps=steps, checkpoint_steps=2
    )
    folder = train(
        root, begin, dataset or TaskDataset(examples(), 0), None, options,
        device=torch.device("cpu"), card={}, report=lambda *_: None,
    )  # fmt: skip
    return made[-1], folder


def same(one, other) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a.keys() & b.keys())


def test_without_weight_it_is_plain_fine_tuning_to_the_bit(trained, tmp_path):
    plain, _ = learn(tmp_path / "plain", trained)
    averaged, _ = learn(tmp_path / "averaged", trained, dataclasses.replace(SHAPE, averaged=True))
    none, _ = learn(tmp_path / "none", trained, distilled=0.0)
    assert same(plain, none) and same(plain, averaged), "the mean that is kept beside it moves nothing"
    distilled, folder = learn(tmp_path / "distilled", trained, distilled=1.0)
    assert not same(plain, distilled), "the control"
    assert (folder / AVERAGE).exists()


def test_the_mean_is_that_of_the_weights_after_each_step(trained):
    shape, weights = dataclasses.replace(SHAPE, averaged=True), []
    objective = shape.make(trained, torch.eye(3)).eval()
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], 0.1)
    for _ in range(4):
        optimizer.zero_grad()
        objective.losses(pack(examples()))[LABEL].backward()
        optimizer.step()
        objective.updated()
        weights.append(objective.head.classifier.weight.detach().clone())
    mean = torch.stack(weights).mean(0)
    torch.testing.assert_close(objective.average["head"].classifier.weight, mean)
    assert not torch.allclose(mean, weights[-1])
    torch.testing.assert_close(objective.take_average().head.classifier.weight.detach(), mean)


class Stopped(Exception):
    pass


class Stops(TaskDataset):
    """Fails at a step, as a run that is killed."""

    def __init__(self, at: int):
        super().__init__(examples(), 0)
        self.left = at

    def batch(self, items):
        self.left -= 1
        if not self.left:
            raise Stopped
        return super().batch(items)


def test_a_stopped_run_goes_on_to_the_same_bits(trained, tmp_path):
    shape = dataclasses.replace(SHAPE, averaged=True, adapt="adapters", width=4)
    whole, folder = learn(tmp_path / "whole", trained, shape, distilled=0.5)
    with pytest.raises(Stopped):
        learn(tmp_path / "stopped", trained, shape, distilled=0.5, dataset=Stops(5))
    assert not checkpoints.read_progress(checkpoints.latest(tmp_path / "stopped")).finished
    again, other = learn(tmp_path / "stopped", trained, shape, distilled=0.5)
    assert same(whole, again)
    assert (folder / AVERAGE).read_bytes() == (other / AVERAGE).read_bytes()


def test_lower_layers_move_less_and_later(trained, tmp_path):
    def moved(objective, part: str) -> float:
        now, before = objective.model.state_dict(), trained.model.state_dict()
        return max(float((now[n] - before[n]).abs().max()) for n in now if n.startswith(part))

    upper, lower, rows = "bert.encoder.layer.1.", "bert.encoder.layer.0.", "bert.embeddings.word"
    plain, _ = learn(tmp_path / "plain", trained)
    decayed, _ = learn(tmp_path / "decayed", trained, rates=Rates(decay=0.1))
    assert moved(decayed, upper) > 3 * moved(decayed, lower) > 3 * moved(decayed, rows) > 0
    assert moved(plain, upper) < 3 * moved(plain, lower), "the control"
    small, _ = learn(tmp_path / "small", trained, rates=Rates(encoder=0.05))
    assert moved(small, "bert.pooler.") > 3 * moved(small, upper) > 0
    assert moved(plain, "bert.pooler.") < 3 * moved(plain, upper), "the control"
    late, _ = learn(tmp_path / "late", trained, steps=3, rates=Rates(unfreezing=1.0))
    assert moved(late, upper) > 0 and moved(late, rows) < moved(late, upper)
    scale = SHAPE.make(trained, torch.eye(3), rates=Rates(unfreezing=0.9)).rate_scale
    assert [scale(depth, 0.5) for depth in range(4)] == [1.0, 1.0, 0.0, 0.0] and scale(3, 0.9) == 1.0


def test_a_mix_of_layers_begins_as_their_mean(trained):
    batch = pack(examples())
    with torch.no_grad():
        layers = trained.model.encode_layers(batch)
        torch.testing.assert_close(layers[-1], trained.model.encode(batch))
        torch.testing.assert_close(LayerMix(3)(layers), layers.mean(0))
    objective = dataclasses.replace(SHAPE, layers="mix", adapt="head").make(trained, torch.eye(3)).eval()
    objective.losses(batch)[LABEL].backward()
    assert objective.head.mix.weight_L.grad.abs().sum() > 0 and objective.head.mix.scale.grad != 0
    assert all(p.grad is None for n, p in objective.model.named_parameters() if "pooler" not in n)


@pytest.mark.parametrize(
    "wrong", [{"layers": "first"}, {"layer_decay": 0.0}, {"unfreezing": 2.0}, {"distill": -1.0}, {"window": 31}, {"stride": 17}]
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_line(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(
        InputError,
        match=f"--{name.replace('_', '-')} {value:g}" if isinstance(value, float) else f"--{name} {value}",
    ):
        FineTuningOptions(**wrong)
