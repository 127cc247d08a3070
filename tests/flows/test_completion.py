"""Completion at the tab key, in a real bash on a terminal of its own."""

import os
import pty
import select
import subprocess
import time

import pytest
from command import run_inside

from flows.cli import install_completion

SECONDS = 60


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home in which completion was installed twice."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(folder))
        install_completion(shell="bash")
        install_completion(shell="bash")
    return folder


def typed(home, keys: str, wanted: str) -> str:
    """What a bash of this home shows until ``wanted`` is among it, after ``keys``."""
    terminal, end = pty.openpty()
    variables = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb", "INPUTRC": "/dev/null"}
    shell = subprocess.Popen(
        ["bash", "--rcfile", str(home / ".bashrc"), "-i"], stdin=end, stdout=end, stderr=end, env=variables, start_new_session=True
    )  # fmt: skip
    os.close(end)
    shown, due = "", time.monotonic() + SECONDS
    try:
        os.write(terminal, keys.encode())
        while wanted not in shown and time.monotonic() < due:
            if select.select([terminal], [], [], 0.2)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace")
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)
    return shown


@pytest.mark.parametrize(
    ("keys", "completed"),
    [
        ("videobert summ\t", "videobert summarise "),
        ("videobert run --requ\t", "--require-confinement "),
        ("videobert run --size pa\t", "--size paper "),
        ("videobert caption kitchen --by mo\t", "--by model "),
    ],
)
def test_the_tab_key_completes(home, keys, completed):
    assert completed in typed(home, keys, completed)


def test_installed_twice_it_is_loaded_once(home):
    assert (home / ".bashrc").read_text().count("Load videobert completion") == 1


def test_where_it_cannot_be_written_is_told_in_a_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    ended = run_inside(capsys, "--install-completion", "--shell", "bash")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and str(tmp_path) in ended.stderr
