"""What ingests videos side by side: processes of Dask and Ray make what threads make, and the loss of one loses one video's work."""

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fragments
import psutil
import pytest
from command import Home, contents, made_again, prefect_server, stamps, until
from dask_cluster import dask_cluster

from flows import runners
from flows.settings import Settings
from multimodal.catalogue import Catalogue
from multimodal.store import InputError, Store

SETTINGS = ("--size", "demo", "--backbone", "mobilenetv2")
LENGTH = 9.0
"""Seconds of a video whose ingestion is met half way: about 3 on one core."""


@pytest.fixture(scope="module")
def root(tmp_path_factory, weights_or_skip) -> Path:
    weights_or_skip("mobilenetv2-imagenet")
    return tmp_path_factory.mktemp("runners")


@pytest.fixture(scope="module")
def home(root) -> Iterator[Home]:
    with prefect_server(root) as url:
        yield Home(root, url)


@pytest.fixture(scope="module")
def short(root) -> Path:
    """Three videos and a file that is none."""
    for n in (0, 1, 2):
        fragments.silent(root / f"short/{n}.mp4", f"kitchen-00{n}.mp4")
    none = root / "short/none.mp4"
    none.write_bytes(b"no video")
    fragments.at_rest(none)
    return root / "short"


@pytest.fixture(scope="module")
def longer(root) -> Path:
    """Four videos, each of which takes a while."""
    for n in range(4):
        fragments.silent(root / f"longer/{n}.mp4", f"kitchen-00{n}.mp4", LENGTH)
    return root / "longer"


@pytest.fixture(scope="module")
def unharmed(home, longer, root) -> Path:
    """A store with the longer videos, whose ingestion nothing disturbed."""
    ingest(home, longer, root / "unharmed")
    return root / "unharmed"


def said(store: Path) -> list[tuple]:
    """What the catalogue says of the videos."""
    with Catalogue(Store(store, create=False).catalogue) as catalogue:
        return [(v.video, v.state, v.reason, v.clips, v.tries) for v in catalogue.videos()]


def ingest(home: Home, videos: Path, store: Path, *options: object) -> subprocess.CompletedProcess:
    ended = home.run("ingest", videos, "--store", store, *SETTINGS, *options)
    assert ended.returncode == 0, ended.stderr
    return ended


def nothing_lost(store: Path, before: dict, unharmed: Path) -> None:
    """The store holds what the unharmed one holds, and no artefact of ``before``, its stamps of then, was made again."""
    assert contents(store) == contents(unharmed) and said(store) == said(unharmed)
    artefacts = [name for name in before if name.startswith(("features/", "transcripts/"))]
    assert artefacts and made_again(store, {name: before[name] for name in artefacts}) == []


def same(home: Home, videos: Path, root: Path, runner: str) -> str:
    """Ingests by threads and by ``runner``, and compares; what the latter said."""
    by_threads, by_processes = root / f"threads for {runner}", root / runner
    ingest(home, videos, by_threads)
    ended = ingest(home, videos, by_processes, "--runner", runner, "--workers", 2)
    assert contents(by_processes) == contents(by_threads) and contents(by_threads)
    assert said(by_processes) == said(by_threads)
    assert {state for _, state, *_ in said(by_threads)} == {"partial", "refused"}
    assert home.left_over() == set()
    return ended.stderr


@pytest.mark.long
def test_processes_of_dask_make_what_threads_make(home, short, root):
    stderr = same(home, short, root, "dask")
    assert "of video" in stderr and "INFO" not in stderr and "Traceback" not in stderr, stderr


@pytest.mark.long
def test_processes_of_ray_make_what_threads_make(home, short, root, require):
    if importlib.util.find_spec("prefect_ray") is None:
        require("ray", "pip install '.[ray]'")
    stderr = same(home, short, root, "ray")
    assert "of video" in stderr and "INFO" not in stderr and "Traceback" not in stderr, stderr


