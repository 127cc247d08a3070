"""Training by many processes: those that `torchrun` starts, and those that `--processes` does."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import Home, run_inside, stamps
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


def torchrun(home: Home, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, "-m", "flows", *map(str, arguments)],
        env=home.environment,
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
def test_two_processes_of_torchrun_make_the_model_of_the_store(home, store, bert):
    asked = ["pretrain", "--store", store.root, "--text-start", bert, "--epochs", 2]
    with left_unfinished(store) as told:
        ended = torchrun(home, *asked, "--shard")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count(told) == 1, "by the first process"
    name = ended.stdout.split()[-1]
    with Catalogue(store.catalogue) as catalogue:
        assert catalogue.current("next_model") == name, "in use with its index"
    folder = checkpoints.latest(store.model(name))
    assert checkpoints.read_progress(folder).finished
    before = folder.stat().st_mtime_ns
    again, alone = torchrun(home, *asked), home.run(*asked)
    assert again.stdout.split() == alone.stdout.split() == [name], again.stderr + alone.stderr
    assert folder.stat().st_mtime_ns == before and checkpoints.latest(store.model(name)) == folder


@pytest.mark.long
def test_what_cannot_be_done_is_told_and_ends_all(home, tmp_path):
    Store(tmp_path / "empty")
    ended = torchrun(home, "pretrain", "--store", tmp_path / "empty")
    assert ended.returncode != 0
    told = [line for line in ended.stderr.splitlines() if "has no codebook yet" in line]
    assert len(told) == 1 and told[0].startswith(f"videobert: store {tmp_path / 'empty'}: has no")
    assert "[rank1]" not in ended.stderr, "the others say nothing"


@pytest.fixture
def labels(tmp_path) -> Path:
    rows = [f"{name}.mp4,{3 * n},{3 * n + 3},{'xy'[n]}" for name in ("a", "b", "kept") for n in range(2)]
    (file := tmp_path / "colours.csv").write_text("\n".join(["video,start,end,label", *rows]))
    return file


@pytest.mark.long
def test_every_training_is_made_by_two_processes(home, store, bert, labels):
    """Each leaves what a run of one process finds finished."""
    for asked in (
        ["pretrain", "--text-start", bert, "--epochs", 2, "--seed", 7],
        ["captioner", "--epochs", 2],
        ["finetune", "--task", labels, "--kind", "sequence", "--epochs", 2],
        ["distill", "--method", "bilstm", "--head", "colours"],
        ["distill"],
    ):
        both = home.run(*asked, "--store", store.root, "--processes", 2, "--json")
        assert both.returncode == 0, both.stderr
        assert "starting 1 more training process" in both.stderr
        made = stamps(store.root)
        alone = home.run(*asked, "--store", store.root, "--json")
        assert alone.returncode == 0 and "tokens/s" not in alone.stderr, alone.stderr
        assert stamps(store.root) == made, "nothing was left to one process"
    assert not home.left_over(), "no process is left"


def training(home: Home, store: Store, bert: Path, log: Path) -> subprocess.Popen:
    asked = ["pretrain", "--text-start", bert, "--seed", 9, "--epochs", 5000, "--store", store.root]
    return home.start(*asked, "--processes", 2, log=log)


def others(home: Home, first: int) -> list[int]:
    """The processes that train with the first one, once they make steps."""
    found = []
    for process in home.processes() - {first}:
        with contextlib.suppress(OSError):
            if b"flows.training_processes" in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
    return found


def wait_for_steps(log: Path, command: subprocess.Popen) -> None:
    due = time.monotonic() + 120
    while "tokens/s" not in log.read_text():
        assert command.poll() is None and time.monotonic() < due, log.read_text()
        time.sleep(0.2)


@pytest.mark.long
def test_a_process_that_is_killed_is_one_line(home, store, bert, tmp_path):
    command = training(home, store, bert, log := tmp_path / "log")
    wait_for_steps(log, command)
    (other,) = others(home, command.pid)
    os.kill(other, signal.SIGKILL)
    assert command.wait(60) == 2
    *_, last = log.read_text().splitlines()
    assert last.startswith("videobert: training process 2 of 2 ended (signal 9): ") and "run again" in last
    assert not home.left_over()


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_others_end_with_the_first(home, store, bert, tmp_path, how):
    command = training(home, store, bert, log := tmp_path / "log")
    wait_for_steps(log, command)
    assert others(home, command.pid)
    command.send_signal(how)
    command.wait(60)
    assert not home.left_over(), "none is left"
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("given", "environment", "named"),
    [
        (["--processes", "0"], {}, "--processes 0"),
        (["--shard"], {}, "--shard"),
        (["--processes", "2"], {"WORLD_SIZE": "3", "RANK": "0"}, "--processes 2"),
    ],
)
def test_processes_that_cannot_be_are_one_line(tmp_path, capsys, monkeypatch, given, environment, named):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Store(tmp_path / "store")
    ended = run_inside(capsys, "pretrain", "--store", tmp_path / "store", *given)
    assert ended.returncode == 2
    *_, line = ended.stderr.splitlines()
    assert line.startswith(f"videobert: {named}")
