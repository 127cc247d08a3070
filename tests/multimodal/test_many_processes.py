"""Distributed training: two real processes over gloo train as one does, but for fp32 rounding, also saved by two and
resumed by one, and the other way round."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import joint_samples
import pytest
import together
import torch
from safetensors.torch import load_file
from torch import nn

from multimodal.store import InputError
from multimodal.systems import SYSTEMS
from multimodal.training import checkpoints
from multimodal.training.checkpoints import OPTIMIZER
from multimodal.training.distributed import DistributedContext
from multimodal.training.optimizer import adamw

ROUNDING = {"atol": 2e-5, "rtol": 1e-4}
"""A fiftieth of one update at a learning rate of 1e-3. Measured: 2.5e-7 but for one position's row at 3.2e-6, whose
gradient is as small as AdamW's epsilon, by which rounding is made large."""


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    return together.run(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def both(tmp_path_factory, request) -> Path:
    """What two processes made, in one launch."""
    folder = tmp_path_factory.mktemp("both")
    begun = together.run(folder / "ddp_from_one", stop=together.HALF)
    shutil.copytree(begun.parent, folder / "fsdp_from_one")
    environment = request.getfixturevalue("session_environment")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", together.__file__]  # fmt: skip
    subprocess.run([*command, str(folder)], env=environment, timeout=300, check=True, capture_output=True)
    return folder


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Weights, and the optimizer's state where the training has not ended."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def apart(found: Path, wanted: Path) -> list[str]:
    """The tensors of model and optimizer that differ by more than rounding."""
    one, other = tensors(found), tensors(wanted)
    assert one.keys() == other.keys()
    return [name for name in one if not torch.allclose(one[name], other[name], **ROUNDING)]


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder.parent / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.long
@pytest.mark.parametrize("name", ["ddp", "ddp_from_one", "fsdp", "fsdp_from_one"])
def test_two_processes_give_the_weights_of_one(one, both, name):
    found = both / name / one.name
    assert apart(found, one) == []
    assert [p.name for p in found.parent.glob("step-*")] == [one.name]
    for mine, theirs in zip(metrics(found), metrics(one), strict=True):
        assert mine.keys() == theirs.keys() and mine["step"] == theirs["step"]
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    # Along the way the held-out sample has one example a process at least; at the end it is the whole.
    assert metrics(found)[-1]["held_out"] == pytest.approx(metrics(one)[-1]["held_out"], rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("name", ["ddp", "fsdp"])
@pytest.mark.parametrize("system", [s for s in together.OF_TWO if s != "electra"])
def test_two_processes_train_other_systems_as_one_does(both, tmp_path, system, name):
    """Shared layers and factors, heads that terms own, and heads of the model that no term reads."""
    alone = together.run(tmp_path, system=SYSTEMS[system])
    assert apart(both / f"{system}_{name}" / alone.name, alone) == []


@pytest.mark.long
@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_train_electra(both, name):
    """Each process draws its own samples, so the weights are those of another draw, alike but not the same."""
    folder = both / f"electra_{name}" / "step-4"
    lines = metrics(folder)
    assert len(lines) == 4 and all(0 < line["held_out"]["replaced"] < 1 for line in lines)


@pytest.mark.long
@pytest.mark.parametrize("name", ["ddp_to_one", "fsdp_to_one"])
def test_two_processes_save_the_optimizer_s_state_of_one(both, tmp_path, name):
    half = together.run(tmp_path, stop=together.HALF)
    assert (half / OPTIMIZER).exists()
    assert apart(both / name / half.name, half) == []


@pytest.mark.long
@pytest.mark.parametrize("name", ["ddp_to_one", "fsdp_to_one"])
def test_saved_by_two_resumed_by_one(one, both, tmp_path, name):
    shutil.copytree(both / name, tmp_path / "found")
    assert checkpoints.read_progress(checkpoints.latest(tmp_path / "found")).step == together.HALF
    assert apart(together.run(tmp_path / "found"), one) == []


@pytest.mark.long
@pytest.mark.parametrize("name", ["captioner_ddp", "captioner_fsdp"])
def test_two_processes_train_the_captioner_s_objective_as_one(both, tmp_path, name):
    alone = together.run_captioner(tmp_path / "alone")
    assert apart(both / name / alone.name, alone) == []
    assert apart(together.run_captioner(tmp_path / "half", examples_per_step=3), alone) != []


@pytest.mark.long
@pytest.mark.parametrize("what", ["student", *together.HEADS])
def test_two_processes_train_heads_and_students_as_one_does(both, tmp_path, what):
    """Weights that stay as they are, a teacher that learns nothing, a mean that is kept beside."""
    train = together.run_student if what == "student" else functools.partial(together.run_head, name=what)
    alone = train(tmp_path)
    assert apart(both / f"{what}_ddp" / alone.name, alone) == []


@pytest.mark.long
def test_micro_batches_and_processes_at_once(both, tmp_path):
    whole = together.run(tmp_path, weights=together.NO_CONTRAST)
    assert apart(both / "in_parts" / whole.name, whole) == []


def test_micro_batches_give_the_update_of_the_whole_step(tmp_path):
    """All but the contrast, which compares within a micro-batch alone."""
    whole = together.run(tmp_path / "whole", weights=together.NO_CONTRAST)
    assert apart(together.run(tmp_path / "parts", weights=together.NO_CONTRAST, accumulate=3), whole) == []
    careless = together.run(tmp_path / "contrast", accumulate=3)
    assert apart(careless, together.run(tmp_path / "one")) != [], "the contrast of micro-batches is another"


def test_a_forgotten_process_would_be_seen(one, tmp_path):
    """The control: half of the examples, as one of two processes has them, give other weights."""
    assert apart(together.run(tmp_path, examples_per_step=3), one) != []


def test_too_few_examples_are_refused(tmp_path):
    with pytest.raises(InputError, match="^7 processes: .* 6 "):
        together.run(tmp_path, context=DistributedContext(0, 7))
    with pytest.raises(InputError, match="^--accumulate 4: at most 3.* 2 processes"):
        together.run(tmp_path, context=DistributedContext(0, 2), accumulate=4)


def test_one_process_needs_no_wrapper():
    model = joint_samples.model(0)
    assert DistributedContext(sharded=True).wrap(model, nn.ModuleList()) is model
    assert adamw(model.parameters(), 1e-3, 0.01).param_groups[0]["fused"]
