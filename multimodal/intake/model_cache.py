"""The models that are loaded: Whisper for each worker thread, and a backbone by name for all, from verified weights."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

from multimodal.progress import announce
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


class _ThreadModels(threading.local):
    """Each thread has a Whisper model of its own: its key-value cache hooks into the model while it decodes."""

    def __init__(self) -> None:
        self.by_key: dict[tuple[str, str, str], Any] = {}


models = _ThreadModels()
_backbones_lock = threading.Lock()
backbones_by_name: dict[tuple[str, str], Backbone] = {}


def whisper_identity(name: str) -> str:
    """The SHA-256 of the Whisper model of this name, or of the file at this path."""
    if name in CHECKPOINTS:
        return CHECKPOINTS[name].sha256
    state = Path(name).stat()
    return _file_digest(Path(name).absolute(), state.st_size, state.st_mtime_ns)


@functools.lru_cache
def _file_digest(path: Path, size: int, changed: int) -> str:
    """The digest of a file, worked out once for each size and time of change."""
    return file_digest(path)


def _fetched(option: str, name: str, weights: str) -> Path:
    """The weights of an option's value; where they cannot be had, the error names the option too."""
    announce(f"loading {weights}")
    try:
        file = fetching.fetch(weights)
    except InputError as error:
        raise InputError(f"{option} {name}: {error}") from error
    announce(f"loading {weights}")  # once more, where it was downloaded
    return file


def whisper(name: str, device: str) -> SpeechModel:
    """The Whisper model of this thread. Raises :class:`InputError` where it cannot be had."""
    key = ("whisper", name, device)
    if key not in models.by_key:
        folder = _fetched("--whisper", name, f"whisper-{name}").parent if name in CHECKPOINTS else None
        try:
            models.by_key[key] = transcribe.load(name, folder, device)
        except (SpeechModelError, RuntimeError, OSError) as error:
            raise InputError(
                f"--whisper {name}: cannot be had ({error}); give another file, or choose tiny.en"
            ) from error
    return models.by_key[key]


def backbone(name: str, device: str) -> Backbone:
    """The backbone, one for all threads. Raises :class:`InputError` where it cannot be had."""
    with _backbones_lock:
        if (name, device) not in backbones_by_name:
            weights = _fetched("--backbone", name, BACKBONE_WEIGHTS[name])
            backbones_by_name[name, device] = backbones.load(name, weights, device)
        return backbones_by_name[name, device]
