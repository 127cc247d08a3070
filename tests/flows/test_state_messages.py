"""How a flow run ends: its state's message is the line that the command prints. Flow runs on a real server of Prefect."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import imported_corpus
import pytest

from multimodal.store import Store

RUN = """
import importlib, json, os, sys
module, name, parameters = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
flow = getattr(importlib.import_module(module), name)
state = flow(**parameters, return_state=True)
print(json.dumps([state.type.value, state.message, type(state.data and state.result(raise_on_failure=False)).__name__]))
"""
DEFECTS = """
import errno, json, os
from flows.recorded_flow import recorded_flow

@recorded_flow("codebook")
def fails(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))
    raise ZeroDivisionError("a defect")

print(json.dumps([fails(n, return_state=True).message for n in (errno.ENOSPC, 0)]))
"""


@pytest.fixture(scope="module")
def store(home, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("messages")
    corpus = imported_corpus.write_corpus(root / "corpus", videos=2)
    ended = home.run("ingest", "--import", corpus, "--import-stride", 1.5, "--store", root / "store")
    assert ended.returncode == 0, ended.stderr
    return root / "store"


def script(home, *arguments: str) -> list:
    ended = subprocess.run(
        [sys.executable, "-c", *arguments], env=home.environment, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def flow_run(home, module: str, name: str, **parameters) -> list:
    return script(home, RUN, module, name, json.dumps(parameters))


def test_bad_input_is_the_commands_line(home, store):
    ended = home.run("pretrain", "--store", store)
    assert ended.returncode == 2
    line = ended.stderr.splitlines()[-1].removeprefix("videobert: ")
    state, message, error = flow_run(home, "flows.pretrain", "pretrain_model", settings={"store": str(store)})
    assert (state, message, error) == ("FAILED", line, "InputError")
    tagged = {"flow_runs": {"tags": {"all_": [f"store {store.resolve()}"]}, "name": {"any_": ["pretrain"]}}}
    runs = httpx.post(f"{home.environment['PREFECT_API_URL']}/flow_runs/filter", json=tagged).json()
    assert [run["state"]["message"] for run in runs] == [line] * 2, "the command's own run, too"


def test_a_held_store_names_its_holder(home, store):
    with Store(store).writing():
        ended = home.run("codebook", "--store", store)
        found = flow_run(home, "flows.codebook", "make_tokens", settings={"store": str(store)})
    assert ended.returncode == 3
    assert found == ["FAILED", ended.stderr.splitlines()[-1].removeprefix("videobert: "), "StoreLocked"]
    assert str(os.getpid()) in found[1]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"epochs": 0}, "--epochs 0: at least 1"),
        pytest.param({"size": "huge"}, "settings.size 'huge'", marks=pytest.mark.long),
    ],
)
def test_a_rejected_parameter_is_named(home, store, settings, says):
    state, message, _ = flow_run(
        home, "flows.codebook", "make_tokens", settings={"store": str(store)} | settings
    )
    assert state == "FAILED" and message.startswith(says) and "\n" not in message


@pytest.mark.parametrize(
    ("limit", "says"), [(-1, "time_limit -1: more than 0 seconds; leave"), ("soon", "time_limit 'soon': ")]
)
def test_a_time_limit_is_a_length_of_time(home, store, limit, says):
    given = {"settings": {"store": str(store)}, "time_limit": limit}
    state, message, _ = flow_run(home, "flows.codebook", "make_tokens", **given)
    assert state == "FAILED" and message.startswith(says) and "\n" not in message


def test_a_full_disk_is_a_line_and_a_defect_keeps_its_name(home):
    full, defect = script(home, DEFECTS)
    assert full.startswith("disk full: ") and os.strerror(errno.ENOSPC) in full
    assert "ZeroDivisionError" in defect
