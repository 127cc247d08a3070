"""The held-out loss: a fixed sample along the way that costs a bounded share of the training, all of it at the end."""

import json
from collections.abc import Sequence
from pathlib import Path

import joint_samples
import pytest
import torch

from multimodal.examples.packing import Batch
from multimodal.examples.sampling import Examples
from multimodal.joint.model import JointBert
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.training import batches
from multimodal.training.batches import (
    FORWARD_COST,
    HELD_OUT_EVALUATIONS,
    HELD_OUT_SHARE,
    eval_batches,
    held_out_sample,
)
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext
from multimodal.training.loop import train
from multimodal.training.options import StepOptions
from multimodal.training.train_step import Trainer

STEPS, PER_STEP = 80, 8
HELD_OUT = joint_samples.examples(2, videos=4)


class Noted:
    """A source that notes the items of each batch."""

    def __init__(self, source: Examples):
        self.source, self.read = source, []

    def __len__(self) -> int:
        return len(self.source)

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)

    def batch(self, items: Sequence[tuple[int, int]]) -> Batch:
        self.read.append(list(items))
        return self.source.batch(items)


@pytest.mark.parametrize("steps", [200, 2_000, 20_000])
def test_the_sample_costs_a_bounded_share_of_the_training(steps):
    found = held_out_sample(HELD_OUT, steps, 32, 1)
    assert len(set(found)) == len(found) <= len(HELD_OUT)
    share = min(steps, HELD_OUT_EVALUATIONS) * FORWARD_COST * len(found) / (steps * 32)
    assert share <= HELD_OUT_SHARE
    assert len(found) == len(HELD_OUT) or share > 0.9 * HELD_OUT_SHARE, "as many as it may be"


def test_the_sample_is_fixed_and_has_an_example_a_process():
    assert held_out_sample(HELD_OUT, 400, 8, 1) == held_out_sample(
        joint_samples.examples(2, videos=4), 400, 8, 1
    )
    assert len(held_out_sample(HELD_OUT, 1, 1, 3)) == 3
    for rank in range(3):
        batches = eval_batches(HELD_OUT, [4, 7, 9, 11], 3, DistributedContext(rank, 3))
        assert [batch.tokens > 0 for batch in batches] == [True], (
            "the last, shorter part joins the one before it"
        )


def test_the_last_evaluation_is_bounded_too_and_shows_its_progress(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "LAST_HELD_OUT", 20)
    held_out, said = Noted(HELD_OUT), []
    options = joint_samples.training(examples_per_step=PER_STEP, least_steps=2, most_steps=2)
    train(tmp_path, joint_samples.objective(), joint_samples.examples(1), held_out, options, device=torch.device("cpu"),
          card={}, report=lambda *report: said.append(report))  # fmt: skip
    last = [item for part in held_out.read for _, item in part][-20:]
    assert len(HELD_OUT) > 20 and len(set(last)) == 20
    of_it = [words for done, total, words in said if f"20 of {len(HELD_OUT)}" in words]
    assert len(of_it) == 3 and all(done == total for done, total, words in said if words in of_it)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Noted]:
    held_out = Noted(HELD_OUT)
    options = joint_samples.training(examples_per_step=PER_STEP, least_steps=STEPS, most_steps=STEPS)
    folder = train(tmp_path_factory.mktemp("run"), joint_samples.objective(), joint_samples.examples(1), held_out,
                   options, device=torch.device("cpu"), card={}, report=lambda *_: None)  # fmt: skip
    return folder, held_out


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder.parent / "metrics.jsonl").read_text().splitlines()]


def test_the_sample_along_the_way_and_the_whole_at_the_end(run):
    folder, held_out = run
    evaluated = [line["step"] for line in lines(folder) if "held_out" in line]
    every = STEPS // HELD_OUT_EVALUATIONS
    assert evaluated == list(range(every, STEPS + 1, every))
    sample = held_out_sample(HELD_OUT, STEPS, PER_STEP, 1)
    assert [item for _, item in held_out.read[0]] == sample, "drawn once, before the first step"
    assert sorted(item for part in held_out.read[1:] for _, item in part) == list(range(len(HELD_OUT)))
    assert {epoch for part in held_out.read for epoch, _ in part} == {0}


def test_the_last_held_out_loss_is_that_of_the_model_in_the_checkpoint(run):
    folder, _ = run
    objective = PretrainingObjective(JointBert.load(folder), joint_samples.vocabulary())
    trainer = Trainer(objective, StepOptions(precision="fp32"), SINGLE_PROCESS)
    whole = eval_batches(HELD_OUT, range(len(HELD_OUT)), PER_STEP, SINGLE_PROCESS)
    said = lines(folder)[-1]["held_out"]
    assert said == pytest.approx(trainer.evaluate(whole), rel=1e-5)
    few = eval_batches(HELD_OUT, held_out_sample(HELD_OUT, STEPS, PER_STEP, 1), PER_STEP, SINGLE_PROCESS)
    assert said != pytest.approx(trainer.evaluate(few), rel=1e-5), "the sample alone would be seen"
