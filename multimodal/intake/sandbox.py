"""The sandbox: a killable child process with limits of time and memory in which untrusted files are decoded.

A function of ours runs in a fresh Python process with a memory limit. It is confined to reading the files whose paths are
among its arguments (:mod:`multimodal.intake.confinement`). Its results come back as messages that cannot carry code
(:mod:`multimodal.intake.protocol`). There is a timeout for each result and a timeout budget for all of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from multimodal.intake.protocol import LENGTH, UNREADABLE, decode, deserialize, encode
from multimodal.store import InputError

DEADLINE_SECONDS = 120.0
MEMORY_BYTES = 6 << 30
LARGEST_MESSAGE = 2 << 30
STDERR_BYTES = 4096
"""The end of a child's standard error that is kept in memory; the rest is read and dropped."""
PIPE_BYTES = 1 << 20
"""The size of the pipe for results: the usual 64 KiB would switch between the two processes many times a message."""
SECONDS_TO_END = 10.0
"""Time for a child that closed its pipe to end by itself."""
_ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-P", "-m", "multimodal.intake.sandbox_child")
INHERITED_KINDS = ("LANG", "LC_", "VIDEOBERT_")
INHERITED = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONNOUSERSITE",
)
"""The environment of a child. Others may hold keys and passwords, which an exploited decoder need not see."""


class SandboxError(InputError):
    """The child ran out of time or memory, crashed, or sent something that was not asked for; the message says which."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a child: ``seconds`` between two results and ``memory`` bytes of address space.

    Two more end a stream that never ends: ``total`` seconds of waiting in all (the time in which the parent works on
    results does not count) and the number of ``results``. ``None`` sets no limit. A child with a ``total`` may also use no
    more seconds of a processor than that.
    """

    seconds: float = DEADLINE_SECONDS
    memory: int = MEMORY_BYTES
    total: float | None = None
    results: int | None = None


def stream(
    function: Callable[..., Any],
    *args: Any,
    types: tuple[type, ...],
    limits: Limits = Limits(),
    imports: Sequence[str] = (),
    **kwargs: Any,
) -> Generator[Any, None, Any]:
    """Runs a generator function of ours in a child and yields its results; its return value is returned.

    ``types`` are the dataclasses and exception classes that may come back. ``imports``: modules that the function imports
    late, with libraries of the system that a confined child could not load. An exception of one of these types is raised
    here as itself; anything else that goes wrong raises :class:`SandboxError`.
    """
    return _run(_request(function, args, kwargs, limits, imports, generator=True), types, limits)


def call(
    function: Callable[..., Any],
    *args: Any,
    types: tuple[type, ...],
    limits: Limits = Limits(),
    imports: Sequence[str] = (),
    **kwargs: Any,
) -> Any:
    """Runs a function of ours in a child and returns its result; see :func:`stream`."""
    work = _run(_request(function, args, kwargs, limits, imports, generator=False), types, limits)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def _request(
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    limits: Limits,
    imports: Sequence[str],
    *,
    generator: bool,
) -> bytes:
    return encode(
        {
            "function": f"{function.__module__}:{function.__qualname__}",
            "args": list(args),
            "kwargs": kwargs,
            "imports": list(imports),
            "memory": limits.memory,
            "cpu": None if limits.total is None else math.ceil(limits.total),
            "parent": os.getpid(),
            "generator": generator,
        }
    )


def _run(request: bytes, types: tuple[type, ...], limits: Limits) -> Generator[Any, None, Any]:
    known = {t.__name__: t for t in types}
    with contextlib.closing(_Child(limits)) as child:
        child.send(request)
        results = 0
        while True:
            message = child.receive()
            kind, value = message["kind"], message["value"]
            if kind == "error":
                raise _error(message, known, limits)
            try:
                value = deserialize(value, known)
            except (ValueError, TypeError) as error:
                raise SandboxError(f"the decoder answered with {error}") from error
            if kind == "end":
                return value
            results += 1
            if limits.results is not None and results > limits.results:
                raise SandboxError(f"the decoder gave more than {limits.results} results and was stopped")
            yield value


def _error(message: dict[str, Any], known: dict[str, type], limits: Limits) -> Exception:
    """The child's exception: of its own type where that was asked for, else a :class:`SandboxError` with its message."""
    name, text = str(message["error"]), str(message["value"])
    if name == "MemoryError":
        return SandboxError(_out_of_memory(limits))
    if name in known and issubclass(known[name], Exception):
        return known[name](text)
    return SandboxError(f"{name}: {text}")


