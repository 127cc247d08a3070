"""The store by itself: processes that hold it, killed, stopped, robbed of their lock; kills in migrations and in repairs."""

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harm import flip

from multimodal.catalogue import Catalogue, Video
from multimodal.catalogue_file import last_whole_copy, restore
from multimodal.store import InputError, Store, StoreLocked, write_artefact
from multimodal.sums import is_as_written

STORES = Path(__file__).parents[1] / "stores"
KILLS = max(20, int(os.environ.get("VIDEOBERT_FAULTS", "0")))
HOLD = """
import sys
from pathlib import Path
from multimodal.store import Store
with Store(Path(sys.argv[1])).writing():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store(tmp_path / "store")
    with Catalogue(made.catalogue) as catalogue:
        catalogue.put(Video("a" * 64, "a.mp4", "/a.mp4", 1))
        catalogue.keep_copy()
    return made


@pytest.fixture
def holder(store) -> Iterator[subprocess.Popen]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait()


def is_held(store: Store) -> str:
    """What is said of the holder; empty where nobody holds the store."""
    try:
        with store.writing():
            return ""
    except StoreLocked as error:
        return str(error)


def test_the_holder_is_named_and_a_killed_one_holds_nothing(store, holder):
    assert f"process {holder.pid} writes" in is_held(store)
    with pytest.raises(StoreLocked), store.unwritten():
        pass
    holder.kill()
    holder.wait()
    assert is_held(store) == ""


def test_a_stopped_holder_is_told_at_once(store, holder):
    os.kill(holder.pid, signal.SIGSTOP)
    assert f"process {holder.pid} writes" in is_held(store)
    os.kill(holder.pid, signal.SIGCONT)


def test_a_holder_on_another_machine_is_named_with_its_machine(store):
    """A UTS namespace gives a process the host name of another machine; the file system is shared as over a network."""
    renamed = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--uts", "sh", "-c"]
    if subprocess.run([*renamed, "hostname archive-2"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no namespace with a host name of its own")
    script = 'hostname archive-2; exec "$0" -c "$1" "$2"'
    with subprocess.Popen(
        [*renamed, script, sys.executable, HOLD, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "held\n"
        assert f"process {child.pid} on archive-2 writes" in is_held(store)
        child.kill()
    assert is_held(store) == ""


def test_a_lock_that_is_deleted_lets_nobody_in(store, holder):
    (store.root / ".lock").unlink()
    assert "writes to it" in is_held(store)
    holder.kill()
    holder.wait()
    assert is_held(store) == ""


def test_the_control_the_named_lock_alone_lets_two_in(store, holder):
    """As it was before: `.lock` alone."""
    (store.root / ".lock").unlink()
    with (store.root / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_store_that_is_deleted_while_it_is_used_is_not_made_again(store):
    with store.writing():
        shutil.rmtree(store.root)
        with pytest.raises(InputError, match="was deleted while it was in use"):
            write_artefact(store.transcript("a" * 64, "t"), b"{}")
        assert not store.root.exists()


def started(work: Callable[[], None]) -> int:
    """The id of a copy of this process that begins the work when this function returns.

    A copy takes as long as this process is large, and how much of that is over before ``fork`` returns here differs by
    machine; so the copy waits until it is told to begin.
    """
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.read(told, 1)
            work()
        finally:
            os._exit(0)
    os.write(tell, b"!")
    os.close(told)
    os.close(tell)
    return child


class Killer:
    """Kills works at random moments, and learns from each how long such a work takes on this machine."""

    def __init__(self, seed: int, seconds: float = 0.02):
        self.draw, self.seconds = random.Random(seed), seconds
        self.killed = self.started = 0

    def __call__(self, work: Callable[[], None]) -> None:
        """Start a copy of this process that does the work; kill it at a random moment."""
        child = started(work)
        time.sleep(self.draw.uniform(0, self.seconds))
        os.kill(child, signal.SIGKILL)
        in_time = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        self.seconds *= 1.3 if in_time else 0.7
        self.started += 1
        self.killed += in_time

    def missed(self) -> bool:
        """Whether nearly every work had ended before its kill, or nearly none: such kills show nothing."""
        return not 0.2 <= self.killed / self.started <= 0.95


def test_a_migration_may_be_killed_at_any_moment(tmp_path):
    kill = Killer(0)

    def migration(name: str) -> Callable[[], None]:
        path = shutil.copytree(STORES / "version-3", tmp_path / name) / "catalogue.sqlite"

        def migrate() -> None:
            with Catalogue(path) as catalogue:
                catalogue.set_current("codebook", "c")

        return migrate

    for n in range(KILLS):
        kill(migration(f"{n}"))
        folder = tmp_path / f"{n}"
        for read_only in (True, False):
            with Catalogue(folder / "catalogue.sqlite", read_only=read_only) as catalogue:
                assert [v.name for v in catalogue.videos()] == ["a.mp4", "b.mp4"]
        assert is_as_written(folder / "catalogue.sqlite")
    assert not kill.missed(), (kill.killed, kill.started)


def test_a_writer_and_its_copy_may_be_killed_at_any_moment(store):
    kill = Killer(1)

    def write() -> None:
        with store.writing(), Catalogue(store.catalogue) as catalogue:
            for n in range(5):
                catalogue.put(Video(f"{n}" * 64, f"{n}.mp4", f"/{n}.mp4", 1))
            catalogue.keep_copy()
        write_artefact(store.transcript("a" * 64, "t"), os.urandom(1000))

    for _ in range(KILLS):
        kill(write)
        path = store.transcript("a" * 64, "t")
        assert not path.exists() or is_as_written(path)
        with Catalogue(store.catalogue, read_only=True) as catalogue:
            assert {v.name for v in catalogue.videos()} >= {"a.mp4"}
        assert last_whole_copy(store.catalogue) is not None
    assert not kill.missed(), (kill.killed, kill.started)
    assert is_held(store) == "" and not list(store.root.rglob(".*.part"))


def test_a_repair_may_be_killed_at_any_moment(store):
    kill = Killer(2)

    def repair() -> None:
        restore(store.catalogue, last_whole_copy(store.catalogue), store.damaged)

    flip(store.catalogue)
    for _ in range(KILLS):
        if store.catalogue.exists():
            flip(store.catalogue)
        kill(repair)
        try:
            Catalogue(store.catalogue, read_only=True).close()
        except InputError as error:
            assert "--repair" in str(error)
        restore(store.catalogue, last_whole_copy(store.catalogue), store.damaged)
        with Catalogue(store.catalogue, read_only=True) as catalogue:
            assert [v.name for v in catalogue.videos()] == ["a.mp4"]
    assert not kill.missed(), (kill.killed, kill.started)


def test_the_control_a_careless_writer_is_found(store):
    """One that writes under the final name: the kill leaves a part of the file, and no sum tells of it."""
    path, kill, broken = store.transcript("a" * 64, "t"), Killer(3, seconds=0.06), 0
    path.parent.mkdir()

    def careless() -> None:
        with path.open("wb") as stream:
            for _ in range(100):
                stream.write(bytes(1000))
                stream.flush()
                time.sleep(0.0005)

    for _ in range(20):
        kill(careless)
        broken += path.exists() and path.stat().st_size not in (0, 100_000)
    assert broken
