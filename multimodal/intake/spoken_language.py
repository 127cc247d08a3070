"""What is spoken in a video: as its folder says, and what is said where Whisper does not know it.

A folder's language is the code in its file ``language.txt``, or in that of the nearest folder above it.
"""

from __future__ import annotations

from pathlib import Path

from multimodal.store import InputError
from speech.languages import language_code, language_name

NAME = "language.txt"
SMALLEST = "base"
"""The smallest Whisper for other languages than English whose weights a package carries."""
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


def told_language(video: Path, option: str | None) -> tuple[str | None, str]:
    """The language that is told of a video, by its folder before ``--language``, and what is wrong with the folder's."""
    try:
        return folder_language(video) or option, ""
    except InputError as error:
        return option, str(error)


def unknown(language: str, whisper: str) -> str:
    """Why speech in ``language`` is not transcribed by a Whisper for English alone, with the remedy."""
    return (
        f"speech: not heard, as {language_name(language)} is spoken and {whisper} knows English alone; "
        f"take --whisper {SMALLEST}, or captions beside the video with --captions"
    )


def not_understood(confidence: float, whisper: str, told: bool) -> str:
    """Why words of this mean probability are not learned from, with the remedy. ``told``: their language is."""
    english = whisper.endswith(".en")
    why = "knows English alone" if english else "is unsure of them"
    remedy = f"--whisper {SMALLEST}" if english else "a larger --whisper"
    remedy += "" if told or english else ", --language where it is known"
    return (
        f"speech: its words are not learned from, as {Path(whisper).name} {why} (mean probability {confidence:.2f}); "
        f"take {remedy}, or captions beside the video with --captions"
    )
