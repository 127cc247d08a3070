"""How a video's ingestion ended, whether it is tried again, and whether its file is what was registered.

What a file's bytes say is settled. What the system says of it (away, not permitted, an error of the disk), or a change
between two looks, is passing. A decoder that ran out of time or memory has a second try.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from multimodal.catalogue import State, Video
from multimodal.disk import FileState
from multimodal.library import file_state
from multimodal.store import InputError, file_digest

LONGEST_REASON = 10_000
"""A file with holes or streams without end has as many sentences about them."""
MOST_TRIES = 2
"""Tries of a video whose decoder ran out of time or memory, or crashed."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of ingesting a video, with the fields of the catalogue."""

    video: str
    state: State
    reason: str
    seconds: float | None = None
    clips: int | None = None
    sentences: int | None = None
    transcript: str | None = None
    features: str | None = None
    recipe: str | None = None
    tries: int = 0

    def applied_to(self, video: Video) -> Video:
        """``video`` with this outcome; a reason of any length is cut."""
        reason = self.reason
        if len(reason) > LONGEST_REASON:
            reason = f"{reason[:LONGEST_REASON]} … and {len(reason) - LONGEST_REASON} more characters"
        return dataclasses.replace(video, **dataclasses.asdict(self) | {"reason": reason})


class FileAway(Exception):
    """The file is not what was registered, or cannot be read now; the message says why."""


def check_again(video: Video, seen: FileState | None) -> None:
    """To be called before anything is stored under the video's digest. Raises :class:`FileAway`."""
    if why := look_again(video, seen, closely=False):
        raise FileAway(why)


def failed(video: Video, reason: str, made: str) -> Outcome:
    """The outcome of a try that could end differently: after :data:`MOST_TRIES` it is settled, and the reason says so."""
    return counted(video, Outcome(video.video, "refused", reason), made)


def counted(video: Video, outcome: Outcome, made: str) -> Outcome:
    """``outcome``, whose recipe is left out, with the try that it was."""
    tries = video.tries + 1
    if tries < MOST_TRIES:
        return dataclasses.replace(outcome, tries=tries)
    again = f"tried {tries} times and not tried again by itself; --reread tries it again"
    return dataclasses.replace(outcome, tries=tries, recipe=made, reason=f"{outcome.reason}; {again}")


def passing(video: Video, why: str) -> Outcome:
    """The outcome where the system could not give the file as it was registered: what is stored of it stays."""
    fields = {f.name: getattr(video, f.name) for f in dataclasses.fields(Outcome)}
    state: State = "waiting" if video.state == "new" else video.state
    reason = f"{video.name}: {why}; the next run tries again"
    return Outcome(**fields | {"state": state, "reason": reason, "recipe": None})


def look_again(video: Video, seen: FileState | None, *, closely: bool) -> str:
    """Why the file is not what was registered, empty where it is. ``closely``: its bytes are compared, not its state alone.

    What the system says of a file (away, not permitted, an error of the disk) is passing; what its bytes say is not.
    """
    path = Path(video.path)
    try:
        if seen is not None and file_state(path) != seen:
            return "the file has changed since it was registered"
        if closely and file_digest(path) != video.video:
            return "the file holds other bytes than when it was registered"
    except OSError as error:
        return f"the file cannot be read now ({error.strerror})"
    except InputError as error:
        return str(error)
    return ""
