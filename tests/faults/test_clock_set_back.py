"""The clock is set back by more than a year in the middle of a run: it makes what it makes under a clock that goes on.

Under libfaketime, which changes what a process is told of the time of day; monotonic time goes on, as the kernel's does.
"""

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import imported_corpus
import pytest
import stages
from command import PROJECT, Home, contents

LONG = bool(os.environ.get("VIDEOBERT_FAULTS"))
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
BACK = "-400d"
WORK = """
import sys
from pathlib import Path
import stages
stages.work(*map(Path, sys.argv[1:4]))
"""

pytestmark = [
    pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed"),
    pytest.mark.skipif(not LONG, reason="the long loop: VIDEOBERT_FAULTS=60, or make faults"),
    pytest.mark.timeout(900),
]


def clock(environment: dict[str, str], file: Path) -> dict[str, str]:
    """An environment whose clock ``file`` sets."""
    return environment | {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    """A corpus and a BERT."""
    corpus = imported_corpus.write_corpus(tmp_path / "corpus", videos=6)
    return corpus, imported_corpus.write_bert(tmp_path / "bert")


def test_a_run_in_whose_middle_the_clock_is_set_back_makes_the_same_store(files, tmp_path):
    whole, store, set_by = tmp_path / "whole", tmp_path / "store", tmp_path / "clock"
    status, line = stages.run(lambda: stages.work(whole, *files), tmp_path / "log")
    assert status == 0, line
    set_by.write_text("+0")
    path = os.pathsep.join(map(str, (PROJECT, PROJECT / "tests/helpers")))
    child = subprocess.Popen(
        [sys.executable, "-c", WORK, *map(str, (store, *files))],
        env=clock(os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, set_by),
        stderr=subprocess.PIPE,
        text=True,
    )
    while child.poll() is None and not any(store.glob("features/*.safetensors")):
        time.sleep(0.01)
    set_by.write_text(BACK)
    _, said = child.communicate(timeout=600)
    assert child.returncode == 0, said
    assert (store / "report.html").stat().st_mtime > time.time() - 86_400, "the kernel stamps files"
    assert contents(store) == contents(whole)
    # What the clock says to a run is in the catalogue alone: the next run, under the right clock, has nothing to do.
    status, line = stages.run(lambda: stages.work(store, *files), tmp_path / "log")
    assert status == 0, line
    assert contents(store) == contents(whole)


def test_prefect_and_its_server_bear_it_too(files, tmp_path):
    """The second run's clock is more than a year before the first's, whose records are in Prefect's history."""
    home, store, set_by = Home(tmp_path / "home"), tmp_path / "store", tmp_path / "clock"
    imported = ("ingest", "--import", files[0], "--import-stride", 1.5, "--store", store)
    ended = home.run(*imported)
    assert ended.returncode == 0, ended.stderr
    set_by.write_text(BACK)
    home.environment = clock(home.environment, set_by)
    ended = home.run(*imported)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
    assert home.left_over() == set()


def test_the_control_the_clock_is_set(tmp_path):
    """So that the others say something."""
    set_by = tmp_path / "clock"
    set_by.write_text(BACK)
    said = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env=clock(dict(os.environ), set_by),
        capture_output=True,
        text=True,
        check=True,
    )
    assert 399 < (datetime.now() - datetime.fromtimestamp(float(said.stdout))).days < 401
