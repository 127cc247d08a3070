"""A disk without space: one clear line, nothing lost, and with more space the run goes on."""

import os
from collections.abc import Iterator
from pathlib import Path

import fragments
import pytest
from command import artefacts, stamps
from disks import remount, small_disk

TOO_SMALL = {"ingest": "16k", "run": "40m"}
"""By command: no room for the catalogue, no room for a checkpoint."""
ENOUGH = "900m"
MADE = {"ingest": {"transcripts", "features"}, "run": {"features", "models", "indexes"}}


@pytest.fixture
def disk(command, tmp_path) -> Iterator[Path]:
    """A small file system of its own."""
    with small_disk(tmp_path / "disk", TOO_SMALL[command]) as place:
        yield place


@pytest.mark.long
@pytest.mark.parametrize("command", TOO_SMALL if os.environ.get("VIDEOBERT_FAULTS") else ["run"])
def test_a_full_disk_is_told_and_with_more_space_the_run_completes(command, disk, home, tmp_path):
    store = disk / "store"
    command_line = (
        command,
        fragments.spoken(tmp_path / "spoken.mp4"),
        "--store",
        store,
        "--epochs",
        1,
        "--size",
        "demo",
        "--backbone",
        "mobilenetv2",
    )
    ended = home.run(*command_line)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("videobert: disk full: ") and "free some space and run again" in line
    assert not list(store.rglob("*.part"))
    before = {name: stamp for name, stamp in stamps(store).items() if not name.endswith("metrics.jsonl")}
    remount(disk, f"size={ENOUGH}")
    ended = home.run(*command_line)
    assert ended.returncode == 0, ended.stderr
    assert before.items() <= stamps(store).items()
    assert {n.split("/")[0] for n in artefacts(store)} >= MADE[command]
