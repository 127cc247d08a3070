"""Owns the killable child process in which untrusted files are decoded: its limits, its deadlines, and how it ended.

A function of ours runs in a fresh Python process with a memory limit. What it yields comes back over a wire that
carries no code (:mod:`multimodal.intake.protocol`), and is waited for with patience that ends: between two results, and in
all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from multimodal.intake.protocol import LENGTH, UNREADABLE, UnexpectedMessage, decode, deserialize, encode

DEADLINE_SECONDS = 120.0
MEMORY_BYTES = 6 << 30
LARGEST_MESSAGE = 2 << 30
LAST_WORDS_BYTES = 4096
"""So much of the end of what a child writes to standard error is kept, in memory; the rest is read and dropped."""
SECONDS_TO_END = 10.0
"""A child that closed its side of the wire has this long to be gone."""
_ROOT = Path(__file__).resolve().parents[2]


class SandboxError(RuntimeError):
    """The child did not do its work: it ran out of time or memory, or crashed; the message says which."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """``seconds`` may pass between two results; ``memory`` bytes of address space are the child's.

    A stream that never ends is ended by the others: the child may be waited for ``total`` seconds in all (the time that
    its results are worked on does not count), and may give ``results``; ``None`` sets no limit.
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
    **kwargs: Any,
) -> Generator[Any, None, Any]:
    """Runs a generator function of ours in a child and yields what it yields; its return value is returned.

    ``types`` names the dataclasses and exception classes that may come back. An exception of one of these types is
    raised here as itself; whatever else goes wrong raises :class:`SandboxError`.
    """
    return _run(_request(function, args, kwargs, limits, generator=True), types, limits)


def call(
    function: Callable[..., Any],
    *args: Any,
    types: tuple[type, ...],
    limits: Limits = Limits(),
    **kwargs: Any,
) -> Any:
    """Runs a function of ours in a child and returns its result; see :func:`stream`."""
    work = _run(_request(function, args, kwargs, limits, generator=False), types, limits)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def _request(
    function: Callable[..., Any], args: Any, kwargs: Any, limits: Limits, *, generator: bool
) -> bytes:
    return encode(
        {
            "function": f"{function.__module__}:{function.__qualname__}",
            "args": list(args),
            "kwargs": kwargs,
            "memory": limits.memory,
            "parent": os.getpid(),
            "generator": generator,
        }
    )


def _run(request: bytes, types: tuple[type, ...], limits: Limits) -> Generator[Any, None, Any]:
    known = {t.__name__: t for t in types}
    with contextlib.closing(_Child(limits)) as child:
        child.ask(request)
        given = 0
        while True:
            message = child.receive()
            kind, value = message["kind"], message["value"]
            if kind == "error":
                raise _error(message, known, limits)
            try:
                value = deserialize(value, known)
            except UnexpectedMessage as error:
                raise SandboxError(f"the decoder answered with {error}") from error
            if kind == "end":
                return value
            given += 1
            if limits.results is not None and given > limits.results:
                raise SandboxError(f"the decoder gave more than {limits.results} results and was stopped")
            yield value


def _error(message: dict[str, Any], known: dict[str, type], limits: Limits) -> Exception:
    """The child's exception as itself where its type was asked for, else a :class:`SandboxError` with its words."""
    name, text = str(message["error"]), str(message["value"])
    if name == "MemoryError":
        return SandboxError(_memory_words(limits))
    if name in known and issubclass(known[name], Exception):
        return known[name](text)
    return SandboxError(f"{name}: {text}")


def _memory_words(limits: Limits) -> str:
    return f"the decoder needed more than {limits.memory >> 20} MiB of memory"


class _Child:
    """The process: what it answers, and the end of what it says on standard error."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waited = 0.0
        self.said = b""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
            "OMP_NUM_THREADS": "1",
            "OPENCV_FOR_THREADS_NUM": "1",
            "OPENCV_FFMPEG_LOGLEVEL": "-8",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "multimodal.intake.sandbox_child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip
        self._answers, self._words = self.process.stdout.fileno(), self.process.stderr.fileno()
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        self._poll.register(self._words, select.POLLIN)
        self._speaks = True

    def ask(self, request: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(LENGTH.pack(len(request)) + request)
            self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next message. Raises :class:`SandboxError` where none comes in time, or one that is none."""
        begun = time.monotonic()
        try:
            (size,) = LENGTH.unpack(self._read(LENGTH.size, begun))
            if size > LARGEST_MESSAGE:
                raise SandboxError(
                    f"the decoder answered with {size} bytes; at most {LARGEST_MESSAGE} are taken"
                )
            return _message(self._read(size, begun))
        finally:
            self.waited += time.monotonic() - begun

    def _read(self, size: int, begun: float) -> bytes:
        """``size`` bytes of the answer that was waited for since ``begun``."""
        parts = bytearray()
        total = float("inf") if self.limits.total is None else self.limits.total - self.waited
        due = begun + min(self.limits.seconds, total)
        while len(parts) < size:
            left = due - time.monotonic()
            ready = self._poll.poll(left * 1000) if left > 0 else []
            if not ready:
                limit = self.limits.seconds if self.limits.seconds <= total else self.limits.total
                raise SandboxError(f"the decoder did not finish in {limit:g} s")
            descriptors = [descriptor for descriptor, _ in ready]
            if self._words in descriptors:
                self._listen()
            if self._answers in descriptors:
                chunk = os.read(self._answers, min(size - len(parts), 1 << 20))
                if not chunk:
                    raise SandboxError(self._last_words())
                parts += chunk
        return bytes(parts)

    def _listen(self) -> None:
        """Takes what the child says on standard error."""
        words = os.read(self._words, 1 << 16)
        self.said = (self.said + words)[-LAST_WORDS_BYTES:]
        if not words:
            self._poll.unregister(self._words)
            self._speaks = False

    def _last_words(self) -> str:
        """Why there is no answer: how the process ended, in the words of its signal or status."""
        due = time.monotonic() + SECONDS_TO_END
        self._poll.unregister(self._answers)
        while self._speaks and (left := due - time.monotonic()) > 0 and self._poll.poll(left * 1000):
            self._listen()
        try:
            status = self.process.wait(timeout=max(0.0, due - time.monotonic()))
        except subprocess.TimeoutExpired:
            return "the decoder stopped answering"
        said = self.said.decode(errors="replace").strip().splitlines()
        if any("bad_alloc" in line or "MemoryError" in line or "Cannot allocate" in line for line in said):
            return _memory_words(self.limits)
        reason = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"the decoder crashed ({reason})" + (f": {said[-1][:200]}" if said else "")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _message(blob: bytes) -> dict[str, Any]:
    """What the child says. A child may be in strange hands: whatever does not have the form is a :class:`SandboxError`."""
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
