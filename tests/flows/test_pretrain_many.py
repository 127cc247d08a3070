"""Pretraining by the processes that `torchrun` starts, as the README says it: the store then has the model."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_store import WORDS, add, finish, paint

from flows.opened_run import open_run
from flows.pretrain import train
from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.store import Store, canonical_json, publish_folder
from multimodal.training import checkpoints
from multimodal.vocabulary import SPECIALS

transformers = pytest.importorskip("transformers")
SAID = ["chop the carrot", "wash the egg", "stir it", "peel the onion"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("many")
    made = Store(folder / "store")
    with Catalogue(made.catalogue) as catalogue:
        for name, clips in (("a", [0, 1] * 4), ("b", [1, 2] * 4), ("c", [2, 3] * 4)):
            add(made, catalogue, paint(folder / f"{name}.mp4", clips), clips, SAID)
        kept = add(made, catalogue, paint(folder / "kept.mp4", [0, 2, 1, 3]), [0, 2, 1, 3], SAID)
        finish(made, catalogue, [kept])
        catalogue.set_current("codebook", catalogue.current("model_codebook"))
    return made


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    words = [*SPECIALS, *WORDS]
    small = transformers.BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=1,
                                    num_attention_heads=2, intermediate_size=64, max_position_embeddings=128,
                                    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # fmt: skip
    torch.manual_seed(0)
    transformers.BertForPreTraining(small).save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{w}\n" for w in words))
    return folder


def many(*options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, "-m", "flows.pretrain_many", *options],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        timeout=300,
        capture_output=True,
        text=True,
    )


@contextlib.contextmanager
def left_unfinished(store: Store) -> Iterator[str]:
    """A model of the store's codebook that another run did not finish; what is told of it."""
    with Catalogue(store.catalogue) as catalogue:
        codebook = catalogue.current("codebook")
    with publish_folder(checkpoints.step_folder(store.model("left"), 4)) as last:
        shutil.copytree(checkpoints.latest(store.model("m")), last, dirs_exist_ok=True)
        (last / "manifest.json").unlink()
        (last / "trainer.json").write_text(canonical_json(checkpoints.Progress(4, 40, 0, 4)))
        (last / "card.json").write_text(json.dumps({"codebook": codebook, "options": {}}))
    yield "model left: left at step 4 of 40, and this run begins another"
    shutil.rmtree(store.model("left"))


def test_a_model_left_unfinished_is_told_on_standard_error(store, bert, capsys):
    settings = Settings(store=store.root, text_start=str(bert), epochs=1, seed=1)
    with open_run(settings) as run, left_unfinished(store) as told:
        train.fn(run, run.catalogue.current("codebook"))
    assert capsys.readouterr().err.count(told) == 1


@pytest.mark.long
def test_two_processes_make_the_model_of_the_store(home, store, bert):
    asked = ["--store", str(store.root), "--text-start", str(bert), "--epochs", "2", "--shard"]
    with left_unfinished(store) as told:
        ended = many(*asked)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count(told) == 1, "by the first process"
    name = ended.stdout.split()[-1]
    with Catalogue(store.catalogue) as catalogue:
        assert catalogue.current("next_model") == name, "in use with its index"
    folder = checkpoints.latest(store.model(name))
    assert checkpoints.read_progress(folder).finished
    before = folder.stat().st_mtime_ns
    again = home.run("pretrain", "--store", store.root)
    assert again.stdout.split() == [name], f"`videobert run` finds it: {again.stderr}"
    assert folder.stat().st_mtime_ns == before and checkpoints.latest(store.model(name)) == folder


@pytest.mark.long
def test_what_cannot_be_done_is_told_and_ends_all(tmp_path):
    Store(tmp_path / "empty")
    ended = many("--store", str(tmp_path / "empty"))
    assert ended.returncode != 0
    told = [line for line in ended.stderr.splitlines() if "has no codebook yet" in line]
    assert len(told) == 1 and told[0].startswith(f"flows.pretrain_many: store {tmp_path / 'empty'}: has no")
    assert "[rank1]" not in ended.stderr, "the others say nothing"
