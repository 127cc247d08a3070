"""Owns the way from files to the store's videos, and the reading back of what the store holds of each."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open

from multimodal.catalogue import Catalogue, Video
from multimodal.segments import Segment, moments, silent_segments, spoken_segments
from multimodal.store import InputError, Store, file_digest
from speech import sentences
from speech.sentences import Transcript

SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .mts .m2ts .wmv .flv .ogv .3gp .mp3 .m4a .wav .flac .ogg".split()
)
"""Endings by which a file in a folder is taken for a video or sound; a file named outright is always tried."""


LEAST_TO_SPLIT = 10
LEAST_HELD_OUT = 2


@dataclasses.dataclass(frozen=True)
class VideoFiles:
    """``files`` to take in, and how many other files a folder held, by ending."""

    files: tuple[Path, ...]
    skipped: dict[str, int]


def find(paths: Sequence[Path]) -> VideoFiles:
    """The videos that ``paths`` mean: files as they are, folders searched through and through, by ending.

    Raises :class:`InputError` where a path is not there, a folder cannot be read, or nothing was found.
    """
    if not paths:
        raise InputError("VIDEOS: none given; name video files or a folder of them")
    files: list[Path] = []
    skipped: dict[str, int] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the name")
        if not path.is_dir():
            files.append(path)
            continue
        for folder, folders, names in os.walk(path, onerror=_unreadable):
            folders.sort()
            for name in sorted(names):
                if Path(name).suffix.lower() in SUFFIXES:
                    files.append(Path(folder) / name)
                else:
                    ending = Path(name).suffix.lower() or "no ending"
                    skipped[ending] = skipped.get(ending, 0) + 1
    if not files:
        held = ", ".join(f"{n} {ending}" for ending, n in sorted(skipped.items())) or "no file"
        raise InputError(
            f"{', '.join(map(str, paths))}: no videos (found {held}); give a folder with files such as .mp4, .mkv, .mov, .webm"
        )
    return VideoFiles(tuple(files), skipped)


def _unreadable(error: OSError) -> None:
    raise InputError(
        f"{error.filename}: the folder cannot be read ({error.strerror}); give yourself the right to read it"
    ) from error


def register(catalogue: Catalogue, files: Iterable[Path]) -> tuple[list[Video], list[Video]]:
    """Each file's content in the catalogue, once however many names it has; and those refused as they cannot be read.

    A file is read once, however many links lead to it.
    """
    digests: dict[tuple[int, int, int, int], str] = {}
    videos: dict[str, Video] = {}
    unread: list[Video] = []
    for file in files:
        path, name = (os.fsencode(p).decode(errors="replace") for p in (file.absolute(), file.name))
        reason = "" if path == str(file.absolute()) else f"{name}: the path is not UTF-8; rename it"
        try:
            found = file.stat()
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            same = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            digest = digests[same] = digests.get(same) or file_digest(file)
            size = found.st_size
        except OSError as error:
            reason = f"{name}: the file cannot be read ({error.strerror})"
        if reason:
            unread.append(Video(f"unread:{path}", name, path, 0, "refused", reason))
            catalogue.put(unread[-1])
            continue
        if digest in videos:
            continue
        known = catalogue.get(digest)
        video = (
            dataclasses.replace(known, name=file.name, path=path)
            if known
            else Video(digest, file.name, path, size)
        )
        catalogue.put(video)
        videos[digest] = video
    return list(videos.values()), unread


@dataclasses.dataclass(frozen=True)
class Material:
    """What the store holds of a video: ``starts`` [n] float64 seconds and ``tokens`` [n] of its clips, and its words."""

    video: Video
    transcript: Transcript
    starts: np.ndarray
    tokens: np.ndarray

    def spoken(self) -> list[Segment]:
        return spoken_segments(self.video.video, self.transcript, self.starts, self.tokens)

    def silent(self) -> list[Segment]:
        return silent_segments(self.video.video, self.starts, self.tokens)

    def moments(self) -> list[Segment]:
        return moments(self.video.video, self.transcript, self.starts, self.tokens)


def read_transcript(store: Store, video: Video) -> Transcript:
    """The video's transcript, or an empty one where it has no sound."""
    if video.transcript is None:
        return Transcript(None, {"kind": "none"}, ())
    return sentences.read_transcript(store.transcript(video.video, video.transcript))


def read_features(store: Store, video: Video) -> tuple[np.ndarray, np.ndarray]:
    """``values`` float16 [n, d] and ``starts`` float64 [n]; n is 0 where the video has no picture."""
    if video.features is None:
        return np.zeros((0, 1), np.float16), np.zeros(0)
    with safe_open(store.features(video.video, video.features), "numpy") as file:
        return file.get_tensor("values"), file.get_tensor("starts")


def read_imported_tokens(store: Store, video: Video) -> tuple[np.ndarray, np.ndarray] | None:
    """``tokens`` int32 [n] and ``starts`` float64 [n] that came in from elsewhere; ``None`` where features did."""
    if video.features is None:
        return None
    with safe_open(store.features(video.video, video.features), "numpy") as file:
        if "tokens" not in file.keys():  # noqa: SIM118 - it is no dict
            return None
        return file.get_tensor("tokens"), file.get_tensor("starts")


def usable(catalogue: Catalogue) -> list[Video]:
    return catalogue.videos(("done", "partial"))


def split(videos: Sequence[Video], held_out: float | frozenset[str]) -> tuple[list[Video], list[Video]]:
    """The videos to learn from and those held out to judge by: a share of them by content, or the named digests.

    A share takes videos, in an order that only their content decides, until their clips make it up, and two at least.
    Fewer than ten videos that have clips hold out none: there is too little to learn from as it is.
    """
    if isinstance(held_out, float):
        seen = sorted(
            (v for v in videos if v.clips), key=lambda v: hashlib.sha256(v.video.encode()).hexdigest()
        )
        wanted, taken = held_out * sum(v.clips for v in seen), []
        for video in seen if len(seen) >= LEAST_TO_SPLIT and held_out else ():
            if len(taken) >= LEAST_HELD_OUT and sum(v.clips for v in taken) >= wanted:
                break
            taken.append(video)
        held_out = frozenset(v.video for v in taken)
    return [v for v in videos if v.video not in held_out], [v for v in videos if v.video in held_out]


def read_material(store: Store, codebook: str, video: Video) -> Material:
    """What was said and seen in a video whose tokens under ``codebook`` are in the store."""
    transcript = read_transcript(store, video)
    if video.features is None or not video.clips:
        return Material(video, transcript, np.zeros(0), np.zeros(0, np.int64))
    table = pq.read_table(store.tokens(codebook, video.video))
    return Material(video, transcript, table["start"].to_numpy(), table["token"].to_numpy())


def tokens_table(starts: np.ndarray, tokens: np.ndarray) -> pa.Table:
    return pa.table({"start": pa.array(starts, pa.float64()), "token": pa.array(tokens, pa.int32())})
