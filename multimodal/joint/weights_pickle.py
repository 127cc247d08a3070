"""The tensors of a checkpoint that PyTorch wrote as a pickle, read in the confined child.

PyTorch's reader runs no code of the file by its own rules. The child has no rights that code could use where these fail.
"""

from __future__ import annotations

import dataclasses
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from multimodal.intake import sandbox
from multimodal.store import InputError

SECONDS = 600.0
MEMORY_BYTES = 16 << 30
"""Of addresses, of which PyTorch's libraries alone take several GiB where they are built for GPUs."""
MOST_TENSORS = 20_000


@dataclasses.dataclass(frozen=True)
class NamedTensor:
    """A tensor of the file by its ``name``: ``values`` float32, or int64 where they are whole numbers."""

    name: str
    values: np.ndarray


def read_weights_pickle(file: Path) -> dict[str, torch.Tensor]:
    """The tensors by name. Raises :class:`InputError` where the file holds none, or unpacks to more than its size."""
    _check_members(file)
    limits = sandbox.Limits(SECONDS, MEMORY_BYTES, SECONDS, MOST_TENSORS)
    work = sandbox.stream(_tensors, file, file.stat().st_size, types=(NamedTensor, InputError), limits=limits)
    return {tensor.name: torch.from_numpy(tensor.values) for tensor in work}


def _check_members(file: Path) -> None:
    """PyTorch stores the members of its archives as they are. One that is packed can unpack to a thousandfold."""
    if not zipfile.is_zipfile(file):
        return  # PyTorch's format before 2020
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"{file}: cannot be read as weights ({error}); fetch it again from its publisher"
        ) from error
    size = file.stat().st_size
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if packed or sum(member.file_size for member in members) > size:
        raise InputError(
            f"{file}: its members are packed, or overlap; PyTorch stores them as they are, so that a file never unpacks to "
            "more than its size; save it anew with torch.save, or as model.safetensors"
        )


def _tensors(file: Path, size: int) -> Iterator[NamedTensor]:
    try:
        held = torch.load(file, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        AttributeError,
        ValueError,
        TypeError,
        LookupError,
    ) as error:
        raise InputError(
            f"{file}: cannot be read as weights ({type(error).__name__}); fetch it again from its publisher"
        ) from error
    if not isinstance(held, dict):
        raise InputError(f"{file}: holds a {type(held).__name__}, not tensors by name; give a BERT's weights")
    tensors = {str(name): tensor for name, tensor in held.items() if isinstance(tensor, torch.Tensor)}
    # A tensor may show a few stored numbers any number of times. Two names of one tensor are usual.
    if sum(tensor.numel() for tensor in tensors.values()) > 2 * size:
        raise InputError(
            f"{file}: its tensors have more numbers than the file has room for; fetch it again from its publisher"
        )
    for name, tensor in tensors.items():
        dense = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
        yield NamedTensor(
            name, (dense.float() if dense.is_floating_point() else dense.long()).contiguous().numpy()
        )
