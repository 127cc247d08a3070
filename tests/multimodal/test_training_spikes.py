"""Loss spikes: the training is rolled back to its last checkpoint and the batches since are skipped; a kill changes nothing."""

import json
import signal
from pathlib import Path

import joint_samples
import killed
import pytest
import torch
from safetensors.torch import load_file

from multimodal.store import InputError
from multimodal.training import batches, checkpoints, loop, train_step
from multimodal.training.distributed import SINGLE_PROCESS
from multimodal.training.loop import train
from multimodal.training.options import LARGE, TrainingOptions
from multimodal.training.train_step import DivergedError, Trainer

STEPS, EVERY, BAD = 12, 4, 7
LAST = f"step-{STEPS}"


def poison(monkeypatch, how: str, number: int = BAD, later: bool = False) -> None:
    """Makes the batch `number`, and those after it where `later`, a bad one: of 100 times the loss, or of none."""
    forward = Trainer._forward

    def poisoned(trainer, micro_batches, at):
        loss, terms = forward(trainer, micro_batches, at)
        if at is not None and (at.batches == number or (later and at.batches > number)):
            loss = {"huge": 100.0 * loss, "nan": float("nan")}[how]
        return loss, terms

    monkeypatch.setattr(Trainer, "_forward", poisoned)
    monkeypatch.setattr(train_step, "MINIMUM_LOSSES", 3)


def go(root: Path, **options) -> Path:
    wanted = {
        "examples_per_step": 5,
        "least_steps": STEPS,
        "most_steps": STEPS,
        "seed": 3,
        "checkpoint_steps": EVERY,
        "spike": 8.0,
    }
    return train(root, joint_samples.objective(lambda: joint_samples.model(7)), joint_samples.examples(1, videos=2),
                 None, joint_samples.training(**wanted | options), device=torch.device("cpu"), card={},
                 report=lambda *_: None)  # fmt: skip


