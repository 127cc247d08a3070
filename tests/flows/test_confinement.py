"""Where the kernel cannot confine a decoder, `doctor` says so and `--require-confinement` refuses; elsewhere both are content."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import Home, run_inside

from multimodal.intake import confinement

SAMPLES = Path(__file__).parents[1] / "samples"
LANDLOCK = 444
OLD_KERNEL = Path(__file__).parent / "helpers/old_kernel.py"

pytestmark = pytest.mark.skipif(bool(confinement.missing()), reason=f"it lacks {confinement.missing()}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("prefect"))


def on_an_old_kernel(home: Home, *arguments: object) -> subprocess.CompletedProcess:
    """The command on a kernel that has no Landlock."""
    command = [sys.executable, str(OLD_KERNEL), str(LANDLOCK), *home.command(*arguments)]
    return subprocess.run(command, env=home.environment, capture_output=True, text=True, timeout=300, cwd="/")


def sandbox_findings(stdout: str) -> list[tuple[str, str]]:
    return [(f["state"], f["text"]) for f in json.loads(stdout)["findings"] if f["subject"] == "sandbox"]


def test_the_doctor_tries_to_get_out_of_a_child(capsys, tmp_path):
    ended = run_inside(capsys, "doctor", "--store", tmp_path / "none", "--json")
    ((state, text),) = sandbox_findings(ended.stdout)
    assert state == "ok" and "Landlock" in text and "seccomp" in text


@pytest.mark.long
def test_an_old_kernel_is_named_by_the_doctor_and_refused_where_confinement_is_required(alone, tmp_path):
    ((state, text),) = sandbox_findings(
        on_an_old_kernel(alone, "doctor", "--store", tmp_path / "none", "--json").stdout
    )
    assert state == "note" and "Landlock" in text and "seccomp" not in text
    ended = on_an_old_kernel(alone, "ingest", SAMPLES, "--store", tmp_path / "store", "--require-confinement")
    assert ended.returncode == 2 and ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("videobert: --require-confinement: ") and "Landlock" in line
    with pytest.raises(FileNotFoundError):
        next((tmp_path / "store/transcripts").iterdir())


def test_here_it_is_content():
    confinement.require_confinement(True)
