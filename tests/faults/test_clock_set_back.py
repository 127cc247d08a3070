"""The clock is set back by more than a year in the middle of a run: it makes what it makes under a clock that goes on.

`clock.c` changes what processes are told of the time of day, and that alone. libfaketime shifts the times of files and the
deadlines of sleeps as well, which no clock that is set back does: with it every `time.sleep` of Python 3.11 fails (its issue 426).
"""

import os
import shutil
import struct
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
COMPILER = shutil.which("cc")
BACK = -400 * 86_400
WORK = """
import sys
from pathlib import Path
import stages
stages.work(*map(Path, sys.argv[1:4]))
"""

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="there is no C compiler"),
    pytest.mark.skipif(not LONG, reason="the long loop: VIDEOBERT_FAULTS=60, or make faults"),
    pytest.mark.timeout(900),
]


class Clock:
    """The time of day of processes that run with :attr:`variables`, and of those that they start."""

    def __init__(self, folder: Path):
        library, self._shift = folder / "clock.so", folder / "shift"
        source = Path(__file__).with_name("clock.c")
        subprocess.run([COMPILER, "-shared", "-fPIC", "-Wall", "-o", library, source], check=True)
        self._shift.write_bytes(bytes(8))
        self.variables = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._shift)}

    def shift(self, seconds: int) -> None:
        """In place: the processes have the file in memory."""
        with self._shift.open("r+b") as file:
            file.write(struct.pack("=q", seconds))


@pytest.fixture
def clock(tmp_path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    """A corpus and a BERT."""
    corpus = imported_corpus.write_corpus(tmp_path / "corpus", videos=6)
    return corpus, imported_corpus.write_bert(tmp_path / "bert")


def test_a_run_in_whose_middle_the_clock_is_set_back_makes_the_same_store(files, tmp_path, clock):
    whole, store = tmp_path / "whole", tmp_path / "store"
    status, line = stages.run(lambda: stages.work(whole, *files), tmp_path / "log")
    assert status == 0, line
    path = os.pathsep.join(map(str, (PROJECT, PROJECT / "tests/helpers")))
    child = subprocess.Popen(
        [sys.executable, "-c", WORK, *map(str, (store, *files))],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | clock.variables,
        stderr=subprocess.PIPE,
        text=True,
    )
    while child.poll() is None and not any(store.glob("features/*.safetensors")):
        time.sleep(0.01)
    clock.shift(BACK)
    _, said = child.communicate(timeout=600)
    assert child.returncode == 0, said
    assert (store / "report.html").stat().st_mtime > time.time() - 86_400, "the kernel stamps files"
    assert contents(store) == contents(whole)
    # What the clock says to a run is in the catalogue alone: the next run, under the right clock, has nothing to do.
    status, line = stages.run(lambda: stages.work(store, *files), tmp_path / "log")
    assert status == 0, line
    assert contents(store) == contents(whole)


def test_prefect_and_its_server_bear_it_too(files, tmp_path, clock):
    """The second run's clock is more than a year before the first's, whose records are in Prefect's history."""
    home, store = Home(tmp_path / "home"), tmp_path / "store"
    imported = ("ingest", "--import", files[0], "--import-stride", 1.5, "--store", store)
    ended = home.run(*imported)
    assert ended.returncode == 0, ended.stderr
    clock.shift(BACK)
    home.environment |= clock.variables
    ended = home.run(*imported)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
    assert home.left_over() == set()


def test_the_control_the_clock_is_set_and_nothing_else(tmp_path, clock):
    """So that the others say something."""
    clock.shift(BACK)
    asks = "import os, sqlite3, time; began = time.monotonic(); time.sleep(0.1); print(time.time(), time.monotonic() - began, "
    asks += "os.stat('.').st_mtime, sqlite3.connect(':memory:').execute(\"SELECT strftime('%s', 'now')\").fetchone()[0])"
    said = subprocess.run(
        [sys.executable, "-c", asks],
        env=os.environ | clock.variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    now, slept, changed, by_sqlite = map(float, said.stdout.split())
    assert 399 < (datetime.now() - datetime.fromtimestamp(now)).days < 401
    assert abs(by_sqlite - now) < 2 and 0.1 <= slept < 60
    assert abs(changed - time.time()) < 600
