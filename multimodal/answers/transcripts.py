"""The words that were heard, as files: which videos are meant, the name of each one's file, all written or none."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from multimodal.answers import session
from multimodal.catalogue import Catalogue, Video
from multimodal.library import read_transcript
from multimodal.store import FileBatch, InputError, Store, write_whole
from speech.writers import Format, write

LONGEST_NAME = 255
"""Bytes of a file's name (Linux, NAME_MAX)."""


@dataclasses.dataclass(frozen=True)
class Written:
    """``file`` holds the transcript of ``video``, ``None`` where it has none; ``note`` is for a person."""

    video: Video
    file: Path | None
    note: str | None = None


def transcript_text(store: Store, video: Video, form: Format) -> tuple[str, str | None]:
    """The transcript in this format, and a note where nobody speaks. Raises :class:`InputError` for a refused video."""
    session.check_usable(video)
    transcript = read_transcript(store, video)
    reason = f" ({video.reason})" if video.reason else ""
    note = (
        None
        if transcript.sentences
        else f"{video.name}: no words were heard{reason}; its transcript is empty"
    )
    return write(transcript, form), note


def select(catalogue: Catalogue, labels: Sequence[str]) -> list[Video]:
    """The videos that ``labels`` mean, each a video or a folder whose videos are meant; without labels all of the store.

    Raises :class:`InputError` where a label means no video.
    """
    if not labels:
        return catalogue.videos()
    found: dict[str, Video] = {}
    for label in labels:
        folder = Path(label).absolute()
        if folder.is_dir():
            within = [v for v in catalogue.videos() if v.path and folder in Path(v.path).parents]
            if not within:
                raise InputError(
                    f"{label}: no video of the store lies in this folder; `videobert status` lists them"
                )
        else:
            within = [catalogue.find(label)]
        found |= {v.video: v for v in within}
    return list(found.values())


def file_names(videos: Sequence[Video], form: Format) -> dict[str, str]:
    """A file's name for each digest: the video's own without its ending, as players look for it.

    Where several videos would share it, whatever the case of its letters, each keeps its ending, or has its digest too.
    """
    names = {v.video: [_safe(Path(v.name).stem), _safe(v.name)] for v in videos}
    shared = Counter(name for forms in names.values() for name in {form.casefold() for form in forms})
    chosen = {}
    for digest, forms in names.items():
        alone = [name for name in forms if shared[name.casefold()] == 1]
        name = alone[0] if alone else f"{forms[1]}.{digest.removeprefix('unread:')[:12]}"
        chosen[digest] = f"{name}.{form}"
    return chosen


def _safe(name: str) -> str:
    """The name of an imported video may hold what no file's name can."""
    kept = "".join("_" if c in "/\\\0" or ord(c) < 32 else c for c in name)
    return os.fsencode(kept)[: LONGEST_NAME - 32].decode(errors="ignore").lstrip(".") or "_"


def write_transcripts(
    store: Store,
    catalogue: Catalogue,
    videos: Sequence[Video],
    folder: Path,
    form: Format,
    *,
    overwrite: bool = False,
) -> list[Written]:
    """A file for each of ``videos`` that was ingested, into ``folder``, which is made where it is missing.

    The names are those that they have among all videos of the store, so another selection changes none. Each file is whole
    or absent. Raises :class:`InputError`, before anything is written, where a file exists with another content and
    ``overwrite`` is not given, and where the folder cannot be written.
    """
    names = file_names(catalogue.videos(), form)
    written: list[Written] = []
    batch = FileBatch()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for video in videos:
            try:
                text, note = transcript_text(store, video, form)
            except InputError as error:
                written.append(Written(video, None, str(error)))
                continue
            file = folder / names[video.video]
            if not overwrite:
                _check_replaceable(file, text)
            batch.write(file, text.encode())
            written.append(Written(video, file, note))
        batch.publish()
    except OSError as error:
        raise InputError(
            f"--out {folder}: cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    finally:
        batch.discard()
    return written


def write_transcript(
    store: Store, video: Video, file: Path, form: Format, *, overwrite: bool = False
) -> Written:
    """One video's transcript in ``file``. Raises :class:`InputError` as :func:`write_transcripts` does, and for a refused
    video or an ending that is not the format's."""
    if file.suffix.lower() != f".{form}":
        raise InputError(f"--out {file}: --to {form} goes into a file that ends in .{form}, or into a folder")
    if not file.absolute().parent.is_dir():
        raise InputError(f"--out {file}: there is no folder {file.absolute().parent}; make it first")
    text, note = transcript_text(store, video, form)
    try:
        if not overwrite:
            _check_replaceable(file, text)
        return Written(video, write_whole(file, text.encode()), note)
    except OSError as error:
        raise InputError(
            f"--out {file}: cannot be written ({error.strerror or error}); choose another"
        ) from error


def _check_replaceable(file: Path, text: str) -> None:
    """Raises :class:`InputError` where ``file`` exists and holds something else: it may be somebody's work."""
    if file.exists() and not (file.is_file() and file.read_bytes() == text.encode()):
        raise InputError(
            f"{file}: is there and holds something else; --overwrite replaces it, or choose another --out"
        )
