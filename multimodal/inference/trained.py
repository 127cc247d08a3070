"""A trained joint model, as everything that asks it something opens it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from multimodal.joint.model import JointBert
from multimodal.store import InputError, Store
from multimodal.training import checkpoints
from multimodal.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Trained:
    """A joint model with its vocabulary and the codebook whose tokens it knows."""

    name: str
    folder: Path
    model: JointBert
    vocabulary: Vocabulary
    codebook: str


def load_trained(store: Store, name: str, codebook: str, device: str) -> Trained:
    """The model's last checkpoint. Raises :class:`InputError` where there is none or it was changed."""
    folder = checkpoints.latest(store.model(name))
    if folder is None:
        raise InputError(f"model {name}: not in store {store.root}; run `videobert pretrain`")
    checkpoints.check(folder)
    return Trained(name, folder, JointBert.load(folder).to(device), Vocabulary.load(folder), codebook)
