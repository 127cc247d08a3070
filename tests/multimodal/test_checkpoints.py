"""Checkpoints are there whole or not at all, and a changed one is refused by the name of its file."""

import json
import signal
from pathlib import Path

import joint_samples
import killed
import pytest
import torch

from multimodal.inference.trained import OPENED, load_trained
from multimodal.joint.model import JointBert
from multimodal.objectives.pretraining import PretrainingObjective
from multimodal.store import InputError, Store, changed_files, is_published
from multimodal.training import checkpoints
from multimodal.training.checkpoints import OPTIMIZER, Progress
from multimodal.training.distributed import SINGLE_PROCESS
from multimodal.training.options import StepOptions
from multimodal.training.train_step import Trainer

FILES = (
    "tokenizer_config.json",
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    OPTIMIZER,
    "trainer.json",
    "card.json",
)


def trainer_of(model: JointBert) -> Trainer:
    return Trainer(PretrainingObjective(model, joint_samples.vocabulary()), StepOptions(), SINGLE_PROCESS)


def save_trainer(root: Path, trainer: Trainer, step: int, **more) -> Path:
    weights, optimizer_state = trainer.state()
    progress, card = Progress(step, 10, 1, 2), {"codebook": "c"}
    return checkpoints.save(root, trainer.objective, weights, optimizer_state, progress, card, **more)


def save(root: Path, step: int, seed: int = 0, frozen: int = 0, **more) -> Path:
    """A checkpoint after `step` steps of 10, with a state of the optimizer."""
    trainer = trainer_of(joint_samples.model(seed, frozen_rows=frozen))
    for parameter in trainer.objective.parameters():
        parameter.grad = torch.ones_like(parameter)
    trainer.optimizer.step()
    return save_trainer(root, trainer, step, **more)


def test_the_files_of_a_checkpoint(tmp_path):
    folder = save(tmp_path, 3)
    assert {p.name for p in folder.iterdir()} == {*FILES, "manifest.json"}
    assert checkpoints.latest(tmp_path) == folder and changed_files(folder) == []
    assert checkpoints.read_progress(folder) == Progress(3, 10, 1, 2)
    assert json.loads((folder / "card.json").read_text()) == {"codebook": "c"}


def test_what_describes_a_checkpoint_is_published_with_it(tmp_path):
    folder = save(tmp_path, 3, describe=lambda part, at: (part / "README.md").write_text(f"step {at.step}"))
    assert (folder / "README.md").read_text() == "step 3"
    assert changed_files(folder) == []
    (folder / "README.md").write_text("step 4")
    assert changed_files(folder) == ["README.md"]


def test_the_optimizer_s_state_goes_when_the_training_has_ended(tmp_path):
    folder = save(tmp_path, 10)
    assert {p.name for p in folder.iterdir()} == {*FILES, "manifest.json"} - {OPTIMIZER}
    checkpoints.check(folder)


def test_a_new_checkpoint_takes_the_place_of_the_old(tmp_path):
    save(tmp_path, 9)
    folder = save(tmp_path, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["step-10"]
    assert checkpoints.latest(tmp_path) == folder, "10 comes after 9"


@pytest.mark.parametrize("frozen", [0, joint_samples.VISUAL])
def test_weights_and_optimizer_come_back(tmp_path, frozen):
    folder = save(tmp_path, 3, seed=1, frozen=frozen)
    trainer = trainer_of(joint_samples.model(2, frozen_rows=frozen))
    assert checkpoints.resume(folder, trainer.objective, trainer.optimizer) == Progress(3, 10, 1, 2)
    again = save_trainer(tmp_path / "again", trainer, 3)
    assert all((again / f).read_bytes() == (folder / f).read_bytes() for f in FILES)


@pytest.mark.parametrize("file", [*FILES, "manifest.json"])
@pytest.mark.parametrize("damage", ["a byte", "cut short", "gone"])
def test_a_changed_file_is_refused_by_name(tmp_path, file, damage):
    store = Store(tmp_path / "store")
    folder = save(store.model("m"), 3)
    path = folder / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "gone":
        path.unlink()
        if file == "manifest.json":
            assert checkpoints.latest(store.model("m")) is None, "not published"
            return
    else:
        path.write_bytes(data if damage == "a byte" else data[: len(data) // 2])
    uses = [lambda: checkpoints.check(folder), lambda: killed.run(store.model("m"), 10, 1e9)]
    if file in OPENED:
        uses.append(lambda: load_trained(store, "m", "c", "cpu"))
    elif file != "manifest.json":
        load_trained(store, "m", "c", "cpu")
    for use in uses:
        # A manifest with another byte may tell of any file that it is another one.
        with pytest.raises(InputError, match=str(folder) if file == "manifest.json" else file) as found:
            use()
        assert "\n" not in str(found.value)


def test_a_manifest_of_another_form_is_refused(tmp_path):
    store = Store(tmp_path / "store")
    folder = save(store.model("m"), 3)
    for text in (
        "",
        "[]",
        "{}",
        '{"files": 3}',
        '{"files": []}',
        '{"files": {}}',
        "\udcff",
        '{"files": {"config.json": 5}}',
    ):
        (folder / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
        for use in (lambda: checkpoints.check(folder), lambda: load_trained(store, "m", "c", "cpu")):
            with pytest.raises(InputError, match=str(folder)):
                use()


@pytest.mark.parametrize("after", [*FILES, "manifest.json"])
def test_killed_between_the_files_of_a_checkpoint(tmp_path, after):
    store = Store(tmp_path)
    root = store.model("m")
    assert killed.forked(root, 6, f"saving:{after}", 4) == -signal.SIGKILL
    last = checkpoints.latest(root)
    assert last == root / "step-3" and is_published(last) and changed_files(last) == []
    left = list(root.glob(".*.part"))
    assert [p.name.split(".")[1] for p in left] == ["step-4"] and (left[0] / after).exists()
    with store.writing():
        assert sorted(p.name for p in root.iterdir()) == ["metrics.jsonl", "step-3", "tensorboard"]
