"""A training that ends early by its held-out loss: when, with which learning rates, and to the same bit when killed."""

import dataclasses
import json
import math
import signal
from pathlib import Path

import joint_samples
import killed
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from multimodal.training import checkpoints
from multimodal.training.checkpoints import COOLDOWN, LEAST_GAIN, SMOOTHED, Progress
from multimodal.training.loop import train
from multimodal.training.optimizer import schedule

STEPS, PATIENCE, LEAST = 40, 4, 5
"""A held-out loss after each step."""


def go(root: Path, seconds: float = 60.0, said: list | None = None) -> Path:
    """One video is learned by heart, and it and another is judged by."""
    options = joint_samples.training(
        examples_per_step=5, epochs=STEPS, least_steps=LEAST, most_steps=STEPS, seed=3, learning_rate=1e-2, patience=PATIENCE,
        checkpoint_seconds=seconds,
    )  # fmt: skip
    return train(
        root, joint_samples.objective(lambda: joint_samples.quick_model(7)), joint_samples.examples(1, videos=1),
        joint_samples.examples(2, videos=2), options, device=torch.device("cpu"), card={},
        report=lambda *now: said.append(now) if said is not None else None,
    )  # fmt: skip


def metrics(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> tuple[Path, list]:
    said: list = []
    return go(tmp_path_factory.mktemp("ended"), said=said), said


def test_it_ends_when_no_held_out_loss_was_lower_for_so_long(ended):
    folder, said = ended
    lines = metrics(folder.parent)
    losses = {line["step"]: sum(line["held_out"].values()) for line in lines if "held_out" in line}
    steps, values = list(losses), np.array(list(losses.values()))
    means = np.convolve(values, np.ones(SMOOTHED) / SMOOTHED, "valid")
    lowest, at, turn = math.inf, 0, None
    for step, loss in zip(steps[SMOOTHED - 1 :], means, strict=True):
        if loss < lowest * (1 - LEAST_GAIN):
            lowest, at = loss, step
        elif turn is None and step >= max(LEAST, at + PATIENCE):
            turn = step
    last = turn + -(-turn * COOLDOWN // 1)
    assert turn < len(lines) == last < STEPS
    progress = checkpoints.read_progress(folder)
    assert progress.finished and progress.early == (turn, STEPS) and progress.steps == last
    assert said[-1][:2] == (last, last) and f"step {progress.lowest[1]}" in said[-1][2]
    rates = [line["learning_rate"] for line in lines]
    assert rates[:turn] == [1e-2 * schedule(s, STEPS, 0.1) for s in range(1, turn + 1)]
    falls = [a - b for a, b in zip(rates[turn - 1 :], rates[turn:], strict=False)]
    assert falls == pytest.approx([rates[turn - 1] / (last + 1 - turn)] * len(falls)), (
        "evenly to 0, one step after"
    )


@pytest.mark.parametrize("moment", ["at the turn", "while the rate falls"])
def test_killed_and_resumed_is_bit_identical(ended, tmp_path, monkeypatch, moment):
    folder, _ = ended
    turn, _ = checkpoints.read_progress(folder).early
    step = {"at the turn": turn, "while the rate falls": turn + 1}[moment]
    monkeypatch.setattr(killed, "run", lambda root, *_: go(root, seconds=0.0))
    assert killed.forked(tmp_path, STEPS, "saved", step) == -signal.SIGKILL
    again = go(tmp_path)
    one, other = (load_file(f / "model.safetensors") for f in (folder, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert metrics(tmp_path) == metrics(folder.parent)
    assert (again / "trainer.json").read_bytes() == (folder / "trainer.json").read_bytes()


def test_a_forgotten_lowest_loss_would_be_seen(ended, tmp_path, monkeypatch):
    folder, _ = ended
    turn, _ = checkpoints.read_progress(folder).early
    monkeypatch.setattr(killed, "run", lambda root, *_: go(root, seconds=0.0))
    assert killed.forked(tmp_path, STEPS, "saved", turn - 1) == -signal.SIGKILL
    careful = checkpoints.resume

    def careless(*given) -> Progress:
        at = careful(*given)
        return Progress(at.step, at.steps, at.epoch, at.cursor)

    monkeypatch.setattr(checkpoints, "resume", careless)
    assert checkpoints.read_progress(go(tmp_path)) != checkpoints.read_progress(folder)


def test_an_end_that_would_not_come_sooner_is_none():
    before = Progress(32, STEPS, 0, 32, held_out=(1.2, 1.2, 1.2), lowest=(1.0, 20))
    assert before.judged(1.2, PATIENCE, LEAST).early == (32, STEPS)
    late = Progress(33, STEPS, 0, 33, held_out=(1.2, 1.2, 1.2), lowest=(1.0, 20))
    assert late.judged(1.2, PATIENCE, LEAST) == late


def test_one_loss_that_is_low_by_chance_ends_nothing():
    """A loss that falls evenly, but for one that lies below those after it: taken by itself it would end the training."""
    losses = [3.0 - 0.05 * n for n in range(12)]
    losses[4] = 2.55
    at = Progress(0, 100, 0, 0)
    for step, loss in enumerate(losses, 1):
        at = dataclasses.replace(at, step=step).judged(loss, PATIENCE, LEAST)
        assert at.early is None, step
