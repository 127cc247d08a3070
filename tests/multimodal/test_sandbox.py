"""The sandbox: results that come back, limits that end a child, and messages of an exploited child."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import sandboxed
from sandboxed import BadFile, Other, Shot

from multimodal.intake import sandbox
from multimodal.intake.sandbox import Limits, SandboxError

MEMORY = 1 << 30

pytestmark = pytest.mark.usefixtures("child_environment")


def call(function, *args, types=(), seconds=60.0, memory=MEMORY, **kwargs):
    return sandbox.call(function, *args, types=types, limits=Limits(seconds, memory), **kwargs)


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "multimodal.intake.sandbox" in " ".join(p.cmdline())]


def gone(pid: int, seconds: float) -> bool:
    due = time.monotonic() + seconds
    while time.monotonic() < due:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(autouse=True)
def leaves_no_process():
    yield
    assert children() == []


@pytest.mark.parametrize(
    "value",
    [None, 5, 0.25, "héllo \u2028 \0", True, Path("/a/b c"), {"a": {"b": None}}, (1, (2, "x")), float("inf")],
)
def test_values_come_back(value):
    assert call(sandboxed.give_back, value) == value


def test_arrays_come_back():
    for array in (
        np.arange(12, dtype=np.float16).reshape(3, 4)[:, ::2],
        np.zeros((0, 5), np.int64),
        np.array(True),
    ):
        found = call(sandboxed.give_back, {"x": array}, twice=True)
        assert isinstance(found, tuple) and len(found) == 2
        for part in found:
            assert part["x"].dtype == array.dtype and np.array_equal(part["x"], array)


def test_dataclasses_come_back_one_by_one():
    work = sandbox.stream(sandboxed.shots, 3, types=(Shot, Other))
    first = next(work)
    assert isinstance(first, Shot) and (first.name, first.where, first.inner) == (
        "0",
        Path("/videos/0"),
        (Other(0),),
    )
    rest = []
    while True:
        try:
            rest.append(next(work))
        except StopIteration as end:
            assert end.value == {"count": 3, "nothing": None, "share": 0.5}
            break
    assert [s.picture.tolist() for s in rest] == [[[i] * 3] * 2 for i in (1, 2)]


def test_a_type_of_the_request_crosses_too():
    shot = Shot("n", np.ones(2), Path("p"), (Other(1),))
    found = call(sandboxed.give_back, shot, types=(Shot, Other))
    assert (found.name, found.picture.tolist(), found.where, found.inner) == (
        "n",
        [1, 1],
        Path("p"),
        (Other(1),),
    )


def test_exceptions_of_a_type_that_was_asked_for_are_themselves():
    with pytest.raises(BadFile, match="^line one: 5 > 3$"):
        call(sandboxed.complain, "line one: 5 > 3", types=(BadFile,))
    with pytest.raises(SandboxError, match="^BadFile: hm$"):
        call(sandboxed.complain, "hm")
    work = sandbox.stream(sandboxed.complain_after, 2, types=(BadFile,))
    assert [next(work), next(work)] == [0, 1]
    with pytest.raises(BadFile, match="then it broke"):
        next(work)


def test_a_type_that_was_not_asked_for_is_refused():
    with pytest.raises(SandboxError, match="Other"):
        call(sandboxed.other, types=(Shot,))


@pytest.mark.parametrize("function", [sandboxed.allocate, sandboxed.allocate_in_c])
def test_too_much_memory(function):
    with pytest.raises(SandboxError, match="1024 MiB"):
        call(function, 1500)


def test_enough_memory():
    assert call(sandboxed.allocate, 100) == 100 << 20


@pytest.mark.parametrize("function", [sandboxed.hang, sandboxed.drip])
def test_a_child_that_does_not_finish_is_killed_at_the_deadline(function):
    began = time.monotonic()
    with pytest.raises(SandboxError, match="in 4 s$"):
        call(function, seconds=4.0)
    assert time.monotonic() - began >= 4.0
    assert children() == []


def test_a_child_that_computes_for_ever_is_ended_by_its_seconds_of_a_processor():
    """Though nobody waits for it, as when its results are worked on."""
    work = sandbox.stream(sandboxed.compute_after_one, types=(), limits=Limits(60.0, MEMORY, total=2.0))
    assert gone(next(work), 60.0)
    with pytest.raises(SandboxError, match="2 seconds of a processor"):
        next(work)


def test_the_deadline_is_between_two_results():
    work = sandbox.stream(sandboxed.hang_after_one, types=(), limits=Limits(4.0, MEMORY))
    pid = next(work)
    with pytest.raises(SandboxError, match="in 4 s"):
        next(work)
    assert not psutil.pid_exists(pid)


def test_a_slow_stream_without_end_is_ended_by_its_budget():
    """No result is ever late, so only the sum ends it; the time in which nobody waits does not count."""
    seen = []
    with pytest.raises(SandboxError, match="in 3 s$"):
        for pid in sandbox.stream(
            sandboxed.count_for_ever, 0.3, types=(), limits=Limits(60.0, MEMORY, total=3.0)
        ):
            seen.append(pid)
            assert len(seen) < 100
    assert len(seen) >= 1
    assert not psutil.pid_exists(seen[0])


def test_a_quick_stream_without_end_is_ended_by_its_number_of_results():
    seen = []
    with pytest.raises(SandboxError, match="500 results"):
        for pid in sandbox.stream(
            sandboxed.count_for_ever, 0, types=(), limits=Limits(60.0, MEMORY, results=500)
        ):
            seen.append(pid)
            assert len(seen) <= 500
    assert len(seen) == 500 and not psutil.pid_exists(seen[0])


def test_work_on_the_results_takes_nothing_from_the_childs_time():
    work = sandbox.stream(sandboxed.shots, 3, types=(Shot, Other), limits=Limits(60.0, MEMORY, total=3.0))
    for _ in range(3):
        assert next(work)
        time.sleep(1.6)


def test_complaints_without_end_cost_neither_memory_nor_disk():
    with pytest.raises(SandboxError, match="exit status 7.*the reason$"):
        call(sandboxed.leave_loudly, 64)
    process, largest = psutil.Process(), 0
    before = process.memory_info().rss
    files = {f.fd for f in process.open_files()}
    for result in sandbox.stream(sandboxed.shout, 1.0, types=()):
        largest = max(largest, process.memory_info().rss - before)
        assert result == 1 and {f.fd for f in process.open_files()} <= files
    assert largest < 8 << 20


def test_a_stream_left_early_leaves_no_child():
    work = sandbox.stream(sandboxed.hang_after_one, types=())
    pid = next(work)
    assert psutil.pid_exists(pid)
    work.close()
    assert not psutil.pid_exists(pid)


def test_a_crash_has_its_reason():
    with pytest.raises(SandboxError, match="SIGSEGV"):
        call(sandboxed.crash)
    with pytest.raises(SandboxError, match="exit status 7.*something on standard error"):
        call(sandboxed.leave)


def test_a_print_of_a_library_is_no_result():
    assert call(sandboxed.chatter) == 5


def test_the_child_runs_our_code(child_environment, tmp_path, monkeypatch):
    """Neither the working folder nor what else is on the path comes before the project."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('a stranger')")
    (tmp_path / "multimodal").mkdir()
    (tmp_path / "multimodal" / "__init__.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path)
    found = call(sandboxed.environment)
    assert found["path"][0] == str(Path(sandbox.__file__).parents[2])
    assert found["working"] == str(tmp_path) and str(tmp_path) not in found["path"]
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path / "multimodal"), child_environment["PYTHONPATH"]])
    )
    assert call(sandboxed.environment)["path"][0] == str(Path(sandbox.__file__).parents[2])


