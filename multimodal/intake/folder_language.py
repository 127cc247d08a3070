"""The language of a folder's videos: the code in its file ``language.txt``, or in that of the nearest folder above it."""

from __future__ import annotations

from pathlib import Path

from multimodal.store import InputError
from speech.languages import language_code

NAME = "language.txt"
LONGEST = 100
"""Bytes of the file that are read."""


def folder_language(video: Path) -> str | None:
    """The code that counts for ``video``, ``None`` where no folder has one.

    Raises :class:`InputError` for a file that names no language of Whisper's.
    """
    for folder in video.parents:
        file = folder / NAME
        try:
            with file.open("rb") as opened:
                text = opened.read(LONGEST).decode(errors="replace").removeprefix("\ufeff").strip()
        except OSError:
            continue
        if code := language_code(text):
            return code
        raise InputError(f"{file}: {text!r} is no language that Whisper knows; write a code such as de")
    return None
