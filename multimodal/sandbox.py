"""Owns the killable child process in which untrusted files are decoded: limits, deadline, and a wire that carries no code.

A function of ours runs in a fresh Python process with a memory limit. What it yields comes back as safetensors blobs
(arrays) whose metadata is JSON, never as a pickle: a child that a hostile file took over can send wrong data, not code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

DEADLINE_SECONDS = 120.0
MEMORY_BYTES = 6 << 30
LARGEST_MESSAGE = 2 << 30
SECONDS_TO_END = 10.0
"""A child that closed its side of the wire has this long to be gone."""
_LENGTH = struct.Struct("<Q")
_UNREADABLE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    struct.error,
    SafetensorError,
)
_ROOT = Path(__file__).resolve().parents[1]


class SandboxError(RuntimeError):
    """The child did not do its work: it ran out of time or memory, or crashed; the message says which."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """``seconds`` may pass between two results; ``memory`` bytes of address space are the child's."""

    seconds: float = DEADLINE_SECONDS
    memory: int = MEMORY_BYTES


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
    request = _encode(
        {
            "function": f"{function.__module__}:{function.__qualname__}",
            "args": list(args),
            "kwargs": kwargs,
            "memory": limits.memory,
            "parent": os.getpid(),
            "generator": True,
        }
    )
    return _run(request, types, limits)


def call(
    function: Callable[..., Any],
    *args: Any,
    types: tuple[type, ...],
    limits: Limits = Limits(),
    **kwargs: Any,
) -> Any:
    """Runs a function of ours in a child and returns its result; see :func:`stream`."""
    request = _encode(
        {
            "function": f"{function.__module__}:{function.__qualname__}",
            "args": list(args),
            "kwargs": kwargs,
            "memory": limits.memory,
            "parent": os.getpid(),
            "generator": False,
        }
    )
    work = _run(request, types, limits)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def _run(request: bytes, types: tuple[type, ...], limits: Limits) -> Generator[Any, None, Any]:
    known = {t.__name__: t for t in types}
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": "1",
        "OPENCV_FOR_THREADS_NUM": "1",
        "OPENCV_FFMPEG_LOGLEVEL": "-8",
    }
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "multimodal.sandbox"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=environment,
        )  # fmt: skip
        try:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(_LENGTH.pack(len(request)) + request)
                child.stdin.flush()
            while True:
                message = _receive(child, limits, complaints)
                kind, value = message["kind"], message["value"]
                if kind == "error":
                    raise _error(message, known, limits)
                if kind == "end":
                    return _revive(value, known)
                yield _revive(value, known)
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()


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


def _receive(child: subprocess.Popen, limits: Limits, complaints: Any) -> dict[str, Any]:
    due = time.monotonic() + limits.seconds
    header = _read_exactly(child, _LENGTH.size, due, limits)
    if header is None:
        raise SandboxError(_last_words(child, limits, complaints))
    (size,) = _LENGTH.unpack(header)
    if size > LARGEST_MESSAGE:
        raise SandboxError(f"the decoder answered with {size} bytes; at most {LARGEST_MESSAGE} are taken")
    blob = _read_exactly(child, size, due, limits)
    if blob is None:
        raise SandboxError(_last_words(child, limits, complaints))
    return _message(blob)


def _message(blob: bytes) -> dict[str, Any]:
    """What the child says. A child may be in strange hands: whatever does not have the form is a :class:`SandboxError`."""
    try:
        message = _decode(blob)
        if message["kind"] not in ("item", "end", "error") or "value" not in message:
            raise ValueError(f"kind {str(message['kind'])[:20]!r}")
        if message["kind"] == "error" and "error" not in message:
            raise ValueError("an error without its name")
    except _UNREADABLE as error:
        raise SandboxError(
            f"the decoder answered with what cannot be read ({type(error).__name__})"
        ) from error
    return message


def _read_exactly(child: subprocess.Popen, size: int, due: float, limits: Limits) -> bytes | None:
    """``size`` bytes of the child's answer, or ``None`` where it ended first."""
    parts = bytearray()
    poll = select.poll()
    poll.register(child.stdout, select.POLLIN)
    while len(parts) < size:
        left = due - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise SandboxError(f"the decoder did not finish in {limits.seconds:g} s")
        chunk = os.read(child.stdout.fileno(), min(size - len(parts), 1 << 20))
        if not chunk:
            return None
        parts += chunk
    return bytes(parts)


