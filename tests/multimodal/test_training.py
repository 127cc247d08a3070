"""Training that can be killed at any step and ends the same, stops before harm, and learns."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import joint_samples
import killed
import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

from multimodal.examples.packing import Batch
from multimodal.joint.model import JointBert
from multimodal.machine import cores
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.store import InputError
from multimodal.training import checkpoints, loop
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext
from multimodal.training.loop import train
from multimodal.training.optimizer import adamw, schedule
from multimodal.training.options import StepOptions, TrainingOptions
from multimodal.training.train_step import DivergedError, Trainer

STEPS = 12


def child(environment: dict, root: Path, *arguments: object) -> int:
    command = [sys.executable, killed.__file__, root, STEPS, *arguments]
    return subprocess.run([str(c) for c in command], env=environment, timeout=120).returncode


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def metrics(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def in_one_go(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("in_one_go")
    return killed.run(root, STEPS, 1e9).parent


def test_in_one_go(in_one_go):
    assert [f.name for f in in_one_go.glob("step-*")] == [f"step-{STEPS}"]
    lines = metrics(in_one_go)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert all(math.isfinite(line["loss"]) and "held_out" in line for line in lines)
    terms = {"text", "video", "joint", "alignment", "contrast"}
    assert all(
        line["loss"] == pytest.approx(sum(line[t] for t in terms & line.keys()), rel=1e-5) for line in lines
    )


def test_killed_and_resumed_in_new_processes(in_one_go, tmp_path, child_environment):
    assert child(child_environment, tmp_path, "saved", 8) == -signal.SIGKILL
    assert child(child_environment, tmp_path, "never", 0) == 0
    assert equal(tmp_path / f"step-{STEPS}", in_one_go / f"step-{STEPS}")
    assert metrics(tmp_path) == metrics(in_one_go)


@pytest.mark.parametrize(
    ("moment", "step"),
    [("saved", 5), ("stepping", 6), ("saving:config.json", 7), ("saved", STEPS)],
)
def test_killed_and_resumed_is_bit_identical(in_one_go, tmp_path, moment, step):
    assert killed.forked(tmp_path, STEPS, moment, step) == -signal.SIGKILL
    last = checkpoints.latest(tmp_path)
    assert last is not None and checkpoints.read_progress(last).step == step - (moment != "saved")
    assert killed.forked(tmp_path, STEPS, "never", 0) == 0
    assert equal(tmp_path / f"step-{STEPS}", in_one_go / f"step-{STEPS}")
    assert metrics(tmp_path) == metrics(in_one_go)


def test_killed_before_the_first_checkpoint(in_one_go, tmp_path):
    assert killed.forked(tmp_path, STEPS, "stepping", 9, 1e9) == -signal.SIGKILL
    assert checkpoints.latest(tmp_path) is None
    assert equal(killed.run(tmp_path, STEPS, 1e9), in_one_go / f"step-{STEPS}")
    assert metrics(tmp_path) == metrics(in_one_go)


def test_a_half_written_line_of_metrics_is_dropped(in_one_go, tmp_path):
    assert killed.forked(tmp_path, STEPS, "saved", 5) == -signal.SIGKILL
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 6, "loss": 1.0}\n{"step": 7, "lo')
    assert equal(killed.run(tmp_path, STEPS, 1e9), in_one_go / f"step-{STEPS}")
    assert metrics(tmp_path) == metrics(in_one_go)


def test_killed_before_the_older_checkpoint_is_removed(in_one_go, tmp_path, monkeypatch):
    with monkeypatch.context() as dies:
        dies.setattr(checkpoints, "_remove", lambda folder: killed.die())
        assert killed.forked(tmp_path, STEPS, "never", 0, 0.0) == -signal.SIGKILL
    assert sorted(f.name for f in tmp_path.glob("step-*")) == ["step-1", "step-2"]
    with monkeypatch.context() as dies:
        remove = checkpoints._remove
        dies.setattr(
            checkpoints, "_remove", lambda f: killed.die() if f.name == f"step-{STEPS - 1}" else remove(f)
        )
        assert killed.forked(tmp_path, STEPS, "never", 0, 0.0) == -signal.SIGKILL
    assert {f.name for f in tmp_path.glob("step-*")} == {f"step-{STEPS - 1}", f"step-{STEPS}"}
    assert equal(killed.run(tmp_path, STEPS, 0.0), in_one_go / f"step-{STEPS}")
    assert [f.name for f in tmp_path.glob("step-*")] == [f"step-{STEPS}"]


@pytest.mark.parametrize("forgotten", ["optimizer", "cursor"])
def test_a_careless_resume_would_be_seen(in_one_go, tmp_path, monkeypatch, forgotten):
    assert killed.forked(tmp_path, STEPS, "saved", 5) == -signal.SIGKILL
    careful = checkpoints.resume

    def careless(folder, objective, optimizer):
        at = careful(folder, objective, optimizer)
        if forgotten == "optimizer":
            optimizer.state.clear()
            return at
        return checkpoints.Progress(at.step, at.steps, 0, 0)

    monkeypatch.setattr(checkpoints, "resume", careless)
    assert not equal(killed.run(tmp_path, STEPS, 1e9), in_one_go / f"step-{STEPS}")


def test_the_place_and_number_of_checkpoints_changes_nothing(in_one_go, tmp_path):
    assert equal(killed.run(tmp_path, STEPS, 0.0), in_one_go / f"step-{STEPS}")


def test_a_finished_training_is_not_done_again(in_one_go):
    before = (in_one_go / "metrics.jsonl").stat().st_mtime_ns
    assert killed.run(in_one_go, STEPS, 0.0) == in_one_go / f"step-{STEPS}"
    assert (in_one_go / "metrics.jsonl").stat().st_mtime_ns == before


def go(root: Path, model: JointBert, **options) -> Path:
    return train(root, joint_samples.objective(lambda: model), joint_samples.examples(), None,
                 joint_samples.training(**options), device=torch.device("cpu"), card={}, report=lambda *_: None)  # fmt: skip


def trainer_of(model: JointBert, options: StepOptions) -> Trainer:
    return Trainer(PretrainingObjective(model, joint_samples.vocabulary()), options, SINGLE_PROCESS).wrap()


def six_items() -> Batch:
    return joint_samples.examples().batch([(0, item) for item in range(6)])


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_no_number_stops_before_the_weights_move(tmp_path, where):
    model = joint_samples.model(0)
    if where == "loss":
        model.cls["predictions"].bias.data[3] = torch.nan
    else:
        model.cls["seq_relationship"].weight.register_hook(lambda g: g * torch.inf)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(DivergedError, match=f"step 1: the {where} is (nan|inf)") as error:
        go(tmp_path, model)
    assert "--learning-rate below 0.001" in str(error.value) and "--spike" in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[n], t) or n.endswith("bias") for n, t in model.state_dict().items())
    assert all(torch.equal(before[n].nan_to_num(), t.nan_to_num()) for n, t in model.state_dict().items())
    assert checkpoints.latest(tmp_path) is None and (tmp_path / "metrics.jsonl").read_text() == ""


def test_weights_that_an_update_spoiled_are_in_no_checkpoint(tmp_path):
    """Loss and gradient were finite: the next loss would not be, after a checkpoint that nobody can go on from."""

    def spoil(optimizer: torch.optim.Optimizer, *_: object) -> None:
        optimizer.param_groups[0]["params"][0].data.view(-1)[0] = torch.inf

    hook = register_optimizer_step_post_hook(spoil)
    try:
        with pytest.raises(DivergedError, match="step 1: .* is not finite"):
            go(tmp_path, joint_samples.model(0), checkpoint_steps=1)
    finally:
        hook.remove()
    assert checkpoints.latest(tmp_path) is None


def test_the_schedule():
    factors = [schedule(step, 100, 0.1) for step in range(1, 101)]
    assert factors[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert factors[9] == 1.0 == max(factors)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] == pytest.approx(1 / 91) and min(factors) > 0
    assert [schedule(s, 4, 0.0) for s in range(1, 5)] == [1.0, 0.75, 0.5, 0.25]


def test_the_schedule_falls_to_its_final_rate():
    assert [schedule(s, 4, 0.0, final=0.2) for s in range(1, 5)] == pytest.approx([1.0, 0.8, 0.6, 0.4])
    factors = [schedule(step, 100, 0.1, final=0.1) for step in range(1, 102)]
    assert factors[:10] == pytest.approx([0.1 * i for i in range(1, 11)]), "the warm-up knows nothing of it"
    assert factors[-1] == pytest.approx(0.1) and factors[-2] == pytest.approx(0.1 + 0.9 / 91)
    assert [schedule(s, 100, 0.1, final=1.0) for s in range(10, 101)] == [1.0] * 91


def test_how_many_steps():
    asked = TrainingOptions(examples_per_step=32, epochs=20, least_steps=200, most_steps=1000)
    assert [asked.steps(n) for n in (1, 320, 321, 640, 10**6)] == [200, 200, 220, 400, 1000]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("learning_rate", 0.0, "--learning-rate 0"),
        ("learning_rate", math.nan, "--learning-rate nan"),
        ("learning_rate", math.inf, "--learning-rate inf"),
        ("warmup", 2.0, "warmup 2"),
        ("warmup", 1.34, "warmup 1.34"),
        ("warmup", math.nan, "warmup nan"),
        ("final", 1.1, "--final-rate 1.1"),
        ("final", math.nan, "--final-rate nan"),
        ("weight_decay", -1.0, "weight_decay -1"),
        ("clip", 0.0, "clip 0"),
        ("precision", "fp16", "precision fp16"),
        ("spike", 1.0, "--spike 1"),
        ("spike", math.nan, "--spike nan"),
        ("examples_per_step", 0, "examples_per_step 0"),
        ("epochs", 0, "epochs 0"),
        ("least_steps", 0, "least_steps 0"),
        ("most_steps", 0, "most_steps 0"),
        ("accumulate", 0, "accumulate 0"),
        ("checkpoint_steps", 0, "checkpoint_steps 0"),
        ("checkpoint_seconds", math.nan, "checkpoint_seconds nan"),
    ],
)
def test_an_option_out_of_its_range_is_refused(name, value, said):
    with pytest.raises(InputError) as error:
        TrainingOptions(**{name: value})
    assert str(error.value).startswith(f"{said}:") and "\n" not in str(error.value)


@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_no_rate_is_negative(warmup, steps):
    assert all(0 < schedule(step, steps, warmup) <= 1 for step in range(1, steps + 1))


def test_more_micro_batches_than_examples_are_refused(tmp_path):
    with pytest.raises(InputError, match="^--accumulate 500: at most 8") as error:
        go(tmp_path, joint_samples.model(0), accumulate=500)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("said", "threads"), [("2", 2), ("2,1", 2), (" 3 , 1", 3), ("", None), ("0", None), ("two", None)]
)
def test_the_threads_are_those_that_openmp_would_take(monkeypatch, said, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert loop._threads(SINGLE_PROCESS) == (threads or cores())
    shared = max(1, cores() // 2)
    assert loop._threads(DistributedContext(0, 4, local_world_size=2)) == (threads or shared)


def test_only_matrices_decay():
    model = joint_samples.model()
    decayed, plain = adamw(model.parameters(), 1e-3, 0.01).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.01, 0.0)
    names = {id(p): n for n, p in model.named_parameters()}
    assert len(decayed["params"]) + len(plain["params"]) == len(names)
    for p in plain["params"]:
        assert names[id(p)].endswith("bias") or "LayerNorm" in names[id(p)]
    assert all(names[id(p)].endswith("weight") and "LayerNorm" not in names[id(p)] for p in decayed["params"])


def test_one_step_is_that_of_torch():
    """The update as AdamW with clipped gradients makes it, worked out beside the loop."""
    options = StepOptions(learning_rate=1e-2, precision="fp32")
    plain = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    ours, expected = joint_samples.model(1, **plain), joint_samples.model(1, **plain)
    batch = six_items()
    trainer_of(ours, options).train_step([batch], checkpoints.Progress(5, 100, 0, 0))
    sum(PretrainingObjective(expected, joint_samples.vocabulary()).losses(batch).values()).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in expected.parameters()])
    for mine, p in zip(ours.parameters(), expected.parameters(), strict=True):
        g = p.grad * min(1.0, 1.0 / (norm.item() + 1e-6))
        rate, decay = 1e-2 * 0.5, 0.01 * (p.ndim > 1)
        after = p.data * (1 - rate * decay) - rate * g / (g.abs() + 1e-6)
        torch.testing.assert_close(mine.data, after, atol=2e-5, rtol=1e-3)


def test_held_out_losses_know_no_dropout():
    batch = six_items()
    trainer = trainer_of(joint_samples.model(1, hidden_dropout_prob=0.5), StepOptions(precision="fp32"))
    trainer.train_step([batch], checkpoints.Progress(1, 100, 0, 0))
    assert trainer.evaluate([batch]) == trainer.evaluate([batch])
    objective = trainer.objective.train()
    with torch.no_grad():
        assert objective.losses(batch) != objective.losses(batch), "dropout would be seen"


def test_the_loss_of_what_can_be_learned_falls(learned):
    lines = metrics(learned.folder.parent)
    assert len(lines) == 200
    for term in ("loss", "text", "video", "joint", "alignment", "contrast"):
        first, last = (
            sum(found) / len(found)
            for found in ([line[term] for line in part if term in line] for part in (lines[:10], lines[-10:]))
        )
        assert last < 0.75 * first, term
