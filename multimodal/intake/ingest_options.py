"""Options of ingestion: models, caption files, the sound track, and the limits of a decoder. Every stage reads them from the
store's settings, so nothing is imported here that only ingestion needs (:mod:`multimodal.extras`)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import langcodes

from multimodal import names
from multimodal.intake import sandbox
from multimodal.store import InputError
from speech.checkpoints import CHECKPOINTS
from speech.languages import LANGUAGES
from vision.backbones import BACKBONES
from vision.readers import READERS


@dataclasses.dataclass(frozen=True)
class IngestOptions:
    """Models, caption files and limits of an ingestion.

    ``whisper``: a published name or the path of a file; ``backbone`` and ``reader`` of frames: names. ``language``: a
    code such as ``en``, or ``None`` to detect it. ``audio_track``: the sound track that is heard, by its number from 1 on or
    its language; ``None`` takes the first that holds speech (:mod:`multimodal.intake.sound_tracks`). ``captions``: those
    beside a video or in it stand in for Whisper (:mod:`multimodal.intake.caption_choice`). ``seconds`` is the timeout of each
    result of a decoder, ``memory`` its bytes of address space. Raises
    :class:`InputError` for an unknown name.
    """

    whisper: str = "tiny.en"
    backbone: str = "i3d"
    reader: str = READERS[0]
    language: str | None = None
    captions: bool = False
    audio_track: str | None = None
    seconds: float = sandbox.DEADLINE_SECONDS
    memory: int = sandbox.MEMORY_BYTES

    def __post_init__(self) -> None:
        if self.whisper not in CHECKPOINTS and not Path(self.whisper).is_file():
            raise InputError(
                f"--whisper {self.whisper}: not known{names.did_you_mean(self.whisper, CHECKPOINTS)}; choose one of "
                f"{', '.join(CHECKPOINTS)}, or name a file"
            )
        for option, value, known in (
            ("--backbone", self.backbone, BACKBONES),
            ("--reader", self.reader, READERS),
        ):
            if value not in known:
                near = names.did_you_mean(value, known)
                raise InputError(f"{option} {value}: not known{near}; choose one of {', '.join(known)}")
        if self.language is not None and self.language not in LANGUAGES:
            raise InputError(
                f"--language {self.language}: Whisper has no such language; give a code such as en or de"
            )
        if self.audio_track is not None and not _names_a_track(self.audio_track):
            raise InputError(
                f"--audio-track {self.audio_track}: neither a number nor a language; count the file's sound tracks from 1, or "
                "give a code such as en or deu"
            )


def _names_a_track(text: str) -> bool:
    """Whether a text names a sound track: a number from 1 on, or the code of a language."""
    return int(text) >= 1 if text.isdecimal() else langcodes.tag_is_valid(text)
