"""The confined child: an attacker in it is stopped at each attempt, and succeeds at each without the confinement."""

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import attacker
import psutil
import pytest

from multimodal.intake import confinement, sandbox, system_calls
from multimodal.intake.sandbox import Limits, SandboxError

UNCONFINED = (sys.executable, "-P", str(Path(attacker.__file__).with_name("unconfined_child.py")))
LIMITS = Limits(60.0, 1 << 30, total=60.0)

pytestmark = [
    pytest.mark.usefixtures("child_environment"),
    pytest.mark.skipif(bool(confinement.missing()), reason=f"this system lacks {confinement.missing()}"),
]


@pytest.fixture
def scene(tmp_path):
    """The file that a child is given, a secret beside it, a store, a listening canary and another process."""
    (tmp_path / "videos").mkdir()
    given = tmp_path / "videos/given.bin"
    given.write_bytes(b"frames")
    (tmp_path / "videos/secret.txt").write_text("secret")
    store = tmp_path / "store"
    store.mkdir()
    for name in ("stored", "deleted", "renamed"):
        (store / name).write_text("whole")
    victim = subprocess.Popen(["sleep", "600"])
    with socket.create_server(("127.0.0.1", 0)) as canary:
        yield given, str(store), canary.getsockname()[1], victim.pid
    victim.kill()
    victim.wait()


def tried(scene) -> dict[str, str]:
    """Each attack, with what stopped it."""
    found = {}
    work = sandbox.stream(attacker.attack_all, *scene, types=(), limits=LIMITS)
    with contextlib.suppress(SandboxError):  # the control's last attack replaces the child
        for name, stopped in work:
            found[name] = stopped
    return found


def state(scene):
    given, store, *_ = scene
    files = sorted(Path(store).rglob("*"))
    return given.read_bytes(), [(f.name, f.lstat().st_mode, f.read_bytes()) for f in files if f.is_file()]


def test_an_attacker_is_stopped_at_each_attempt(scene):
    before = state(scene)
    found = tried(scene)
    assert list(found) == [attack.__name__ for attack in attacker.ATTACKS]
    let_through = {n: s for n, s in found.items() if "Errno 1]" not in s and "Errno 13]" not in s}
    assert not let_through
    assert state(scene) == before
    assert psutil.Process(scene[3]).status() == psutil.STATUS_SLEEPING


def test_without_the_confinement_each_attempt_succeeds(scene, monkeypatch):
    monkeypatch.setattr(sandbox, "COMMAND", UNCONFINED)
    found = tried(scene)
    assert list(found) == [attack.__name__ for attack in attacker.ATTACKS[:-1]], "the last replaced the child"
    assert not {name: stopped for name, stopped in found.items() if stopped}


def test_the_work_itself_is_not_stopped(scene):
    """The file that was given is read again and again, and from threads."""
    done = sandbox.call(attacker.do_the_work, scene[0], types=(), limits=LIMITS)
    assert done == {"read": b"frames", "same": True, "sum": 1000.0}


def test_a_folder_among_the_arguments_opens_nothing(scene):
    with pytest.raises(SandboxError, match="PermissionError"):
        sandbox.call(attacker.list_a_folder, None, Path(scene[1]), 0, 0, types=(), limits=LIMITS)


def test_passwords_in_the_environment_do_not_reach_the_child(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "k")
    monkeypatch.setenv("PREFECT_API_KEY", "k")
    names = sandbox.call(attacker.environment_names, types=(), limits=LIMITS)
    assert "PATH" in names and not {"AWS_SECRET_ACCESS_KEY", "PREFECT_API_KEY"} & set(names)


def test_a_thread_that_landlock_would_not_bind_is_an_error():
    code = (
        "import threading, time; from multimodal.intake.confinement import confine, ConfinementError\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "try: confine([], None)\nexcept ConfinementError: print('refused')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "refused\n", ended.stderr


@pytest.mark.parametrize("processor", system_calls.MACHINES)
def test_every_jump_of_the_filter_stays_within_it_and_it_ends_in_a_refusal(processor):
    program = system_calls.program(processor, 1234)
    assert (
        len(program) < 4096 and program[-1][0] == system_calls.RETURN and program[-1][3] != system_calls.ALLOW
    )
    for at, (code, yes, no, _) in enumerate(program):
        if code in (system_calls.EQUAL, system_calls.AT_LEAST, system_calls.ANY_BIT):
            assert max(yes, no) <= 255 and at + 1 + max(yes, no) < len(program)
