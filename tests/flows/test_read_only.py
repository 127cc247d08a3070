"""A store that may only be read can be asked: a read-only file system, a full disk, another's lock, a writer that was killed."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import run_inside
from tiny_store import three_videos

from multimodal.answers.cache import update_cache
from multimodal.answers.session import open_trained
from multimodal.catalogue import Catalogue, Video
from multimodal.library import usable
from multimodal.store import Store

QUESTIONS = (
    ("search", "chop the carrot"), ("caption", "kept@1"), ("next", "kept@3"), ("classify", "kept@1", "--verbs", "chop,wash"),
    ("imagine", "chop"), ("status",), ("transcript", "kept"), ("doctor",),
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    """Which `doctor` would hash."""
    monkeypatch.setenv("VIDEOBERT_CACHE", str(tmp_path / "weights"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Store:
    store = three_videos(tmp_path_factory.mktemp("whole"))
    with Catalogue(store.catalogue) as catalogue:
        trained, videos = open_trained(store, catalogue, "cpu"), usable(catalogue)
        update_cache(store, trained, videos, lambda *_: None)
    return store


def mounted(place: Path, *options: str) -> None:
    made = subprocess.run(["mount", *options, place], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")


@pytest.fixture
def disk(whole, tmp_path) -> Iterator[Path]:
    """A file system of its own with the store in it."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted(place, "-t", "tmpfs", "-o", "size=40m", "tmpfs")
    try:
        shutil.copytree(whole.root, place / "store")
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def everything(store: Path) -> dict[str, tuple[int, int]]:
    return {
        p.relative_to(store).as_posix(): (p.stat().st_size, p.stat().st_mtime_ns) for p in store.rglob("*")
    }


def all_are_answered(capsys, store: Path) -> None:
    before = everything(store)
    for question in QUESTIONS:
        ended = run_inside(capsys, *question, "--store", store)
        assert ended.returncode == 0 and ended.stdout, (question, ended.stdout, ended.stderr)
    assert everything(store) == before, "a question writes nothing"


def test_a_question_writes_nothing(whole, capsys):
    all_are_answered(capsys, whole.root)


def test_on_a_read_only_file_system(disk, capsys):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    all_are_answered(capsys, disk / "store")
    ended = run_inside(capsys, "remove", "kept", "--store", disk / "store")
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 2 and "Read-only file system" in line


def test_on_a_full_disk(disk, capsys):
    with pytest.raises(OSError, match="No space"), (disk / "filler").open("wb") as filler:
        while True:
            filler.write(bytes(4096))
            filler.flush()
    all_are_answered(capsys, disk / "store")


KILLED = """
import os, signal, sys
from pathlib import Path
from multimodal.catalogue import Catalogue, Video
catalogue = Catalogue(Path(sys.argv[1]))
catalogue.put(Video("9" * 64, "late.mp4", "/late.mp4", 1, "refused", "it is of a killed run"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("with_index", [True, False])
def test_read_only_after_a_writer_was_killed(disk, capsys, with_index):
    """The last transactions lie in a file of their own, which SQLite cannot bring home; its index may be lost, too."""
    catalogue = disk / "store/catalogue.sqlite"
    subprocess.run([sys.executable, "-c", KILLED, catalogue], check=False)
    assert Path(f"{catalogue}-wal").stat().st_size
    if not with_index:
        Path(f"{catalogue}-shm").unlink()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    all_are_answered(capsys, disk / "store")
    assert "late.mp4" in run_inside(capsys, "status", "--store", disk / "store").stdout


def test_beside_the_lock_of_another(disk, capsys):
    """A writer in the middle of a transaction, which another writer would wait 30 s for."""
    catalogue = disk / "store/catalogue.sqlite"
    other = sqlite3.connect(catalogue, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE videos SET name = 'renamed.mp4'")
    all_are_answered(capsys, disk / "store")
    other.execute("ROLLBACK")
    other.close()


def test_the_control_opened_to_write_a_read_only_store_cannot_be_asked(disk):
    """As it was before: the catalogue opened to write, which every question did."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(sqlite3.OperationalError):
        sqlite3.connect(disk / "store/catalogue.sqlite").execute("BEGIN IMMEDIATE")


def test_a_catalogue_that_is_open_shows_what_a_run_changes(whole, tmp_path):
    """Before a run, while it writes, and after it."""
    path = tmp_path / "catalogue.sqlite"
    Catalogue(path).close()
    with Catalogue(path, read_only=True) as reader:
        assert reader.videos() == []
        with Catalogue(path) as writer:
            for n in range(3):
                writer.put(Video(f"{n}" * 64, f"{n}.mp4", f"/{n}.mp4", 1))
                assert len(reader.videos()) == n + 1
        with Catalogue(path) as writer:
            writer.remove("0" * 64)
        assert len(reader.videos()) == 2


def test_an_old_catalogue_is_read_without_being_changed(tmp_path):
    """Of the first version: its tables are brought up to date in memory."""
    path = tmp_path / "catalogue.sqlite"
    with sqlite3.connect(path) as db:
        from multimodal.catalogue import MIGRATIONS

        db.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY)")
        for step in MIGRATIONS[:3]:
            step(db)
            db.execute("INSERT INTO migrations VALUES (?)", (step.__name__,))
        db.execute(
            "INSERT INTO videos (video, name, path, bytes, state, reason) VALUES ('a', 'a.mp4', '/a.mp4', 1, 'done', '')"
        )
    db.close()
    before = path.read_bytes()
    with Catalogue(path, read_only=True) as reader:
        assert [v.name for v in reader.videos()] == ["a.mp4"] and reader.forgotten() == []
    assert path.read_bytes() == before
