"""Arrays from an untrusted NumPy pickle: any other content is refused, and nothing in it is run."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from multimodal.store import InputError


def read_numpy_pickle(path: Path) -> dict[str, np.ndarray]:
    """The float arrays of a pickle of nested dicts, keys joined by "/". Raises InputError for any other content."""
    try:
        with path.open("rb") as stream:
            tree = _ArraysOnly(stream).load()
        return {key: np.ascontiguousarray(array) for key, array in _flat(tree, "")}
    except (
        pickle.UnpicklingError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        EOFError,
        MemoryError,
    ) as error:
        raise InputError(f"{path.name} holds more than arrays ({error})") from error


def _new_array(kind: object, shape: object, letter: object) -> np.ndarray:
    """The empty array that a pickle then fills, as `numpy.core.multiarray._reconstruct` makes it."""
    return np.ndarray((0,), np.float32)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that admits the names of a pickled array; `numpy.ndarray` itself cannot be called through it."""

    ADMITTED = {
        ("numpy.core.multiarray", "_reconstruct"): _new_array,
        ("numpy._core.multiarray", "_reconstruct"): _new_array,
        ("numpy", "ndarray"): "ndarray",
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return self.ADMITTED[module, name]


def _flat(tree: object, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(value, f"{prefix}/{key}" if prefix else str(key))
    elif isinstance(tree, np.ndarray) and tree.dtype.kind == "f":
        yield prefix, tree
    else:
        raise TypeError(f"{prefix or 'its root'} is a {type(tree).__name__}")
