"""Owns the models that a worker has loaded: Whisper and a backbone, by what a person calls them, from verified weights."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

from multimodal.store import InputError, file_digest
from multimodal.weights import fetching
from speech import transcribe
from speech.checkpoints import CHECKPOINTS
from speech.errors import SpeechModelError
from speech.models import SpeechModel
from vision import backbones
from vision.features import Backbone

BACKBONE_WEIGHTS = {
    "i3d": "i3d-kinetics-400",
    "s3d": "s3d-kinetics-400",
    "mobilenetv2": "mobilenetv2-imagenet",
    "resnet50": "resnet50-imagenet",
}
assert tuple(BACKBONE_WEIGHTS) == backbones.BACKBONES

models = threading.local()
"""Each worker thread has models of its own: Whisper's key-value cache hooks into the model while it decodes."""


def whisper_identity(name: str) -> str:
    """What the words depend on: the digest of a published model, or of a file."""
    if name in CHECKPOINTS:
        return CHECKPOINTS[name].sha256
    state = Path(name).stat()
    return _digest_of(Path(name).absolute(), state.st_size, state.st_mtime_ns)


@functools.lru_cache
def _digest_of(path: Path, size: int, changed: int) -> str:
    return file_digest(path)


def _fetched(option: str, name: str, file: str) -> Path:
    """The weights that an option asks for; where they cannot be had the error names the option too."""
    try:
        return fetching.fetch(file)
    except fetching.WeightsError as error:
        raise fetching.WeightsError(f"{option} {name}: {error}") from error


def whisper(name: str, device: str) -> SpeechModel:
    """The Whisper model of this thread.

    Raises :class:`InputError`, and :class:`~multimodal.weights.fetching.WeightsError`.
    """
    key = ("whisper", name, device)
    if key not in models.__dict__.setdefault("by_key", {}):
        folder = _fetched("--whisper", name, f"whisper-{name}").parent if name in CHECKPOINTS else None
        try:
            models.by_key[key] = transcribe.load(name, folder, device)
        except (SpeechModelError, RuntimeError, OSError) as error:
            raise InputError(
                f"--whisper {name}: cannot be had ({error}); give another file, or choose tiny.en"
            ) from error
    return models.by_key[key]


def backbone(name: str, device: str) -> Backbone:
    """The backbone of this thread. Raises :class:`~multimodal.weights.fetching.WeightsError`."""
    key = ("backbone", name, device)
    if key not in models.__dict__.setdefault("by_key", {}):
        models.by_key[key] = backbones.load(
            name, _fetched("--backbone", name, BACKBONE_WEIGHTS[name]), device
        )
    return models.by_key[key]
