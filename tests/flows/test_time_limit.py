"""A flow run with a time limit, on a real server of Prefect: what is on record when it is over, and what the next run has."""

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import imported_corpus
import pytest

pytestmark = pytest.mark.long
LIMIT = 25
"""Longer than what a training begins with takes on a slow machine."""
RUN = """
import sys
from pathlib import Path
from flows.codebook import make_tokens
from flows.importing import Imports
from flows.ingest import ingest_videos
from flows.pretrain import pretrain_model
from flows.settings import Settings
root, limit = Path(sys.argv[1]), float(sys.argv[2])
settings = Settings(store=root / "store", text_start=str(root / "bert"), epochs=100_000)
if not (root / "store").exists():
    ingest_videos([], settings, Imports(paths=(root / "corpus",), stride=1.5), time_limit=1000)
    make_tokens(settings)
pretrain_model(settings, time_limit=limit)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("limited")
    imported_corpus.write_corpus(folder / "corpus", videos=12)
    imported_corpus.write_bert(folder / "bert")
    return folder


def limited(home, root: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", RUN, str(root), str(LIMIT)], env=home.environment, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip


def pretrainings(home, root: Path) -> list[dict]:
    tagged = {"tags": {"all_": [f"store {(root / 'store').resolve()}", "pretrain"]}}
    url = f"{home.environment['PREFECT_API_URL']}/flow_runs/filter"
    return httpx.post(url, json={"flow_runs": tagged, "sort": "START_TIME_ASC"}).json()


def test_a_training_ends_with_a_checkpoint_and_the_next_one_goes_on_from_it(home, root):
    steps = []
    for n in range(2):
        ended = limited(home, root)
        assert ended.returncode == 124, ended.stderr
        line = ended.stderr.splitlines()[-1]
        told = re.fullmatch(
            r"the time limit of 25 s is over, with a checkpoint of step (\d+); the next run goes on from there", line
        )  # fmt: skip
        assert told, ended.stderr
        state = pretrainings(home, root)[n]["state"]
        assert (state["type"], state["name"], state["message"]) == ("FAILED", "TimedOut", line)
        (checkpoint,) = (root / "store/models").glob("*/step-*/trainer.json")
        assert json.loads(checkpoint.read_text())["step"] == int(told[1])
        steps.append(int(told[1]))
    assert 0 < steps[0] < steps[1]
    runs = json.loads(home.run("runs", "--store", root / "store", "--json").stdout)["runs"]
    assert [run["outcome"] for run in runs] == ["done", "done", "stopped", "stopped"]
    assert [run["done"] for run in runs[-2:]] == [run["state"]["message"] for run in pretrainings(home, root)]