@pytest.mark.long
def test_a_killed_worker_loses_the_work_on_one_video(home, longer, unharmed, root):
    store = root / "a worker killed"
    with dask_cluster(home.environment, root / "cluster") as cluster:
        run = home.start(
            "ingest", longer, "--store", store, *SETTINGS, "--runner", "dask", "--address", cluster.address,
            log=root / "worker.log",
        )  # fmt: skip
        until(lambda: any((store / "features").glob("*.safetensors")) or run.poll() is not None)
        before = stamps(store)
        cluster.workers[0].kill()
        assert run.wait(300) == 0, (root / "worker.log").read_text()
    nothing_lost(store, before, unharmed)


def at_work(run: subprocess.Popen) -> list[psutil.Process]:
    """Ray's processes below the run that hold a video: the title of each is the name of its task."""
    found = []
    for child in psutil.Process(run.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # one of those that Ray begins with has just ended
            if " ".join(child.cmdline()).startswith("ray::ingest video"):
                found.append(child)
    return found


@pytest.mark.long
def test_a_killed_process_of_ray_loses_the_work_on_one_video(home, longer, unharmed, root, require):
    if importlib.util.find_spec("prefect_ray") is None:
        require("ray", "pip install '.[ray]'")
    store, log = root / "a process of Ray killed", root / "ray.log"
    options = ("--store", store, *SETTINGS, "--runner", "ray", "--workers", 2)
    run = home.start("ingest", longer, *options, log=log)
    until(lambda: any((store / "features").glob("*.safetensors")) or run.poll() is not None)
    before = stamps(store)
    working = at_work(run)
    assert working, log.read_text()
    working[0].kill()
    assert run.wait(300) == 0, log.read_text()
    nothing_lost(store, before, unharmed)
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.mark.long
def test_a_lost_scheduler_is_no_fault_of_the_videos(home, longer, root):
    store, log = root / "scheduler killed", root / "scheduler.log"
    with dask_cluster(home.environment, root / "another cluster") as cluster:
        run = home.start(
            "ingest", longer, "--store", store, *SETTINGS, "--runner", "dask", "--address", cluster.address,
            log=log,
        )  # fmt: skip
        until(lambda: "of video, 0 of 4" in log.read_text() or run.poll() is not None)
        cluster.scheduler.kill()
        assert run.wait(300) == 2, log.read_text()
    said_last = log.read_text()
    assert "the cluster is gone" in said_last.splitlines()[-1] and "Traceback" not in said_last, said_last
    assert all(state != "refused" and tries == 0 for _, state, _, _, tries in said(store))
    ingest(home, longer, store)
    assert {state for _, state, *_ in said(store)} == {"partial"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"address": "tcp://127.0.0.1:9"}, ("--address tcp://127.0.0.1:9", "--runner dask")),
        ({"runner": "ray", "address": "127.0.0.1:9"}, ("--address 127.0.0.1:9", "no Ray cluster answers")),
        ({"runner": "ray", "address": "nowhere"}, ("--address nowhere", "no Ray cluster answers")),
        ({"runner": "dask", "address": "nowhere"}, ("--address nowhere", "no Dask scheduler answers")),
    ],
)
def test_a_cluster_that_cannot_be_had_is_one_line(given, words, monkeypatch, require):
    if given.get("runner") == "ray" and importlib.util.find_spec("prefect_ray") is None:
        require("ray", "pip install '.[ray]'")
    monkeypatch.setattr(runners, "SECONDS_TO_ANSWER", 0.5)
    with pytest.raises(InputError) as refused, runners.running(Settings(**given), print):
        pass
    assert all(word in str(refused.value) for word in words) and "\n" not in str(refused.value)


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_a_runner_that_is_not_installed_names_what_to_install(runner, monkeypatch):
    monkeypatch.setitem(sys.modules, f"prefect_{runner}", None)
    hint = rf"pip install 'videobert-workflow\[{runner}\]'"
    with pytest.raises(InputError, match=hint), runners.running(Settings(runner=runner), print):
        pass
