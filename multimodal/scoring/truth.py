"""Ground truth: a file that says which action is done with which thing, and when, in videos whose content is known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from multimodal.store import InputError


@dataclasses.dataclass(frozen=True)
class TruthStep:
    """``action`` is done with ``thing`` during ``[start, end)`` seconds."""

    start: float
    end: float
    action: str
    thing: str


@dataclasses.dataclass(frozen=True)
class Truth:
    """``steps`` by video (SHA-256), the names in use, and the videos to hold out of training."""

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


def read_truth(path: Path) -> Truth:
    """Reads a truth file (docs/formats.md). Raises :class:`InputError` where it is not one."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        videos = data["videos"]
        return Truth(
            tuple(data["actions"]),
            tuple(data["things"]),
            {
                v["sha256"]: tuple(
                    TruthStep(float(s["start"]), float(s["end"]), s["action"], s["thing"]) for s in v["steps"]
                )
                for v in videos
            },
            frozenset(v["sha256"] for v in videos if v["split"] == "heldout"),
        )
    except OSError as error:
        raise InputError(f"--truth {path}: cannot be read ({error.strerror}); name a truth file") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--truth {path}: not a truth file ({type(error).__name__}: {error}); docs/formats.md says what it holds"
        ) from error