def test_the_child_dies_with_its_killed_parent(tmp_path, child_environment):
    file = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, sandboxed.__file__, str(file)], env=child_environment)
    try:
        due = time.monotonic() + 60
        while not (file.exists() and file.read_text()) and time.monotonic() < due:
            time.sleep(0.05)
        child = int(file.read_text())
        assert psutil.Process(child).ppid() == parent.pid
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert gone(child, 60.0)


@pytest.mark.parametrize(
    "kind",
    ["pickle", "pickled item", "noise", "nothing", "short", "huge", "bad header", "a list", "a number", "no kind",
     "strange kind", "no value", "nameless error", "no such array", "array by list", "path of number", "deep",
     "another type", "type of number", "no fields", "other fields", "an exception as a value",
     "a value as an exception", "a builtin exception"],
)  # fmt: skip
def test_an_exploited_child_can_send_wrong_data_but_no_code(tmp_path, kind):
    trap = tmp_path / "trap"
    with pytest.raises(SandboxError):
        call(sandboxed.hostile, kind, trap, types=(Shot, Other, BadFile))
    assert not trap.exists(), "what the child sent was run"


def test_a_child_that_closed_its_pipe_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS_TO_END", 0.5)
    with pytest.raises(SandboxError, match="stopped answering"):
        call(sandboxed.stop_speaking)
