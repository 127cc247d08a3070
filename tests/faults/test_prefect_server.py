"""Prefect's server killed, stopped and without space before, during and after a run: a line, nothing lost, nothing left over."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import imported_corpus
import pytest
from command import Home, contents
from disks import fill, small_disk

LONG = bool(os.environ.get("VIDEOBERT_FAULTS"))
SECONDS_TO_END = 240.0
MOMENTS = {
    "starting": lambda store: True,
    "listening": lambda store: any(store.glob(".lock")) and any(store.glob("copies")),
    "working": lambda store: any(store.glob("features/*.safetensors")),
    "ending": lambda store: any(store.glob("transcripts/*.json")),
}
"""What is seen in the store when the server goes."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return imported_corpus.write_corpus(tmp_path_factory.mktemp("prefect") / "corpus", videos=6)


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory, server) -> Path:
    """The store of an import that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    assert Home(folder, server).run(*imported(corpus, folder / "store")).returncode == 0
    return folder / "store"


def imported(corpus: Path, store: Path) -> tuple[object, ...]:
    return "ingest", "--import", corpus, "--import-stride", 1.5, "--store", store


def servers(home: Home) -> list[int]:
    """The processes of the home's own server."""
    found = []
    for number in home.processes():
        try:
            command = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            continue
        if b"flows.server" in command:
            found.append(number)
    return found


def ends_well_or_in_a_line(child: subprocess.Popen, log: Path) -> None:
    try:
        status = child.wait(SECONDS_TO_END)
    finally:
        child.kill()
    said = log.read_text()
    assert "Traceback" not in said, said[-3000:]
    assert status in (0, 2), said
    assert status == 0 or said.splitlines()[-1].startswith("videobert: Prefect's "), said


def harmed(
    home: Home, corpus: Path, store: Path, log: Path, moment: str, harm: Callable[[int], None]
) -> None:
    """A run to whose server ``harm`` is done at the moment."""
    child = home.start(*imported(corpus, store), log=log)
    due = time.monotonic() + SECONDS_TO_END
    while child.poll() is None and time.monotonic() < due:
        if MOMENTS[moment](store) and (found := servers(home)):
            for number in found:
                harm(number)
            break
        time.sleep(0.01)
    ends_well_or_in_a_line(child, log)


def is_whole(server: str, corpus: Path, store: Path, whole: Path) -> None:
    ended = Home(store.parent, server).run(*imported(corpus, store))
    assert ended.returncode == 0, ended.stderr
    assert contents(store) == contents(whole) and not list(store.rglob("*.part"))


@pytest.mark.timeout(900)
@pytest.mark.skipif(not LONG, reason="the long loop: VIDEOBERT_FAULTS=60, or make faults")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_server_costs_a_line(corpus, whole, server, tmp_path, moment):
    home, store = Home(tmp_path / "home"), tmp_path / "store"
    harmed(home, corpus, store, tmp_path / "log", moment, lambda number: os.kill(number, signal.SIGKILL))
    assert home.left_over() == set()
    is_whole(server, corpus, store, whole)


@pytest.fixture
def small_home(tmp_path) -> Iterator[Path]:
    """Prefect's home on a file system of its own."""
    with small_disk(tmp_path / "home", "40m") as place:
        yield place


@pytest.mark.timeout(900)
@pytest.mark.skipif(not LONG, reason="the long loop: VIDEOBERT_FAULTS=60, or make faults")
@pytest.mark.parametrize("moment", ["listening", "working"])
def test_a_home_that_fills_up_costs_a_line(corpus, whole, server, small_home, tmp_path, moment):
    home, store = Home(small_home), tmp_path / "store"
    harmed(home, corpus, store, tmp_path / "log", moment, lambda number: fill(small_home))
    assert home.left_over() == set()
    is_whole(server, corpus, store, whole)


@pytest.mark.timeout(900)
@pytest.mark.skipif(not LONG, reason="the long loop: VIDEOBERT_FAULTS=60, or make faults")
def test_a_home_that_may_only_be_read_is_the_reason_that_is_given(corpus, small_home, tmp_path):
    subprocess.run(["mount", "-o", "remount,ro", small_home], check=True)
    home, store = Home(small_home), tmp_path / "store"
    ended = home.run(*imported(corpus, store))
    assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
    assert "PREFECT_HOME" in ended.stderr.splitlines()[-1]
    assert home.left_over() == set()


@pytest.mark.timeout(900)
@pytest.mark.skipif(not LONG, reason="the long loop: VIDEOBERT_FAULTS=60, or make faults")
def test_a_signal_while_the_server_is_gone_is_a_line(corpus, tmp_path):
    """The stop cannot be recorded; nothing of that reaches the terminal."""
    home, store, log = Home(tmp_path / "home"), tmp_path / "store", tmp_path / "log"
    child = home.start(*imported(corpus, store), log=log)
    while not MOMENTS["working"](store):
        assert child.poll() is None
        time.sleep(0.002)
    for number in servers(home):
        os.kill(number, signal.SIGKILL)
    child.terminate()
    assert child.wait(SECONDS_TO_END) in (2, 143)
    said = log.read_text()
    assert "Traceback" not in said and said.splitlines()[-1].startswith("videobert: "), said
    assert home.left_over() == set()
