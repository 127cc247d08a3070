"""Checkpoints are there whole or not at all, and a changed one is refused by the name of its file."""

import json
import signal
from pathlib import Path

import joint_samples
import killed
import pytest
import torch

from multimodal.inference.trained import load_trained
from multimodal.store import InputError, Store, changed_files, is_published
from multimodal.training import checkpoints
from multimodal.training.checkpoints import Progress
from multimodal.training.optimizer import adamw

FILES = (
    "README.md",
    "tokenizer_config.json",
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "optimizer.safetensors",
    "trainer.json",
    "card.json",
)


def save(root: Path, step: int, seed: int = 0, frozen: int = 0) -> Path:
    model = joint_samples.model(seed, frozen_rows=frozen)
    optimizer = adamw(model, 1e-3, 0.01)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    progress = Progress(step, 10, 1, 2)
    return checkpoints.save(root, model, joint_samples.vocabulary(), optimizer, progress, {"codebook": "c"})


def test_what_is_in_a_checkpoint(tmp_path):
    folder = save(tmp_path, 3)
    assert {p.name for p in folder.iterdir()} == {*FILES, "manifest.json"}
    assert checkpoints.latest(tmp_path) == folder and changed_files(folder) == []
    assert checkpoints.read_progress(folder) == Progress(3, 10, 1, 2)
    assert json.loads((folder / "card.json").read_text()) == {"codebook": "c"}


def test_a_new_checkpoint_takes_the_place_of_the_old(tmp_path):
    save(tmp_path, 9)
    folder = save(tmp_path, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["step-10"]
    assert checkpoints.latest(tmp_path) == folder, "10 comes after 9"


@pytest.mark.parametrize("frozen", [0, joint_samples.VISUAL])
def test_weights_and_optimizer_come_back(tmp_path, frozen):
    folder = save(tmp_path, 3, seed=1, frozen=frozen)
    model = checkpoints.JointBert.load(folder)
    optimizer = adamw(model, 1e-3, 0.01)
    assert checkpoints.resume(folder, model, optimizer) == Progress(3, 10, 1, 2)
    again = checkpoints.save(
        tmp_path / "again",
        model,
        joint_samples.vocabulary(),
        optimizer,
        Progress(3, 10, 1, 2),
        {"codebook": "c"},
    )
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
    whose = r"manifest.json|is not as it was written" if file == "manifest.json" else file
    for use in (
        lambda: checkpoints.check(folder),
        lambda: load_trained(store, "m", "c", "cpu"),
        lambda: killed.run(store.model("m"), 10, 1e9),
    ):
        with pytest.raises(InputError, match=whose) as found:
            use()
        assert "\n" not in str(found.value)


def test_a_manifest_of_another_form_is_refused(tmp_path):
    folder = save(tmp_path, 3)
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
        with pytest.raises(InputError):
            checkpoints.check(folder)


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
