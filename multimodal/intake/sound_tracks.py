"""Sound tracks: which track of a file is heard, where it has several.

The tracks are tried in the order in which players would choose them, a wanted one first; the first that holds speech is
heard. Nothing is listened to where there is no choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import langcodes

from multimodal.intake.sandbox import SandboxError
from speech.audio import Audio
from speech.errors import SpeechError
from speech.vad import FRAME_SECONDS, StreamingVAD, VADOptions
from vision.media import AudioStream

LISTENING_SECONDS = 20.0
"""Seconds of a track that are decoded at a time in search of speech."""
LEAST_SPEECH = 1.0
"""Seconds of speech that a track must hold."""

Listen = Callable[[AudioStream], Iterator[Audio]]
"""The sound of a track, in pieces of :data:`LISTENING_SECONDS`."""


@dataclasses.dataclass(frozen=True)
class ChosenTrack:
    """``track`` is heard; ``notes`` say what was not, one sentence each. ``usual``: it is what players would play."""

    track: AudioStream
    notes: tuple[str, ...] = ()
    usual: bool = True


def choose(
    tracks: Sequence[AudioStream], wanted: str | None, language: str | None, listen: Listen
) -> ChosenTrack | None:
    """The track that is heard; ``None`` where none can be decoded.

    ``wanted`` is a track's number from 1 on or its language, ``language`` that which is spoken, where it is known.
    """
    notes = [f"{track} cannot be decoded" for track in tracks if not track.admitted]
    rest = [track for track in tracks if track.admitted]
    if not rest:
        return None
    if wanted is not None:
        asked = [track for track in rest if _is_wanted(track, wanted)]
        if asked:
            return _chosen(asked[0], tracks, [*notes, *_unheard(asked[0], rest)] if len(rest) > 1 else notes)
        notes.append(f"there is no sound track {wanted} that can be decoded")
    rest.sort(key=lambda track: not (language and _same_language(track.language, language)))
    if len(rest) == 1:
        return _chosen(rest[0], tracks, [f"{rest[0]} is heard: {notes[0]}", *notes[1:]] if notes else [])
    silent, broken = [], []
    for track in rest:
        try:
            if holds_speech(listen(track)):
                break
            silent.append(track)
        except (SpeechError, SandboxError):
            broken.append(track)
    else:
        notes += [f"{other} cannot be decoded" for other in broken]
        return _chosen(
            (silent or rest)[0], tracks, [*notes, f"none of {len(rest)} sound tracks holds speech"]
        )
    notes += [f"{other} cannot be decoded" for other in broken]
    notes += [f"{other} holds no speech" for other in silent]
    return _chosen(track, tracks, [*notes, *_unheard(track, rest)])


def _chosen(track: AudioStream, tracks: Sequence[AudioStream], notes: list[str]) -> ChosenTrack:
    return ChosenTrack(track, tuple(notes), track == tracks[0])


def _unheard(track: AudioStream, rest: Sequence[AudioStream]) -> list[str]:
    others = [f"{other.number}" for other in sorted(rest, key=lambda t: t.number) if other != track]
    return [f"{track} is heard, --audio-track {' or '.join(others)} takes another"]


def holds_speech(pieces: Iterator[Audio]) -> bool:
    """Whether :data:`LEAST_SPEECH` of speech are found. No more pieces are read than it takes."""
    detect, frames = StreamingVAD(), 0
    for piece in pieces:
        frames += int((detect(piece.samples) >= VADOptions().threshold).sum())
        if frames * FRAME_SECONDS >= LEAST_SPEECH:
            return True
    return False


def _is_wanted(track: AudioStream, wanted: str) -> bool:
    return track.number == int(wanted) if wanted.isdecimal() else _same_language(track.language, wanted)


def _same_language(one: str, other: str) -> bool:
    """Whether two codes are of one language: ``ger``, ``deu``, ``de`` and ``de-CH`` are."""
    return bool(one) and _language(one) == _language(other)


def _language(code: str) -> str:
    try:
        return langcodes.Language.get(code).language or code
    except langcodes.LanguageTagError:
        return code
