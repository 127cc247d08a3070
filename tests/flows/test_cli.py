"""The command line: its help, its exit statuses, what goes where."""

import importlib.metadata
import os
import subprocess
import sys

import pytest
import torch
from command import Home, run_inside

from flows import progress
from flows.cli import app

VERSION = importlib.metadata.version("videobert-workflow")
COMMANDS = {
    "run": "VIDEOS",
    "ingest": "VIDEOS",
    "codebook": "--refit",
    "pretrain": "--epochs",
    "index": "--store",
    "evaluate": "--json",
    "search": "TEXT",
    "next": "--at",
    "caption": "--vtt",
    "classify": "--verbs",
    "imagine": "--out",
    "chapters": "--to",
    "summarise": "--json",
    "predict": "--head",
    "finetune": "--task",
    "distill": "--method",
    "captioner": "--epochs",
    "status": "--json",
    "remove": "VIDEO",
    "transcript": "--to",
    "doctor": "--repair",
    "serve": "--port",
    "compare": "--seeds",
    "export": "--to",
    "import-model": "FOLDER",
    "deploy": "--nightly",
    "runs": "--last",
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Home:
    """Commands that end before they need a server: one that they start would be seen."""
    folder = tmp_path_factory.mktemp("prefect")
    yield Home(folder)
    assert list(folder.iterdir()) == []


def shown(capsys, *arguments: str) -> str:
    app(list(arguments), result_action="return_value")
    return capsys.readouterr().out


def test_the_help_names_every_command(capsys):
    text = shown(capsys, "--help")
    assert all(f" {name} " in text for name in COMMANDS)
    assert {name for name in app if not name.startswith("-")} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_that_names_what_it_needs(capsys, name):
    text = shown(capsys, name, "--help")
    assert COMMANDS[name] in text and "Usage" in text
    assert "--help" not in text.split("Usage")[0]
    said = " ".join(text.split())
    assert len(said.split("╭")[0]) > 60


def test_it_starts_as_a_module_and_ends_well(alone):
    ended = alone.run("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{VERSION}\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "frobnicate"),
        (["search"], "--like"),
        (["search", "x", "--like", "y@3"], "--like"),
        (["search", "x", "--texts"], "--texts"),
        (["search", "x", "--top", "0"], "--top 0"),
        (["remove"], "VIDEO"),
        (["finetune"], "--task"),
        (["finetune", "--task", "nowhere.csv"], "nowhere.csv"),
        (["finetune", "--task", "nowhere.csv", "--adapt", "most"], "--adapt most"),
        (["distill", "--method", "bilstm", "--layers", "2"], "--layers 2"),
        (["distill", "--temperature", "0"], "--temperature 0"),
        (["predict", "x"], "--head"),
        (["export"], "--to"),
        (["export", "--to", "."], "--to .: is there already"),
        (["import-model"], "FOLDER"),
        (["import-model", "nowhere"], "nowhere: has no manifest.json"),
        (["run"], "VIDEOS"),
        (["run", ".", "--size", "huge"], "demo"),
        (["run", ".", "--epochs", "many"], "many"),
        (["run", ".", "--epochs", "3.5"], "--epochs 3.5: a whole number; write 3 or 4"),
        (["compare", "--seeds", "inf"], "--seeds inf: a whole number"),
        (["next", "x"], "--at"),
        (["next", "x@1", "--temperature", "-1", "--rollout", "3"], "--temperature -1"),
        (["classify", "x", "--verbs", "cut,,wash"], "--verbs: 'cut,,wash'"),
        (["imagine"], "TEXT"),
        (["status", "--speed", "9"], "--speed"),
        (["search", "place", "red", "--top", "3"], '`videobert search "place red"`'),
        (["search", "--top", "3", "place", "red"], '`videobert search "place red"`'),
        (["imagine", "chop", "the", "carrot"], '`videobert imagine "chop the carrot"`'),
        (
            ["codebook", "mystore", "tiny"],
            "`videobert codebook --store mystore --size demo|small|base|paper`",
        ),
        (["codebook", "my store", "Demo"], '`videobert codebook --store "my store" --size Demo`'),
        (["status", "mystore"], "`videobert status --store mystore`"),
        (["run", ".", "mystore"], "`--store mystore`"),
        (["run", ".", "demo"], "`--size demo`"),
        (["next", "x", "1:02"], "`videobert next x@1:02`"),
        (["caption", "my", "talk"], '`videobert caption "my talk"`'),
        (["serch", "x"], "search"),
        (["pretrain", "--epoch", "3"], "--epochs"),
        (["run", "nowhere", "--size", "smlal"], "small"),
        (["run", "nowhere", "--whisper", "large-"], "large-v1, large-v2 or large-v3"),
        (["run", "nowhere", "--backbone", "resnet5"], "nowhere"),
        (["imagine", "x", "--device", "gpu"], "cuda"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(capsys, arguments, says):
    ended = run_inside(capsys, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    *waited, line = ended.stderr.splitlines()
    assert all(words.endswith("…") for words in waited), "a slow machine says what it waits for"
    assert line.startswith("videobert: ") and says in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "question", [["search", "x"], ["next", "x@1"], ["caption", "x"], ["classify", "x"], ["imagine", "x"]]
)
def test_a_gpu_that_is_not_there_is_said_in_a_line(capsys, question):
    ended = run_inside(capsys, *question, "--device", "cuda")
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("videobert: --device cuda: ") and "GPU" in line


@pytest.mark.parametrize("command", ["status", "codebook", "pretrain", "captioner", "index", "evaluate"])
def test_a_store_that_is_not_there_is_not_made(capsys, tmp_path, command):
    ended = run_inside(capsys, command, "--store", tmp_path / "typo")
    assert ended.returncode == 2 and str(tmp_path / "typo") in ended.stderr
    assert not (tmp_path / "typo").exists()


def test_a_reader_that_goes_away_is_no_error_of_ours(alone, made):
    read, write = os.pipe()
    os.close(read)
    child = subprocess.run(
        alone.command("status", "--store", made.store), env=alone.environment, stdout=write,
        stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(write)
    assert child.stderr == "" and child.returncode == 141


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_while_python_winds_up_changes_nothing(alone, number):
    """All was done and said: the status stays that of success, and nobody is shown a traceback."""
    code = f"""
import atexit, os, signal, sys
atexit.register(os.kill, os.getpid(), signal.{number})
sys.argv = ["videobert", "--version"]
from flows.cli import main
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], env=alone.environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{VERSION}\n", "")


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_code_that_catches_all_is_a_signal(alone, made, tmp_path, number, status):
    """It comes while somebody's code runs that makes an error of its own of whatever is raised, as pydantic's does."""
    code = f"""
import os, signal, sys
class Wraps:
    def find_spec(self, name, *_):
        if name == "flows.pipeline":
            try:
                os.kill(os.getpid(), signal.{number})
            except BaseException as error:
                raise ValueError("an error of its own") from error
sys.meta_path.insert(0, Wraps())
sys.argv = ["videobert", "run", {str(made.videos)!r}, "--store", {str(tmp_path / "store")!r}]
from flows.cli import main
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], env=alone.environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == status
    *before, last = ended.stderr.splitlines()
    assert last.startswith("videobert: stopped") and before in ([], [f"{progress.LOADING} …"])


def test_a_server_that_does_not_answer_is_named(tmp_path, made):
    ended = Home(tmp_path, "http://127.0.0.1:9/api").run("index", "--store", made.store)
    assert ended.returncode == 2
    line = ended.stderr.splitlines()[-1]  # on a slow machine others say what was waited for
    assert line.startswith("videobert: PREFECT_API_URL http://127.0.0.1:9/api: ")
