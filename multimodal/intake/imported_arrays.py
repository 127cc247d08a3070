"""Imported arrays in .npy, .npz and .safetensors files.

No pickle is loaded. Every size is checked against the file and the limit before memory is taken for it.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from safetensors import SafetensorError, safe_open

from multimodal.store import InputError

ARRAYS = (".npy", ".npz", ".safetensors")
MOST_BYTES = 1 << 30
"""Limit of one video's features: four days at 1024 float32 every 1.5 s."""
LONGEST_HEADER = 10_000


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npy, .npz or .safetensors file, by name.

    Raises :class:`~multimodal.store.InputError` with the cause and the remedy.
    """
    if file.suffix.lower() == ".safetensors":
        return _safetensors(file)
    if file.suffix.lower() == ".npy":
        with file.open("rb") as stream:
            return {"features": _npy(stream, file.stat().st_size)}
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MOST_BYTES:
                raise InputError(f"would unpack to more than {MOST_BYTES} bytes; split it")
            arrays = {}
            for member in members:
                with archive.open(member) as stream:
                    arrays[member.filename.removesuffix(".npy")] = _npy(stream, member.file_size)
            return arrays
    except InputError:
        raise
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"is no .npz archive that can be read ({error}); save it again") from error
    except (ValueError, zlib.error) as error:
        raise InputError(f"is damaged ({error}); save it again") from error


def _npy(stream: IO[bytes], size: int) -> np.ndarray:
    """An array of numbers in NumPy's format; an array of Python objects is refused."""
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version[0]}.{version[1]}")
        read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[
            version[0]
        ]
        shape, fortran, dtype = read_header(stream, max_header_size=LONGEST_HEADER)
    except (
        ValueError,
        TypeError,
        SyntaxError,
        TokenError,
        RecursionError,
        MemoryError,
        OverflowError,
    ) as error:
        raise InputError(
            f"has no header of a NumPy array ({' '.join(str(error).split())[:120]}); save it with numpy.save"
        ) from error
    if dtype.hasobject:
        raise InputError("holds Python objects, a pickle, which is never loaded; save an array of numbers")
    needed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or needed > MOST_BYTES or needed > size:
        raise InputError(
            f"its header promises {list(shape)} of {dtype}, {needed} bytes; the file has {size}, and {MOST_BYTES} are the most"
        )
    data = stream.read(needed)
    if len(data) < needed:
        raise InputError(f"breaks off after {len(data)} of {needed} bytes; copy it again")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _safetensors(file: Path) -> dict[str, np.ndarray]:
    if file.stat().st_size > MOST_BYTES:
        raise InputError(f"{file.stat().st_size} bytes; one video has at most {MOST_BYTES}; split it")
    try:
        with safe_open(file, "numpy") as opened:
            kinds = {name: opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
            # float8 has no NumPy dtype, and booleans are no features.
            odd = next((name for name, kind in kinds.items() if kind[0] not in "FIU" or "8_" in kind), None)
            if odd is not None:
                raise InputError(f"{odd} is {kinds[odd]}; save it as float32")
            return {name: opened.get_tensor(name) for name in kinds}
    except (SafetensorError, TypeError, KeyError) as error:
        raise InputError(f"is no safetensors file ({str(error)[:120]}); save it again") from error
