"""The child's side of the sandbox: one request is read, its limits are set, the results of the function are sent.

Run as ``python -m multimodal.intake.sandbox_child`` by :mod:`multimodal.intake.sandbox`; dies with its parent. Before the
function begins the process is confined to the files that its arguments name (:mod:`multimodal.intake.confinement`).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from multimodal.intake.confinement import confine
from multimodal.intake.protocol import LENGTH, decode, deserialize_own, encode

PR_SET_PDEATHSIG = 1


def serve() -> None:
    """Reads one request on standard input and writes results to standard output; prints of libraries go to standard error."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    (size,) = LENGTH.unpack(sys.stdin.buffer.read(LENGTH.size))
    request = decode(sys.stdin.buffer.read(size))
    if os.getppid() != request["parent"]:
        return
    resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))

    def send(message: dict[str, Any]) -> None:
        blob = encode(message)
        output.write(LENGTH.pack(len(blob)))
        output.write(blob)
        output.flush()

    try:
        module, _, name = request["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        for late in request["imports"]:
            with contextlib.suppress(ImportError):  # decord need not be installed
                importlib.import_module(late)
        args, kwargs = deserialize_own(request["args"]), deserialize_own(request["kwargs"])
        confine(_paths([request["args"], request["kwargs"]]), request["cpu"])
        result = function(*args, **kwargs)
        if request["generator"]:
            result = _send_all(result, send)
        send({"kind": "end", "value": result})
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:  # noqa: BLE001 - every exception goes to the parent, by name
        name = "MemoryError" if isinstance(error, MemoryError) else type(error).__name__
        send({"kind": "error", "error": name, "value": str(error)})


def _paths(item: Any) -> Iterator[Path]:
    """The paths in a request."""
    if isinstance(item, Path):
        yield item
    elif isinstance(item, dict | list | tuple):
        for part in item.values() if isinstance(item, dict) else item:
            yield from _paths(part)


def _send_all(items: Iterator[Any], send: Callable[[dict[str, Any]], None]) -> Any:
    while True:
        try:
            send({"kind": "item", "value": next(items)})
        except StopIteration as end:
            return end.value


if __name__ == "__main__":
    serve()
