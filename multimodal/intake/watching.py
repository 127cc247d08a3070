"""Folders that are looked through again and again: what is still being written waits, what has another name keeps what is known
of it, what is gone is marked.

Nothing is guessed from names or endings, which programs that copy choose as they like. A file counts by its size, by when it
was changed, and by its content.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import stat
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from multimodal.catalogue import Catalogue, Video
from multimodal.disk import FileState
from multimodal.library import UNREAD, register, still_written
from multimodal.progress import announce

SECONDS_OF_REST = 10.0
"""A file is read when nothing was written to it for so long. Copies over a network pause for less."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What a look through folders found: the ``videos`` that can be ingested; those ``left`` that cannot be read, or wait;
    how many have another name or place (``renamed``), are ``gone`` since this look, and are there again (``back``).
    """

    videos: list[Video]
    left: list[Video]
    renamed: int = 0
    gone: int = 0
    back: int = 0

    @property
    def changes(self) -> str:
        """``1 renamed, 2 gone``; empty where nothing changed."""
        counts = {"renamed": self.renamed, "gone": self.gone, "there again": self.back}
        return ", ".join(f"{number} {what}" for what, number in counts.items() if number)


def look(
    catalogue: Catalogue, sources: Sequence[Path], files: Sequence[Path], *, rest: float, reread: bool = False,
    states: dict[str, FileState] | None = None,
) -> Look:  # fmt: skip
    """Records the ``files`` that were found in ``sources`` (files and folders), and what is there no more.

    A file of a folder that was changed less than ``rest`` seconds ago is looked at twice, and left for the next run where it is another
    then; one that is as it was when it was read before never waits. A video whose file is gone keeps all that was learned
    of it. One of which nothing was ever stored is dropped, and so is the note that a file could not be read.
    """
    known = {video.video: video for video in catalogue.videos()}
    still, growing = _at_rest(catalogue, files, frozenset(sources), rest)
    videos, left = register(catalogue, still, reread=reread, states=states, known=known)
    left += [still_written(file, size) for file, size in growing.items()]
    there = {video.video for video in (*videos, *left)}
    missing = _missing(known.values(), sources, there, files, {video.path for video in left})
    dropped = [v.video for v in missing if v.state in ("new", "waiting") or v.video.startswith(UNREAD)]
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    gone = [dataclasses.replace(v, gone=now) for v in missing if not v.gone and v.video not in dropped]
    catalogue.record(dropped, [*gone, *(v for v in left if known.get(v.video) != v)])
    before = [(known[v.video], v) for v in videos if v.video in known]
    back = sum(old.gone is not None for old, _ in before)
    renamed = sum(old.path != new.path for old, new in before if old.gone is None)
    return Look(videos, left, renamed, len(gone), back)


def held_before(catalogue: Catalogue, sources: Sequence[Path]) -> bool:
    """Whether the store knows a video that lay in one of the folders, so that an empty one is one that was emptied."""
    return any(_lies_in(video, _places(sources)) for video in catalogue.videos())


def _at_rest(
    catalogue: Catalogue, files: Sequence[Path], named: Collection[Path], rest: float
) -> tuple[list[Path], dict[Path, int]]:
    """The files that nobody writes to, and the sizes of the others. Waits where a file is young, once for all of them; not for
    one that is ``named``: who names it knows that it is whole."""
    began = time.time()
    seen = {file: _state(file) for file in files}
    young = {
        file: state
        for file, state in seen.items()
        if state is not None
        and file not in named
        and abs(began - state.changed / 1e9) < rest
        and catalogue.digest_of(state) is None
    }
    if not young:
        return list(files), {}
    announce("waiting until new files are at rest", f"{len(young)} of {len(files)}")
    youngest = max(state.changed for state in young.values()) / 1e9
    time.sleep(min(rest, max(0.0, youngest + rest - time.time())))
    growing = {file: state.bytes for file, state in young.items() if _state(file) != state}
    return [file for file in files if file not in growing], growing


def _state(file: Path) -> FileState | None:
    """The state of a regular file, ``None`` of anything else: why it cannot be read is told where it is read."""
    try:
        about = file.stat()
    except OSError:
        return None
    regular = stat.S_ISREG(about.st_mode)
    return FileState(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns) if regular else None


def _missing(
    known: Iterable[Video], sources: Sequence[Path], there: Collection[str], files: Sequence[Path], unread: Collection[str]
) -> list[Video]:  # fmt: skip
    """The videos that lay in the sources and lie there no more, or whose place holds another content by now."""
    places, read = _places(sources), {str(file.absolute()) for file in files} - set(unread)
    lost = (v for v in known if v.video not in there and _lies_in(v, places))
    return [v for v in lost if v.path in read or (v.path not in unread and _is_away(v.path))]


def _places(sources: Sequence[Path]) -> tuple[str, ...]:
    return tuple(str(source.absolute()) for source in sources)


def _lies_in(video: Video, places: tuple[str, ...]) -> bool:
    return any(
        video.path == place or video.path.startswith(place.rstrip(os.sep) + os.sep) for place in places
    )


def _is_away(path: str) -> bool:
    """Whether there is surely no such file; one of a folder that may not be read is not known to be away."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
