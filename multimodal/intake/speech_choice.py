"""A person's choice of Whisper model and language for one video: it goes before the options of a run.

``speech_choices/<video>.json`` holds it. A library speaks mostly one language, and a few of its videos another.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from multimodal.catalogue import Video
from multimodal.library import read_json
from multimodal.store import InputError, Store, canonical_json, write_whole
from speech.checkpoints import CHECKPOINTS

if TYPE_CHECKING:
    from multimodal.intake.ingest_options import IngestOptions

FOLDER = "speech_choices"


def choice_file(store: Store, video: str) -> Path:
    return store.root / FOLDER / f"{video}.json"


def choose(store: Store, video: str, whisper: str | None, language: str | None) -> None:
    """Records the choice; ``None`` for what the run's options shall say. The caller holds the store.

    Raises :class:`~multimodal.store.InputError` for a model or a language that is not known.
    """
    chosen = {"whisper": whisper, "language": language}
    given = {name: value for name, value in chosen.items() if value is not None}
    if (
        whisper is not None and whisper not in CHECKPOINTS
    ):  # a run takes a file too, whoever chooses here does not
        raise InputError(f"whisper {whisper}: not known; choose one of {', '.join(CHECKPOINTS)}")
    from multimodal.intake.ingest_options import IngestOptions  # brings Whisper and PyTorch

    IngestOptions(**given)
    if given:
        choice_file(store, video).parent.mkdir(exist_ok=True)
        write_whole(choice_file(store, video), canonical_json(given).encode())
    else:
        choice_file(store, video).unlink(missing_ok=True)


def choice(store: Store, video: str) -> dict[str, str]:
    """What was chosen: ``whisper``, ``language`` or both; empty for nothing."""
    file = choice_file(store, video)
    stored = read_json(file) if file.exists() else {}
    return {name: str(stored[name]) for name in ("whisper", "language") if name in stored}


def applied(store: Store, video: Video, options: IngestOptions) -> IngestOptions:
    """The options with what was chosen for the video."""
    chosen = choice(store, video.video)
    # Whoever chose how a video is heard wants it heard, not its caption file.
    return dataclasses.replace(options, **chosen, captions=False) if chosen else options
