"""Storage, learning and answers: a store, the joint model of its videos, and the answers of that model.

In Python and in notebooks, :func:`open_store` is the door.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multimodal.answers.opened_store import OpenedStore

__all__ = ["open_store"]


def open_store(folder: str | Path, *, device: str = "cpu") -> OpenedStore:
    """The store in ``folder``, opened for reading. ``device``: where the model runs, ``cpu`` or ``cuda``.

    Torch, the model and the index are loaded when they are first needed. Raises
    :class:`~multimodal.store.InputError` where ``folder`` holds no store, or one of a newer version, and where there is no such
    device.
    """
    # Imported here, as every module of this package imports this file.
    from multimodal.answers.opened_store import OpenedStore

    return OpenedStore(Path(folder), device)