def metrics(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


def equal(a: Path, b: Path) -> bool:
    one, other = (load_file(folder / "model.safetensors") for folder in (a, b))
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("how", ["huge", "nan"])
def test_rolls_back_skips_and_ends(tmp_path, monkeypatch, how):
    poison(monkeypatch, how)
    last = go(tmp_path)
    progress = checkpoints.read_progress(last)
    assert last.name == LAST and progress.skipped == ((EVERY + 1, BAD),)
    assert progress.batches == STEPS + BAD - EVERY
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    (told,) = [line for line in lines if "went_back" in line]
    assert told["step"] == EVERY + 1 and told["went_back"]["skipped"] == [EVERY + 1, BAD]
    assert told["went_back"]["because"].startswith(f"step {BAD}: the loss is ")
    assert max(line["loss"] for line in lines) < 10 * min(line["loss"] for line in lines)


def test_the_batches_that_follow_are_those_of_the_order(tmp_path, monkeypatch):
    """The second half is trained on the batches after the bad one, each once."""
    read: list[tuple[int, list[int]]] = []
    train_step_of = Trainer.train_step

    def noted(trainer, micro_batches, at, recent):
        terms = train_step_of(trainer, micro_batches, at, recent)
        read.append((at.step, micro_batches[0].ids_T.tolist()))
        return terms

    poison(monkeypatch, "nan")
    monkeypatch.setattr(Trainer, "train_step", noted)
    go(tmp_path)
    start = checkpoints.Progress(0, STEPS + BAD, 0, 0)
    every = [p[0].ids_T.tolist() for _, p in batches.steps(joint_samples.examples(1, videos=2), start, lambda step: 5, 1, SINGLE_PROCESS)]  # fmt: skip
    kept = [ids for step, ids in read if step <= EVERY] + [ids for step, ids in read[BAD - 1 :]]
    assert kept == every[:EVERY] + every[BAD : BAD + STEPS - EVERY]


@pytest.mark.parametrize(
    ("moment", "step", "seconds"),
    [("saved", EVERY, 60.0), ("stepping", 6, 60.0), ("saved", 2 * EVERY, 60.0), ("saved", BAD - 1, 0.0), ("saved", 9, 0.0)],
)  # fmt: skip
def test_killed_and_resumed_is_bit_identical(tmp_path, monkeypatch, moment, step, seconds):
    """Also where the clock asks for a checkpoint after each step: it is gone on from, and never gone back to."""
    poison(monkeypatch, "huge")
    whole = go(tmp_path / "whole")
    monkeypatch.setattr(killed, "run", lambda root, *_: go(root, checkpoint_seconds=seconds))
    assert killed.forked(tmp_path / "killed", STEPS, moment, step) == -signal.SIGKILL
    if moment == "saved":
        kept = {f"step-{EVERY * (step // EVERY)}", f"step-{step}"}
        assert {f.name for f in (tmp_path / "killed").glob("step-*")} == kept
    again = go(tmp_path / "killed", checkpoint_seconds=seconds)
    assert equal(again, whole) and metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    assert (again / "trainer.json").read_bytes() == (whole / "trainer.json").read_bytes()
    assert [f.name for f in (tmp_path / "killed").glob("step-*")] == [LAST]


def test_killed_during_a_rollback(tmp_path, monkeypatch):
    """Two checkpoints by the clock are after the one to go back to: one is gone when the end comes."""
    poison(monkeypatch, "huge")
    whole = go(tmp_path / "whole")
    remove, root = checkpoints._remove, tmp_path / "killed"

    def dying(folder: Path) -> None:
        if folder.name != f"step-{BAD - 2}":
            return remove(folder)
        return killed.die() if not (root / f"step-{BAD - 1}").exists() else None

    with monkeypatch.context() as dies:
        dies.setattr(killed, "run", lambda root, *_: go(root, checkpoint_seconds=0.0))
        dies.setattr(checkpoints, "_remove", dying)
        assert killed.forked(root, STEPS, "never", 0) == -signal.SIGKILL
    assert sorted(f.name for f in root.glob("step-*")) == [f"step-{EVERY}", f"step-{BAD - 2}"]
    again = go(root)
    assert equal(again, whole) and metrics(root) == metrics(tmp_path / "whole")


def test_a_forgotten_skip_list_would_be_seen(tmp_path, monkeypatch):
    poison(monkeypatch, "huge")
    whole = go(tmp_path / "whole")
    with monkeypatch.context() as careless:
        careless.setattr(checkpoints.Progress, "skip_batches", lambda at, to: at)
        careless.setattr(train_step, "MINIMUM_LOSSES", 10**9)
        assert not equal(go(tmp_path / "careless"), whole)


def test_before_the_first_checkpoint_a_training_begins_anew(tmp_path, monkeypatch):
    poison(monkeypatch, "nan", number=2)
    assert checkpoints.read_progress(go(tmp_path)).skipped == ((1, 2),)


def test_a_training_that_only_spikes_ends_after_so_many_rollbacks(tmp_path, monkeypatch):
    poison(monkeypatch, "nan", later=True)
    rollbacks, rollback = [], checkpoints.rollback
    monkeypatch.setattr(checkpoints, "rollback", lambda *now: rollbacks.append(rollback(*now)))
    with pytest.raises(DivergedError, match=f"^step {EVERY + 1}: the loss is nan") as error:
        go(tmp_path)
    assert "--learning-rate below 0.001" in str(error.value)
    assert "--spike" not in str(error.value), "it was given already"
    assert len(rollbacks) == loop.MAX_ROLLBACKS + 1
    assert checkpoints.latest(tmp_path).name == f"step-{EVERY}"


def test_in_the_end_the_last_checkpoint_alone_is_kept(tmp_path):
    assert STEPS - 1 > 2 * EVERY and (STEPS - 1) % EVERY
    last = go(tmp_path, least_steps=STEPS - 1, most_steps=STEPS - 1)
    assert list(tmp_path.glob("step-*")) == [last]


def test_without_the_option_a_spike_is_met(tmp_path, monkeypatch):
    poison(monkeypatch, "huge")
    last = go(tmp_path, spike=None)
    assert checkpoints.read_progress(last).skipped == () and len(metrics(tmp_path)) == STEPS


def test_the_option_needs_a_place_to_go_back_to():
    with pytest.raises(InputError, match="spike 3: .*checkpoint_steps"):
        TrainingOptions(spike=3.0)


@pytest.mark.parametrize(("moment", "step"), [("saved", EVERY), ("stepping", 6), ("rolled back", EVERY)])
def test_the_recipe_of_large_models_meets_a_poisoned_batch_and_a_kill(tmp_path, monkeypatch, moment, step):
    """The batch grows until step 8, over the spike. The last kill comes right after the rollback."""
    recipe = LARGE | {"checkpoint_steps": EVERY, "spike": 8.0, "growing": 0.7, "learning_rate": 1e-3}
    poison(monkeypatch, "huge")
    whole = go(tmp_path / "whole", **recipe)
    progress = checkpoints.read_progress(whole)
    assert progress.skipped == ((EVERY + 1, BAD),)
    careless = go(tmp_path / "careless", **recipe | {"spike": None})
    assert not equal(careless, whole) and max(
        line["loss"] for line in metrics(tmp_path / "careless")
    ) > 50 * max(line["loss"] for line in metrics(tmp_path / "whole"))
    root = tmp_path / "killed"
    if moment == "rolled back":
        rollback = checkpoints.rollback

        def dying(*now) -> None:
            rollback(*now)
            killed.die()

        monkeypatch.setattr(checkpoints, "rollback", dying)
    monkeypatch.setattr(killed, "run", lambda root, *_: go(root, **recipe))
    assert killed.forked(root, STEPS, moment, step) == -signal.SIGKILL
    monkeypatch.undo()
    poison(monkeypatch, "huge")
    again = go(root, **recipe)
    assert equal(again, whole) and metrics(root) == metrics(tmp_path / "whole")


def test_the_batch_grows_in_stages_and_as_many_examples_are_read():
    options = TrainingOptions(examples_per_step=8, epochs=3, least_steps=1, growing=0.4)
    steps = options.steps(400)
    sizes = [options.examples_at(step, steps) for step in range(1, steps + 1)]
    assert sorted(set(sizes)) == [2, 4, 6, 8] and sizes == sorted(sizes)
    assert sum(size < 8 for size in sizes) == pytest.approx(0.3 * steps, abs=1)
    assert sum(sizes) == pytest.approx(3 * 400, rel=0.03)
