"""The cores that a process may use: of an affinity as joblib counts them, and of control groups that are written out here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from multimodal import machine

AFFINITY = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
COUNTED = (
    f"{AFFINITY}; from multimodal.machine import cores; import joblib; print(cores(), joblib.cpu_count())"
)


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Writes the control groups of this process: its paths, and the files of limits; 64 cores are allowed."""
    monkeypatch.setattr(machine, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))

    def write(own: str, **files: str) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_an_affinity_is_heeded():
    """In a process of its own, which may use one core, as joblib sees it."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-c", COUNTED], env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["1", "1"]


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/docker/of-the-host\n", {"cpu.max": "400000 100000\n"}, 4),
        (
            "3:cpuset:/\n2:cpu,cpuacct:/pod\n0::/\n",
            {"cpu/pod/cpu.cfs_quota_us": "200000\n", "cpu/pod/cpu.cfs_period_us": "50000\n"},
            4,
        ),
        (
            "1:cpu:/pod\n",
            {"cpu/pod/cpu.cfs_quota_us": "-1\n", "cpu/pod/cpu.cfs_period_us": "100000\n"},
            64,
        ),
        ("0::/\n", {"cpu.max": "no number\n"}, 64),
        ("", {}, 64),
    ],
)
def test_a_quota_is_heeded(groups, own, files, cores):
    groups(own, **files)
    assert machine.cores() == cores
