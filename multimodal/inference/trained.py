"""A trained joint model: its checkpoint, checked and opened for inference."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from multimodal.joint.model import JointBert
from multimodal.store import InputError, Store, changed_files
from multimodal.training import checkpoints
from multimodal.vocabulary import Vocabulary

OPENED = ("card.json", "config.json", "model.safetensors", "tokenizer.json")
"""The files of a checkpoint that inference reads. The optimizer's state is not one of them."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A joint model with its vocabulary and the codebook whose tokens it knows."""

    name: str
    folder: Path
    model: JointBert
    vocabulary: Vocabulary
    codebook: str


def load_trained(store: Store, name: str, codebook: str, device: str) -> Trained:
    """The model's last checkpoint. Only the files in :data:`OPENED` are hashed.

    Raises :class:`InputError` where there is no checkpoint, or one of these files is not as it was written.
    """
    folder = checkpoints.latest(store.model(name))
    if folder is None:
        raise InputError(f"model {name}: not in store {store.root}; run `videobert pretrain`")
    check_opened(folder, OPENED)
    return Trained(name, folder, JointBert.load(folder).to(device), Vocabulary.load(folder), codebook)


def check_opened(folder: Path, files: tuple[str, ...]) -> None:
    """Raises :class:`InputError` where one of a checkpoint's ``files`` differs from its manifest, or one is not in it."""
    if changed := changed_files(folder, files):
        raise InputError(
            f"checkpoint {folder}: {changed[0]} is not as it was written; remove the folder and run again"
        )
