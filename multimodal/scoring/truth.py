"""Ground truth: the action and the thing at each time of videos whose content is known, read from a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pydantic
from pydantic import BaseModel

from multimodal.scoring.json_files import load_json, validated
from multimodal.store import InputError


@pydantic.dataclasses.dataclass(frozen=True)
class TruthStep:
    """``action`` is done with ``thing`` during ``[start, end)`` seconds."""

    start: float
    end: float
    action: str
    thing: str


@dataclasses.dataclass(frozen=True)
class Truth:
    """``steps`` by video (SHA-256), the names of actions and things, and the videos to hold out of training."""

    actions: tuple[str, ...]
    things: tuple[str, ...]
    steps: dict[str, tuple[TruthStep, ...]]
    held_out: frozenset[str]

    def at(self, video: str, start: float, end: float) -> TruthStep | None:
        """The step that fills most of ``[start, end)``, or ``None``."""
        found = max(
            self.steps.get(video, ()), key=lambda s: min(s.end, end) - max(s.start, start), default=None
        )
        return found if found is not None and min(found.end, end) > max(found.start, start) else None


class _Video(BaseModel):
    sha256: str
    split: str
    steps: tuple[TruthStep, ...]


class _TruthFile(BaseModel):
    actions: tuple[str, ...]
    things: tuple[str, ...]
    videos: list[_Video]


def read_truth(path: Path) -> Truth:
    """Reads a truth file (docs/formats.md). Raises :class:`~multimodal.store.InputError` where it is not one."""
    try:
        file = validated(_TruthFile, load_json(path))
    except OSError as error:
        raise InputError(f"--truth {path}: cannot be read ({error.strerror}); name a truth file") from error
    except InputError as error:
        raise InputError(
            f"--truth {path}: not a truth file ({error}); docs/formats.md says what it holds"
        ) from error
    steps = {video.sha256: video.steps for video in file.videos}
    held_out = frozenset(video.sha256 for video in file.videos if video.split == "heldout")
    return Truth(file.actions, file.things, steps, held_out)
