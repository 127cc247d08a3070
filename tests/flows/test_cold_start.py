"""What a command imports: a help text needs neither PyTorch nor Prefect, and a question needs no decoder and no trainer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_store import add, finish, paint

from multimodal.catalogue import Catalogue
from multimodal.store import Store

HEAVY = {
    "torch",
    "torchvision",
    "prefect",
    "faiss",
    "whisper",
    "sklearn",
    "av",
    "cv2",
    "tensorboard",
    "transformers",
}
RUN = """
import json, sys
from flows.cli import app
for command in json.loads(sys.argv[1]):
    app(command, exit_on_error=False, print_error=False, result_action="return_value")
print(json.dumps(sorted(sys.modules)))
"""
COMMANDS = "run ingest codebook pretrain captioner index evaluate status doctor remove transcript serve search next caption classify imagine"


ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def imported(*commands: list[str]) -> set[str]:
    """The top-level modules that a process has imported when it has run the commands."""
    ended = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return {name.split(".")[0] for name in json.loads(ended.stdout.splitlines()[-1])}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    made = Store(folder / "store")
    with Catalogue(made.catalogue) as catalogue:
        for name, clips in (("a", [0, 1] * 3), ("b", [1, 2] * 3)):
            add(
                made,
                catalogue,
                paint(folder / f"{name}.mp4", clips),
                clips,
                ["chop the carrot", "wash the egg"],
            )
        finish(made, catalogue, [])
    return made.root


def test_help_and_status_import_nothing_heavy(store):
    commands = [
        ["--help"],
        *([name, "--help"] for name in COMMANDS.split()),
        ["status", "--store", str(store)],
        ["transcript", "a", "--store", str(store)],
    ]
    assert imported(*commands) & HEAVY == set()


def test_questions_import_no_decoder_and_no_trainer(store):
    """``torch`` is needed, and for search ``faiss``; what ingests, clusters, trains or schedules is not."""
    questions = [
        ["search", "carrot"],
        ["search", "--like", "a@2"],
        ["next", "a@4"],
        ["caption", "a"],
        ["classify", "a", "--verbs", "chop,wash"],
        ["imagine", "chop the carrot"],
    ]
    found = imported(*([*question, "--store", str(store), "--json"] for question in questions)) & HEAVY
    assert found == {"torch", "faiss"}


@pytest.mark.parametrize("question", ["next", "caption", "classify"])
def test_an_unknown_video_is_refused_before_torch_is_imported(store, question):
    code = f"""
import sys
from flows.cli import app
from multimodal.store import InputError
try:
    app(["{question}", "nobody@2", "--store", {str(store)!r}], exit_on_error=False, result_action="return_value")
except InputError:
    print(json.dumps(sorted(sys.modules)))
"""
    ended = subprocess.run(
        [sys.executable, "-c", "import json" + code],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert {name.split(".")[0] for name in json.loads(ended.stdout)} & HEAVY == set()


def test_a_server_listens_before_pytorch_is_there():
    """The model is opened beside the first page."""
    script = "import json, sys, multimodal.serve.server; print(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert not (HEAVY - {"av", "cv2"}) & {name.split(".")[0] for name in json.loads(ended.stdout)}
