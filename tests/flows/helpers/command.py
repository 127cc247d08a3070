"""Owns the running of `videobert` as its users do: processes with a store and a Prefect home of their own."""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

PROJECT = Path(__file__).parents[3]
MARK = "VIDEOBERT_TEST_RUN"
SECONDS_TO_VANISH = 10.0
ARTEFACTS = (
    "transcripts",
    "features",
    "codebooks",
    "tokens",
    "models",
    "captioners",
    "indexes",
    "evaluations",
)


class Home:
    """A Prefect home, and the environment of the processes that use it; `server` is a running server's address or None."""

    def __init__(self, folder: Path, server: str | None = None):
        self.mark = uuid.uuid4().hex
        changes = {
            "PREFECT_HOME": str(folder),
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
            MARK: self.mark,
        }
        self.environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VIDEOBERT_STORE"))
        }
        self.environment |= changes | ({"PREFECT_API_URL": server} if server else {})

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "flows", *map(str, arguments)]

    def run(self, *arguments: object, timeout: float = 900) -> subprocess.CompletedProcess:
        """Runs a command to its end."""
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=timeout, cwd="/", check=False
        )  # fmt: skip

    def start(self, *arguments: object, log: Path) -> subprocess.Popen:
        """Starts a command as the leader of a new session, its standard error in `log`."""
        with log.open("wb") as stderr:
            return subprocess.Popen(
                self.command(*arguments), env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=stderr, start_new_session=True, cwd="/",
            )  # fmt: skip

    def processes(self) -> set[int]:
        """All processes that a command of this home started, however deep, but for those of the server."""
        return processes_with(f"{MARK}={self.mark}\0")

    def left_over(self, seconds: float = SECONDS_TO_VANISH) -> set[int]:
        """The processes that are still there after some seconds; the set is empty as soon as they are gone."""
        due = time.monotonic() + seconds
        while (found := self.processes()) and time.monotonic() < due:
            time.sleep(0.05)
        return found


def processes_with(text: str) -> set[int]:
    """All processes in whose environment the text stands; each variable of it ends with a zero byte."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (folder / "environ").read_bytes():
                found.add(int(folder.name))
    return found


def run_inside(capsys, *arguments: object) -> subprocess.CompletedProcess:
    """Runs a command in this process, which takes a tenth of the time: for calls that end before any work begins."""
    from flows.cli import main

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    argv, environment = sys.argv, dict(os.environ)
    sys.argv = ["videobert", *map(str, arguments)]
    try:
        main()
    except SystemExit as end:
        said = capsys.readouterr()
        assert "flows.server" not in sys.modules, "the work began"
        return subprocess.CompletedProcess(sys.argv, end.code, said.out, said.err)
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    raise AssertionError("main returned")


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def prefect_server(folder: Path, more: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of a Prefect server of the tests, so that not every command needs to start one. ``more``: variables."""
    port = free_port()
    environment = (
        Home(folder).environment | {"PREFECT_LOGGING_LEVEL": "CRITICAL", MARK: ""} | dict(more or {})
    )
    with (folder / "server.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(port), str(os.getpid())],
            env=environment, stdout=log, stderr=log, cwd="/", start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}/api"
    try:
        due = time.monotonic() + 300
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
                break
            assert child.poll() is None and time.monotonic() < due, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        child.kill()
        child.wait()


def artefacts(store: Path) -> dict[str, Path]:
    """The files that make up what a store has made, by their place in it; not its catalogue, lock, sums and report, nor
    TensorBoard's curves, which are drawn again from the metrics and hold the time of day."""
    return {
        path.relative_to(store).as_posix(): path
        for kind in ARTEFACTS
        for path in sorted((store / kind).rglob("*"))
        if path.is_file()
        and "tensorboard" not in path.parts
        and ".part" not in path.relative_to(store).as_posix()
        and path.suffix != ".sha256"
    }


def contents(store: Path) -> dict[str, str]:
    """The SHA-256 of every artefact."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in artefacts(store).items()}


def stamps(store: Path) -> dict[str, tuple[int, int]]:
    """Each artefact's inode and time of change: they differ where a file was written again."""
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in artefacts(store).items()}


def made_again(store: Path, before: Mapping[str, tuple[int, int]]) -> list[str]:
    """What of an earlier time's stamps was written again since, or is gone."""
    now = stamps(store)
    return [name for name, stamp in before.items() if now.get(name) != stamp]


def until(true: Callable[[], object], seconds: float = 300.0) -> None:
    """Waits until something is true. Raises AssertionError where it is not after some seconds."""
    due = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < due
        time.sleep(0.02)


def kill(child: subprocess.Popen, how: str) -> None:
    """`group`: SIGKILL to the whole process group. Else a signal's name, sent to the main process alone."""
    if how == "group":
        os.killpg(child.pid, signal.SIGKILL)
    else:
        os.kill(child.pid, getattr(signal, how))


def folder_of(files: dict[str, Path], folder: Path) -> Path:
    """A folder with copies of `files` under other names."""
    folder.mkdir(parents=True)
    for name, path in files.items():
        shutil.copyfile(path, folder / name)
    return folder


def kept(store: Path) -> dict[str, tuple[int, int]]:
    """The stamps of what is finished: files under their names, folders with a manifest."""
    return {
        name: stamp
        for name, stamp in stamps(store).items()
        if not name.endswith("metrics.jsonl")
        and (not name.startswith(("codebooks/", "models/", "captioners/")) or _is_published(store / name))
    }


def _is_published(file: Path) -> bool:
    return any((folder / "manifest.json").exists() for folder in file.parents)
