"""Terms of the loss: parameters of their own are trained, kept beside the model and resumed; sums over nothing are 0."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import joint_samples
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from multimodal.examples.packing import Batch
from multimodal.joint.model import JointBert
from multimodal.objectives.cloze import Cloze
from multimodal.objectives.contrast import Contrast
from multimodal.objectives.objective import TERM_FILE, Gather, Objective, Reading, Term
from multimodal.objectives.pairs import PairTask
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.objectives.weights import LossWeights
from multimodal.store import changed_files
from multimodal.terms import ALIGNMENT, PRETRAINING_TERMS, TEXT
from multimodal.training import checkpoints
from multimodal.training.checkpoints import OPTIMIZER
from multimodal.training.loop import train

transformers = pytest.importorskip("transformers")
V = joint_samples.vocabulary()
MODALITY = "modality"
STEPS, HALF = 6, 3


class Modality(Term):
    """Tells the token type from each state, by a head that the model does not have."""

    names = (MODALITY,)

    def __init__(self, hidden: int):
        super().__init__()
        self.head = nn.Linear(hidden, 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def counts(self, batch: Batch) -> list[int]:
        return [batch.tokens]

    def forward(self, reading: Reading, batch: Batch, gather: Gather) -> torch.Tensor:
        return F.cross_entropy(self.head(reading.x_TH), batch.types_T, reduction="sum")[None]


class WithModality(PretrainingObjective):
    """The pre-training objective with one term more."""

    def __init__(self, model: JointBert):
        terms = (Cloze(), PairTask(ALIGNMENT), Contrast(), Modality(model.options.hidden_size))
        Objective.__init__(self, model, terms, dataclasses.asdict(LossWeights()) | {MODALITY: 1.0})
        self.vocabulary = V


def run(
    root: Path, stop: int | None = None, begin: Callable = lambda _: WithModality(joint_samples.model(7))
) -> Path:
    """A training of :data:`STEPS` steps; with `stop` it ends after so many, at a checkpoint."""

    def report(done: int, total: int, words: str) -> None:
        if stop is not None and done > stop:
            raise InterruptedError

    options = joint_samples.training(
        examples_per_step=6,
        least_steps=STEPS,
        most_steps=STEPS,
        seed=3,
        checkpoint_steps=HALF,
        learning_rate=1e-2,
    )
    try:
        return train(root, begin, joint_samples.examples(1, videos=2), joint_samples.examples(2, videos=1), options,
                     device=torch.device("cpu"), card={}, report=report)  # fmt: skip
    except InterruptedError:
        return root / f"step-{stop}"


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors") | load_file(folder / TERM_FILE)


def equal(a: Path, b: Path) -> bool:
    one, other = tensors(a), tensors(b)
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder.parent / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("whole"))


def test_the_parameters_of_a_term_are_trained(whole):
    head = load_file(whole / TERM_FILE)
    assert set(head) == {f"terms.{MODALITY}.head.weight", f"terms.{MODALITY}.head.bias"}
    assert all(tensor.any() for tensor in head.values()), "they began at 0"
    lines = metrics(whole)
    assert lines[-1][MODALITY] < 0.9 * lines[0][MODALITY]
    terms = sum(lines[0].get(name, 0.0) for name in (*PRETRAINING_TERMS, MODALITY))
    assert lines[0]["loss"] == pytest.approx(terms, rel=1e-5)
    assert MODALITY in lines[-1]["held_out"]


def test_the_folder_of_a_model_with_such_a_term_opens_in_transformers(whole):
    _, about = transformers.BertForPreTraining.from_pretrained(whole, output_loading_info=True)
    assert not about["missing_keys"] and not about["unexpected_keys"] and not about["mismatched_keys"]
    assert (
        changed_files(whole) == [] and TERM_FILE in json.loads((whole / "manifest.json").read_text())["files"]
    )


def test_a_model_without_such_a_term_has_no_file_of_terms(tmp_path):
    folder = run(tmp_path, stop=HALF, begin=joint_samples.objective(lambda: joint_samples.model(7)))
    assert folder.is_dir() and not (folder / TERM_FILE).exists()


def test_a_stopped_training_goes_on_to_the_same_parameters(whole, tmp_path):
    half = run(tmp_path, stop=HALF)
    assert checkpoints.latest(tmp_path) == half
    assert f"terms.{MODALITY}.head.weight.exp_avg" in load_file(half / OPTIMIZER)
    assert not equal(half, whole)
    again = run(tmp_path)
    assert equal(again, whole) and metrics(again) == metrics(whole)


def test_forgotten_parameters_of_a_term_would_be_seen(whole, tmp_path, monkeypatch):
    run(tmp_path, stop=HALF)
    monkeypatch.setattr(Objective, "load", lambda objective, folder: objective.load_model(folder))
    assert not equal(run(tmp_path), whole)


def test_an_objective_loads_what_it_saved(whole):
    objective = WithModality(joint_samples.model(1))
    objective.load(whole)
    found = {name: t for name, t in objective.state_dict().items() if name.startswith("terms.")}
    assert found.keys() == load_file(whole / TERM_FILE).keys()
    assert all(torch.equal(tensor, tensors(whole)[name]) for name, tensor in found.items())
    assert torch.equal(
        objective.model.bert["pooler"]["dense"].weight, tensors(whole)["bert.pooler.dense.weight"]
    )


@pytest.mark.parametrize("names", [(), (TEXT,)])
def test_a_term_that_nothing_is_asked_of_is_0_and_reaches_each_parameter(names):
    """DDP waits for a gradient of each parameter in each process, whatever its shard asks for."""
    objective = PretrainingObjective(joint_samples.model(0), V)
    batch = joint_samples.examples().batch([(0, item) for item in range(4)])
    batch = dataclasses.replace(batch, asks={name: batch.asks[name] for name in names})
    counts = objective.counts(batch)
    loss, sums = objective(batch, counts)
    asked = dict(zip(objective.names, zip(sums.tolist(), counts.tolist(), strict=True), strict=True))
    assert {name for name, found in asked.items() if found != (0, 0)} == set(names)
    assert objective.losses(batch).keys() == set(names)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())
    assert any(p.grad.any() for p in objective.parameters()) == bool(names)