def _last_words(child: subprocess.Popen, limits: Limits, complaints: Any) -> str:
    try:
        status = child.wait(timeout=SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        return "the decoder stopped answering"
    complaints.seek(0, os.SEEK_END)
    complaints.seek(max(0, complaints.tell() - 4096))
    said = complaints.read().decode(errors="replace").strip().splitlines()
    if any("bad_alloc" in line or "MemoryError" in line or "Cannot allocate" in line for line in said):
        return _memory_words(limits)
    reason = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return f"the decoder crashed ({reason})" + (f": {said[-1][:200]}" if said else "")


def _encode(value: Any) -> bytes:
    arrays: dict[str, np.ndarray] = {}

    def plain(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            arrays[str(len(arrays))] = np.asarray(item, order="C")
            return {"@array": str(len(arrays) - 1)}
        if isinstance(item, np.generic):
            return item.item()
        if isinstance(item, Path):
            return {"@path": os.fspath(item)}
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            fields = {f.name: plain(getattr(item, f.name)) for f in dataclasses.fields(item)}
            return {"@type": f"{type(item).__module__}:{type(item).__qualname__}", "fields": fields}
        if isinstance(item, dict):
            return {str(key): plain(part) for key, part in item.items()}
        if isinstance(item, (list, tuple)):
            return [plain(part) for part in item]
        assert item is None or isinstance(item, (str, int, float, bool)), (
            f"{type(item)} does not cross the sandbox"
        )
        return item

    tree = json.dumps(plain(value), ensure_ascii=True)
    return safetensors.numpy.save(arrays or {"empty": np.zeros(1, np.uint8)}, metadata={"tree": tree})


def _decode(blob: bytes) -> dict[str, Any]:
    """The JSON tree of a message with its arrays put in place; dataclasses are left as they were described."""
    (header_size,) = _LENGTH.unpack(blob[: _LENGTH.size])
    header = json.loads(blob[_LENGTH.size : _LENGTH.size + header_size])
    arrays = safetensors.numpy.load(blob)

    def fill(item: Any) -> Any:
        if isinstance(item, dict):
            if "@array" in item:
                return arrays[item["@array"]]
            if "@path" in item:
                return Path(item["@path"])
            return {key: fill(part) for key, part in item.items()}
        return tuple(fill(part) for part in item) if isinstance(item, list) else item

    return fill(json.loads(header["__metadata__"]["tree"]))


def _revive(item: Any, known: dict[str, type]) -> Any:
    if isinstance(item, dict) and "@type" in item:
        name = str(item["@type"]).rpartition(":")[2]
        if not dataclasses.is_dataclass(known.get(name)):
            raise SandboxError(f"the decoder answered with a {name}, which was not asked for")
        fields = item.get("fields")
        if not isinstance(fields, dict) or set(fields) != {f.name for f in dataclasses.fields(known[name])}:
            raise SandboxError(f"the decoder answered with a {name} of other fields")
        return known[name](**{key: _revive(part, known) for key, part in fields.items()})
    if isinstance(item, dict):
        return {key: _revive(part, known) for key, part in item.items()}
    return tuple(_revive(part, known) for part in item) if isinstance(item, tuple) else item


def _die_with_parent() -> None:
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _serve() -> None:
    """The child's side: one request on standard input, its results on standard output."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wire = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    (size,) = _LENGTH.unpack(sys.stdin.buffer.read(_LENGTH.size))
    request = _decode(sys.stdin.buffer.read(size))
    if os.getppid() != request["parent"]:
        return
    resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def send(message: dict[str, Any]) -> None:
        blob = _encode(message)
        wire.write(_LENGTH.pack(len(blob)) + blob)
        wire.flush()

    try:
        module, _, name = request["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        args = [_revive_ours(a) for a in request["args"]]
        kwargs = {key: _revive_ours(a) for key, a in request["kwargs"].items()}
        result = function(*args, **kwargs)
        if request["generator"]:
            result = _send_all(result, send)
        send({"kind": "end", "value": result})
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:  # noqa: BLE001 - whatever went wrong is told to the parent, by name
        name = "MemoryError" if isinstance(error, MemoryError) else type(error).__name__
        send({"kind": "error", "error": name, "value": str(error)})


def _send_all(items: Iterator[Any], send: Callable[[dict[str, Any]], None]) -> Any:
    while True:
        try:
            send({"kind": "item", "value": next(items)})
        except StopIteration as end:
            return end.value


def _revive_ours(item: Any) -> Any:
    """A request comes from our own parent process: its dataclasses are imported by name."""
    if isinstance(item, dict) and "@type" in item:
        module, _, name = item["@type"].partition(":")
        return getattr(importlib.import_module(module), name)(
            **{k: _revive_ours(v) for k, v in item["fields"].items()}
        )
    if isinstance(item, dict):
        return {key: _revive_ours(part) for key, part in item.items()}
    return tuple(_revive_ours(part) for part in item) if isinstance(item, tuple) else item


if __name__ == "__main__":
    _serve()