def _out_of_memory(limits: Limits) -> str:
    return f"the decoder needed more than {limits.memory >> 20} MiB of memory"


class _Child:
    """The child process: its messages, and the end of its standard error."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waited = 0.0
        self.stderr_end = b""
        inherited = {n: v for n, v in os.environ.items() if n in INHERITED or n.startswith(INHERITED_KINDS)}
        environment = inherited | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OPENCV_FOR_THREADS_NUM": "1",
            "OPENCV_FFMPEG_LOGLEVEL": "-8",
            # Arrow's own allocator starts a thread, which Landlock would not bind.
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "JE_ARROW_MALLOC_CONF": "background_thread:false",
        }
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip
        self._results, self._stderr = self.process.stdout.fileno(), self.process.stderr.fileno()
        with contextlib.suppress(PermissionError):  # a user's pipes have a limit in all
            fcntl.fcntl(self._results, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._poll = select.poll()
        self._poll.register(self._results, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)
        self._stderr_open = True

    def send(self, request: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(LENGTH.pack(len(request)) + request)
            self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next message. Raises :class:`SandboxError` where none comes in time, or it is malformed."""
        began = time.monotonic()
        try:
            (size,) = LENGTH.unpack(self._read(LENGTH.size, began))
            if size > LARGEST_MESSAGE:
                raise SandboxError(
                    f"the decoder answered with {size} bytes; at most {LARGEST_MESSAGE} are taken"
                )
            return _message(self._read(size, began))
        finally:
            self.waited += time.monotonic() - began

    def _read(self, size: int, began: float) -> bytes:
        """``size`` bytes of the message that has been waited for since ``began``."""
        parts = bytearray()
        # The timeout is that of the whole message: a few bytes now and then do not extend it.
        total = float("inf") if self.limits.total is None else self.limits.total - self.waited
        due = began + min(self.limits.seconds, total)
        while len(parts) < size:
            left = due - time.monotonic()
            ready = self._poll.poll(left * 1000) if left > 0 else []
            if not ready:
                limit = self.limits.seconds if self.limits.seconds <= total else self.limits.total
                raise SandboxError(f"the decoder did not finish in {limit:g} s")
            descriptors = [descriptor for descriptor, _ in ready]
            if self._stderr in descriptors:
                self._read_stderr()
            if self._results in descriptors:
                chunk = os.read(self._results, min(size - len(parts), 1 << 20))
                if not chunk:
                    raise SandboxError(self._cause_of_end())
                parts += chunk
        return bytes(parts)

    def _read_stderr(self) -> None:
        """Reads standard error, so that a full pipe never blocks the child, and keeps its end."""
        text = os.read(self._stderr, 1 << 16)
        self.stderr_end = (self.stderr_end + text)[-STDERR_BYTES:]
        if not text:
            self._poll.unregister(self._stderr)
            self._stderr_open = False

    def _cause_of_end(self) -> str:
        """The end of the process as a sentence: its signal or exit status, and its last line on standard error."""
        due = time.monotonic() + SECONDS_TO_END
        self._poll.unregister(self._results)
        while self._stderr_open and (left := due - time.monotonic()) > 0 and self._poll.poll(left * 1000):
            self._read_stderr()
        try:
            status = self.process.wait(timeout=max(0.0, due - time.monotonic()))
        except subprocess.TimeoutExpired:
            return "the decoder stopped answering"
        lines = self.stderr_end.decode(errors="replace").strip().splitlines()
        if any("bad_alloc" in line or "MemoryError" in line or "Cannot allocate" in line for line in lines):
            return _out_of_memory(self.limits)
        if status == -signal.SIGXCPU:
            return f"the decoder used more than {self.limits.total:g} seconds of a processor"
        reason = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"the decoder crashed ({reason})" + (f": {lines[-1][:200]}" if lines else "")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _message(blob: bytes) -> dict[str, Any]:
    """A message of the child. An exploited child may send anything, so a malformed message raises :class:`SandboxError`."""
    try:
        message = decode(blob)
        if message["kind"] not in ("item", "end", "error") or "value" not in message:
            raise ValueError(f"kind {str(message['kind'])[:20]!r}")
        if message["kind"] == "error" and "error" not in message:
            raise ValueError("an error without its name")
    except UNREADABLE as error:
        raise SandboxError(
            f"the decoder answered with what cannot be read ({type(error).__name__})"
        ) from error
    return message
