"""The protocol between a process and its sandboxed child: messages of arrays and JSON, which cannot carry code.

A message is eight bytes of length and a safetensors blob, whose metadata is a JSON tree that refers to the arrays. It is
never a pickle: an exploited child can send wrong data, but no code.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

LENGTH = struct.Struct("<Q")
UNREADABLE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    struct.error,
    SafetensorError,
)
"""The exceptions of :func:`decode` for a malformed blob."""


def encode(value: Any) -> bytes:
    """The blob of a value made of numbers, texts, bytes, paths, arrays, dataclasses, and dicts and lists of these."""
    arrays: dict[str, np.ndarray] = {}

    def plain(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            arrays[str(len(arrays))] = np.asarray(item, order="C")
            return {"@array": str(len(arrays) - 1)}
        if isinstance(item, bytes):
            return {"@bytes": plain(np.frombuffer(item, np.uint8))["@array"]}
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


def decode(blob: bytes) -> Any:
    """The value of a blob; dataclasses stay dicts with the keys ``@type`` and ``fields``."""
    (header_size,) = LENGTH.unpack(blob[: LENGTH.size])
    header = json.loads(blob[LENGTH.size : LENGTH.size + header_size])
    arrays = safetensors.numpy.load(blob)

    def fill(item: Any) -> Any:
        if isinstance(item, dict):
            if "@array" in item:
                return arrays[item["@array"]]
            if "@bytes" in item:
                return arrays[item["@bytes"]].tobytes()
            if "@path" in item:
                return Path(item["@path"])
            return {key: fill(part) for key, part in item.items()}
        return tuple(fill(part) for part in item) if isinstance(item, list) else item

    return fill(json.loads(header["__metadata__"]["tree"]))


def deserialize(item: Any, known: dict[str, type]) -> Any:
    """A decoded value with its dataclasses, of the ``known`` types alone. Raises ``ValueError`` for any other."""
    if isinstance(item, dict) and "@type" in item:
        name = str(item["@type"]).rpartition(":")[2]
        if not dataclasses.is_dataclass(known.get(name)):
            raise ValueError(f"a {name}, which was not asked for")
        fields = item.get("fields")
        if not isinstance(fields, dict) or set(fields) != {f.name for f in dataclasses.fields(known[name])}:
            raise ValueError(f"a {name} of other fields")
        return known[name](**{key: deserialize(part, known) for key, part in fields.items()})
    if isinstance(item, dict):
        return {key: deserialize(part, known) for key, part in item.items()}
    return tuple(deserialize(part, known) for part in item) if isinstance(item, tuple) else item


def deserialize_own(item: Any) -> Any:
    """The same in the child: a request comes from our own process, so its types are imported by name."""
    if isinstance(item, dict) and "@type" in item:
        module, _, name = item["@type"].partition(":")
        fields = {key: deserialize_own(part) for key, part in item["fields"].items()}
        return getattr(importlib.import_module(module), name)(**fields)
    if isinstance(item, dict):
        return {key: deserialize_own(part) for key, part in item.items()}
    return tuple(deserialize_own(part) for part in item) if isinstance(item, tuple) else item
