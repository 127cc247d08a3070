"""Numbers that cannot be learned from: weights that are not finite, and features too few, all alike, or not finite."""

import json
import math
import os
from pathlib import Path

import imported_corpus
import numpy as np
import pytest
import safetensors.torch
import stages
import torch
from command import run_inside
from stages import REFUSED
from tiny_store import three_videos

from multimodal.answers.cache import update_cache
from multimodal.answers.session import open_trained
from multimodal.catalogue import Catalogue
from multimodal.library import usable
from multimodal.store import Store, canonical_json, file_digest
from multimodal.training.checkpoints import latest

QUESTIONS = (
    ("search", "chop the carrot"), ("search", "--like", "kept@1"), ("caption", "kept@1"), ("next", "kept@3"),
    ("classify", "kept@1", "--verbs", "chop,wash"), ("imagine", "chop"),
)  # fmt: skip


KINDS = ("one clip", "alike", "tiny", "huge", "a video of NaN")


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return imported_corpus.write_bert(tmp_path_factory.mktemp("numbers") / "bert")


def spoil(weights: Path, value: float) -> None:
    """One number of the largest table becomes another."""
    tensors = safetensors.torch.load_file(weights)
    name = max(tensors, key=lambda n: tensors[n].numel())
    tensors[name][0, 0] = value
    safetensors.torch.save_file(tensors, weights)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_checkpoint_to_start_from_that_is_not_finite_is_refused_in_a_line(bert, tmp_path, value):
    from multimodal.joint.bert_checkpoint import read_bert
    from multimodal.store import InputError

    read_bert(bert)
    folder = tmp_path / "bert"
    folder.mkdir()
    for file in bert.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    spoil(folder / "model.safetensors", value)
    with pytest.raises(InputError, match="finite"):
        read_bert(folder)


def test_a_model_whose_weights_are_not_finite_is_told_by_each_question(tmp_path, capsys, monkeypatch):
    """Its sums are right: it was written so. No answer has NaN in it, and no question a traceback."""
    monkeypatch.setenv("VIDEOBERT_CACHE", str(tmp_path / "weights"))
    store = three_videos(tmp_path)
    with Catalogue(store.catalogue) as catalogue:
        update_cache(store, open_trained(store, catalogue, "cpu"), usable(catalogue), lambda *_: None)
    folder = latest(store.model("m"))
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    for tensor in weights.values():
        tensor.fill_(math.nan)
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.safetensors"] = file_digest(folder / "model.safetensors")
    (folder / "manifest.json").write_text(canonical_json(manifest))
    for question in QUESTIONS:
        ended = run_inside(capsys, *question, "--json", "--store", store.root)
        assert ended.returncode == 2 and "finite" in ended.stderr, (question, ended.stdout, ended.stderr)
        assert "Traceback" not in ended.stderr and len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", KINDS if os.environ.get("VIDEOBERT_FAULTS") else KINDS[:1])
def test_features_that_say_little_are_learned_from_or_refused_in_a_line(bert, tmp_path, kind):
    """A whole run of them ends, and what it made is finite."""
    corpus, store = imported_corpus.write_corpus(tmp_path / "corpus", videos=4), tmp_path / "store"
    for n, file in enumerate(sorted(corpus.glob("*.npy"))):
        values = np.load(file)
        if kind == "alike":
            values[:] = 1.0
        elif kind == "one clip":
            values = values[:1]
        elif kind == "tiny":
            values *= np.float32(1e-30)
        elif kind == "huge":
            values *= np.float32(1e4)
        elif n == 0:
            values[0, 0] = np.nan
        np.save(file, values)
    do = lambda: stages.work(store, corpus, bert)  # noqa: E731
    status, line = stages.run(do, tmp_path / "log")
    assert status in (0, REFUSED), line
    with Catalogue(Store(store).catalogue, read_only=True) as catalogue:
        states = {video.name: video.state for video in catalogue.videos()}
    if kind == "a video of NaN":
        assert len(states) == 5 and sorted(states.values())[-2:] == ["partial", "refused"], states
    else:
        assert len(states) == 4
    for path in store.rglob("*.safetensors"):
        for name, tensor in safetensors.torch.load_file(path).items():
            assert not tensor.is_floating_point() or torch.isfinite(tensor).all(), (path, name)
    for path in store.rglob("*.json"):
        assert "NaN" not in path.read_text(), path
