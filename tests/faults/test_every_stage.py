"""Each stage of a run without space, without the right to write, without memory, stopped, and beside another run.

The stages of imported files are made one by one. A stage that a fault hit is made again, and the store is then what it is
where nothing happened. `VIDEOBERT_FAULTS=N` does it at every stage.
"""

import importlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import imported_corpus
import pytest
import stages
from command import artefacts, contents, kept
from disks import fill, remount, small_disk
from stages import DEFECT, LOCKED, REFUSED, STAGES

LONG = bool(os.environ.get("VIDEOBERT_FAULTS"))
EVERY = tuple(STAGES)
FEW = EVERY if LONG else ("index",)
"""Stages that a fault is tried at."""
SIGNS = {
    "import": "features/*.safetensors", "codebook": "codebooks/*", "pretrain": "models/*/.step*.part",
    "captioner": "captioners/*/.step*.part", "index": "indexes/*/*.parquet", "evaluate": "evaluations/*.json",
}  # fmt: skip
"""What shows that a stage is in the middle of its work."""


class World:
    """Files to import, a BERT to start from, and copies of the store as it is before each stage and at the end."""

    def __init__(self, root: Path):
        self.root, self.log = root, root / "log"
        self.corpus = imported_corpus.write_corpus(root / "corpus", videos=6)
        self.bert = imported_corpus.write_bert(root / "bert")
        store = root / "store"
        for stage in EVERY if LONG else EVERY[: EVERY.index("index") + 1]:
            self.keep(store, stage)
            status, line = self.run(store, stage)
            assert status == 0, line
            self.keep(store, f"{stage} made")

    def keep(self, store: Path, name: str) -> None:
        if store.exists():
            shutil.copytree(store, self.root / name)

    def before(self, stage: str, store: Path) -> Path:
        """A store that lacks this stage, at ``store``."""
        if (self.root / stage).exists():
            shutil.copytree(self.root / stage, store)
        return store

    def work(self, store: Path, *names: str) -> Callable[[], None]:
        return lambda: stages.work(store, self.corpus, self.bert, names)

    def run(self, store: Path, *names: str, before: Callable[[], None] = lambda: None) -> tuple[int, str]:
        return stages.run(self.work(store, *names), self.log, before)

    def is_made_again(self, store: Path, stage: str) -> None:
        """The stage ends now, and has made what it makes where nothing happened."""
        status, line = self.run(store, stage)
        assert status == 0, line
        self.is_as_made(store, stage)

    def is_as_made(self, store: Path, stage: str) -> None:
        assert contents(store) == contents(self.root / f"{stage} made")
        assert not list(store.rglob(".*.part"))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("stages"))


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A file system of its own."""
    with small_disk(tmp_path / "disk", "60m") as place:
        yield place


@pytest.mark.parametrize("stage", FEW)
def test_a_full_and_a_read_only_disk_lose_nothing(world, disk, stage):
    store = world.before(stage, disk / "store")
    before = kept(store)
    filler = fill(disk)
    status, line = world.run(store, stage)
    assert status == REFUSED and ("disk full" in line or "No space" in line), line
    assert not list(store.rglob("*.part"))
    filler.unlink()
    remount(disk, "ro")
    status, line = world.run(store, stage)
    assert status == REFUSED and "Read-only" in line, line
    remount(disk, "rw")
    assert before.items() <= kept(store).items()
    world.is_made_again(store, stage)


@pytest.mark.parametrize("stage", FEW)
def test_a_folder_that_becomes_read_only_in_a_run_is_told_and_nothing_is_lost(world, disk, stage):
    store = world.before(stage, disk / "store")
    before, folder = kept(store), store / SIGNS[stage].partition("/")[0]

    def becomes_read_only() -> None:
        begun = STAGES[stage]

        def with_a_folder_that_is_only_read(run: object) -> None:
            folder.mkdir(exist_ok=True)
            subprocess.run(["mount", "--bind", folder, folder], check=True)
            remount(folder, "bind,ro")
            begun(run)

        STAGES[stage] = with_a_folder_that_is_only_read

    try:
        status, line = world.run(store, stage, before=becomes_read_only)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    assert status == REFUSED and "Read-only" in line, line
    assert before.items() <= kept(store).items()
    world.is_made_again(store, stage)


@pytest.mark.parametrize("stage", FEW)
def test_no_memory_loses_nothing(world, stage, tmp_path):
    """The address space may not grow from the stage's beginning on. Libraries in C may crash there, and OpenBLAS ends the process
    with a line of its own; that is like a kill. What PyTorch imports late is there before: an import that finds no memory
    ends as any error."""
    store = world.before(stage, tmp_path / "store")
    before = kept(store)
    status, line = world.run(store, stage, before=lambda: starve(stage, 1 << 20))
    ended_by_library = status in (-signal.SIGSEGV, -signal.SIGABRT) or "OpenBLAS error" in line
    assert status in (0, REFUSED) or ended_by_library, line
    assert status != REFUSED or "memory" in line, line
    assert before.items() <= kept(store).items()
    world.is_made_again(store, stage)


def starve(stage: str, headroom: int) -> None:
    begun = STAGES[stage]

    def starved(run: object) -> None:
        if stage in ("pretrain", "captioner"):
            importlib.import_module("torch._dynamo")
        held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (held + headroom, held + headroom))
        begun(run)

    STAGES[stage] = starved


def test_a_model_that_does_not_fit_into_memory_is_told_in_a_line(world, tmp_path):
    large = imported_corpus.write_bert(tmp_path / "bert", hidden_size=1024, intermediate_size=8192)
    store = world.before("pretrain", tmp_path / "store")
    do = lambda: stages.work(store, world.corpus, large, ("pretrain",))  # noqa: E731
    status, line = stages.run(do, world.log, lambda: starve("pretrain", 40 << 20))
    assert status == REFUSED and "memory" in line and "--accumulate" in line, line
    assert not list((store / "damaged").glob("*")), "what was read is no fault of the file"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT] if LONG else [signal.SIGKILL])
@pytest.mark.parametrize("stage", FEW)
def test_stopped_in_the_middle_of_a_stage_nothing_is_done_twice(world, tmp_path, stage, how):
    store = world.before(stage, tmp_path / "store")
    there = set(store.glob(SIGNS[stage]))
    status = stages.killed_at(
        world.work(store, stage), world.log, lambda: set(store.glob(SIGNS[stage])) - there, how
    )
    assert status in (0, -how), world.log.read_text()
    before = kept(store)
    world.is_made_again(store, stage)
    now = kept(store)
    assert [name for name in before if now.get(name) != before[name]] == []


@pytest.mark.parametrize("stage", ["import", "pretrain"] if LONG else ["import"])
def test_of_several_at_once_one_works_and_the_others_are_told(world, tmp_path, stage):
    store = world.before(stage, tmp_path / "store")
    logs = [tmp_path / f"log{n}" for n in range(4)]
    started = [stages.start(world.work(store, stage), log) for log in logs]
    ended = [stages.end(number) for number in started]
    assert set(ended) <= {0, LOCKED} and 0 in ended, [log.read_text() for log in logs]
    for status, log in zip(ended, logs, strict=True):
        assert status == 0 or "writes to it" in log.read_text()
    world.is_as_made(store, stage)


def test_the_control_a_defect_shows_its_traceback(world):
    """So that a test of a single line could fail."""

    def broken() -> None:
        raise KeyError("a defect")

    assert stages.end(stages.start(broken, world.log)) == DEFECT
    assert "Traceback" in world.log.read_text()


def test_the_control_a_changed_byte_is_another_store(world, tmp_path):
    store = shutil.copytree(world.root / "index made", tmp_path / "store")
    victim = next(iter(artefacts(store).values()))
    victim.write_bytes(victim.read_bytes() + b"\0")
    with pytest.raises(AssertionError):
        world.is_as_made(store, "index")
