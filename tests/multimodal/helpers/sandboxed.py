"""What the tests of the sandbox run in its child process: good work, bad work, and messages of an exploited child."""

import ctypes
import dataclasses
import json
import os
import pickle
import signal
import struct
import sys
import time
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shot:
    name: str
    picture: np.ndarray
    where: Path
    inner: tuple = ()


@dataclasses.dataclass(frozen=True)
class Other:
    x: int


class BadFile(ValueError):
    pass


def give_back(value, *, twice=False):
    return [value, value] if twice else value


def shots(count):
    for i in range(count):
        yield Shot(f"{i}", np.full((2, 3), i, np.uint8), Path(f"/videos/{i}"), (Other(i),))
    return {"count": count, "nothing": None, "share": 0.5}


def environment():
    return {"path": sys.path[:3], "working": os.fspath(Path.cwd()), "threads": os.environ["OMP_NUM_THREADS"]}


def complain(words):
    raise BadFile(words)


def complain_after(count):
    yield from range(count)
    raise BadFile("then it broke")


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def leave():
    print("something on standard error", file=sys.stderr)
    os._exit(7)


def allocate(mebibytes):
    return len(np.ones(mebibytes << 20, np.uint8))


def allocate_in_c(mebibytes):
    """As a decoder in C++ does when it runs out."""
    os.write(
        2, b"terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n"
    )
    os.abort()


def hang():
    ctypes.CDLL(None).pause()


def compute_after_one():
    yield os.getpid()
    while True:
        pass


def drip():
    """An answer that never ends: a few bytes a second."""
    speak(struct.pack("<Q", 1 << 20))
    while True:
        speak(b"x")
        time.sleep(0.05)


def hang_after_one():
    yield os.getpid()
    time.sleep(3600)


def other():
    return Other(3)


def leave_loudly(mebibytes):
    """Standard error is flooded, then says why."""
    for _ in range(mebibytes):
        os.write(2, b"noise " * ((1 << 20) // 6))
    print("\nthe reason", file=sys.stderr, flush=True)
    os._exit(7)


def shout(seconds):
    """Results, and beside them complaints without end."""
    due = time.monotonic() + seconds
    while time.monotonic() < due:
        os.write(2, b"x" * 65_536)
    yield 1


def count_for_ever(pause):
    while True:
        yield os.getpid()
        time.sleep(pause)


def chatter():
    """Prints of a library must not get into the answers."""
    print("hello from a library", flush=True)
    os.write(1, b"\x00" * 100)
    return 5


def pipe():
    """The child's end of its pipe, as an exploit in the child would find it."""
    for descriptor in range(3, 64):
        try:
            if Path(f"/proc/self/fd/{descriptor}").readlink().as_posix().startswith("pipe:"):
                os.set_blocking(descriptor, True)
                if os.readlink(f"/proc/self/fd/{descriptor}") != os.readlink("/proc/self/fd/0"):  # noqa: PTH115
                    return descriptor
        except OSError:
            continue
    raise AssertionError("no pipe")


def speak(data):
    os.write(pipe(), data)


class Trap:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (Path.touch, (Path(self.file),))


def message(tree, arrays=None):
    import safetensors.numpy

    blob = safetensors.numpy.save(arrays or {"0": np.zeros(1)}, metadata={"tree": tree})
    return struct.pack("<Q", len(blob)) + blob


def hostile(kind, trap):
    """Writes what no child of ours writes, then waits."""
    tree = json.dumps
    bad_header = b"{not json"
    speak(
        {
            "pickle": lambda: (lambda p: struct.pack("<Q", len(p)) + p)(pickle.dumps(Trap(trap))),
            "pickled item": lambda: message(pickle.dumps(Trap(trap), 0).decode("latin-1")),
            "noise": lambda: struct.pack("<Q", 64) + bytes(range(64)),
            "nothing": lambda: struct.pack("<Q", 0),
            "short": lambda: struct.pack("<Q", 3) + b"abc",
            "huge": lambda: struct.pack("<Q", 1 << 62),
            "bad header": lambda: (lambda b: struct.pack("<Q", len(b)) + b)(
                struct.pack("<Q", len(bad_header)) + bad_header
            ),
            "a list": lambda: message(tree([1, 2])),
            "a number": lambda: message("5"),
            "no kind": lambda: message(tree({"value": 1})),
            "strange kind": lambda: message(tree({"kind": "code", "value": "1"})),
            "no value": lambda: message(tree({"kind": "end"})),
            "nameless error": lambda: message(tree({"kind": "error", "value": "x"})),
            "no such array": lambda: message(tree({"kind": "end", "value": {"@array": "99"}})),
            "array by list": lambda: message(tree({"kind": "end", "value": {"@array": [1]}})),
            "path of number": lambda: message(tree({"kind": "end", "value": {"@path": 5}})),
            "deep": lambda: message("[" * 100_000),
            "another type": lambda: message(
                tree(
                    {
                        "kind": "end",
                        "value": {"@type": "subprocess:Popen", "fields": {"args": f"touch {trap}"}},
                    }
                )
            ),
            "type of number": lambda: message(tree({"kind": "end", "value": {"@type": 5, "fields": {}}})),
            "no fields": lambda: message(tree({"kind": "end", "value": {"@type": "sandboxed:Shot"}})),
            "other fields": lambda: message(
                tree({"kind": "end", "value": {"@type": "sandboxed:Shot", "fields": {"x": 1}}})
            ),
            "an exception as a value": lambda: message(
                tree({"kind": "end", "value": {"@type": "sandboxed:BadFile", "fields": {}}})
            ),
            "a value as an exception": lambda: message(
                tree({"kind": "error", "error": "Shot", "value": "x"})
            ),
            "a builtin exception": lambda: message(
                tree({"kind": "error", "error": "SystemExit", "value": "0"})
            ),
        }[kind]()
    )
    time.sleep(3600)


def stop_speaking():
    """Closes the pipe and lives on."""
    os.close(pipe())
    time.sleep(3600)


def parent_of_a_hanging_child(pid_file):
    """Run by a process that is going to be killed."""
    from multimodal.intake import sandbox

    work = sandbox.stream(hang_after_one, types=())
    Path(pid_file).write_text(str(next(work)))
    next(work)


if __name__ == "__main__":
    import sandboxed

    sandboxed.parent_of_a_hanging_child(sys.argv[1])
