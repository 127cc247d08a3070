"""Import of features, transcripts and visual tokens of other programs as videos without a file, joined by label.

An imported video is identified by the SHA-256 of its label and of its features or tokens (of its words where it has
neither), so that importing the same files again changes nothing. Files are read in the sandbox.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import safe_open

from multimodal.catalogue import Catalogue, State, Video
from multimodal.intake import sandbox
from multimodal.intake.imported_files import SUFFIXES, Piece, read
from multimodal.intake.options import ImportOptions, Kind
from multimodal.progress import Report
from multimodal.store import FileBatch, InputError, Store, canonical_json, file_digest, recipe
from multimodal.tables import TABLES
from speech.sentences import Transcript
from vision.clips import CLIP_SECONDS

VERSION = 1
SECONDS_A_FILE = 600.0
LONGEST_LABEL = 200
BATCH_VIDEOS, BATCH_BYTES = 256, 256 << 20
"""A batch is synced to the disk and recorded in the catalogue when it reaches either of these."""


def find_imports(paths: Sequence[Path], kind: Kind | None) -> list[Path]:
    """The files of ``paths``: files as they are given, folders searched recursively, by ending.

    Transcripts come last, so that a video has its final identity before its words are stored. Raises
    :class:`InputError` where a path does not exist, or a folder holds nothing that can be imported.
    """
    wanted = SUFFIXES[kind] if kind else tuple(sorted({s for known in SUFFIXES.values() for s in known}))
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"--import {path}: no such file or folder; check the name")
        if not path.is_dir():
            files.append(path)
            continue
        held = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
        held = [file for file in held if file.suffix.lower() in wanted]
        if not held:
            raise InputError(f"--import {path}: holds no file that ends in {' '.join(wanted)}; name another")
        files += sorted(held)
    transcripts = (".vtt", ".srt", ".json")
    return sorted(dict.fromkeys(files), key=lambda file: file.suffix.lower() in transcripts)


def import_files(
    store: Store, catalogue: Catalogue, files: Sequence[Path], options: ImportOptions, report: Report
) -> list[Video]:
    """Imports the files. Returns every video in them with its new state; a bad file or row is a refused video."""
    running = _Import(store, catalogue, files)
    try:
        return running.run(_pieces(files, options), report)
    finally:
        running.batch.discard()


def _pieces(files: Sequence[Path], options: ImportOptions) -> Iterator[Piece]:
    """The content of the files. A file that stops the child is refused, and a new child reads on behind it."""
    limits = sandbox.Limits(seconds=SECONDS_A_FILE)
    first = 0
    while first < len(files):
        done = first
        try:
            work = sandbox.stream(
                read, list(files[first:]), options.kind, options.seconds_apart, types=(Piece,), limits=limits
            )
            for piece in work:
                number = first + piece.file
                done = number + (piece.kind == "end")
                yield dataclasses.replace(piece, file=number)
        except sandbox.SandboxError as error:
            if done == len(files):
                return
            yield Piece(done, "", "", problem=f"{files[done].name}: {error}; split it, or leave it out")
            yield Piece(done, "", "end")
            done += 1
        first = done


class _Progress:
    """Videos done, and videos in all: those of the files read so far, and an estimate for the files to come."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.done, self.total = 0, len(files)
        self._is_table = [file.suffix.lower() in TABLES for file in files]
        self._tables_left = sum(self._is_table)
        self._file, self._before, self._videos_a_table = -1, 0, 1

    def add(self, piece: Piece) -> None:
        """An unread table is taken to hold as many videos as the last one that was read, another file one."""
        if piece.file != self._file:
            self._tables_left -= sum(self._is_table[self._file + 1 : piece.file + 1])
            self._file, self._before = piece.file, self.done
        self.done += 1
        if self._is_table[piece.file]:
            self._videos_a_table = piece.videos
        others_left = len(self._is_table) - piece.file - 1 - self._tables_left
        to_come = others_left + self._tables_left * self._videos_a_table
        self.total = max(self.done, self._before + piece.videos) + to_come


@dataclasses.dataclass(frozen=True)
class _Part:
    """A stored part of a video: ``count`` clips or sentences, the second of their ``end``, ``size`` in bytes."""

    count: int
    end: float
    size: int
    notes: tuple[str, ...]


def _clips_part(starts: np.ndarray, size: int, note: str) -> _Part:
    return _Part(len(starts), float(starts[-1]) + CLIP_SECONDS, size, (note,) if note else ())


def _words_part(transcript: Transcript, size: int) -> _Part:
    end = max(sentence.end for sentence in transcript.sentences)
    return _Part(len(transcript.sentences), end, size, tuple(transcript.notes))


class _Import:
    """The state of one import: the videos by label, and the file that gave each of their parts.

    Files and catalogue rows are collected in a batch and take effect together, as syncing each small file by itself
    would take most of the time. First the files get their names, then the rows are recorded in one transaction: a
    process killed in between leaves files that the next import finds and uses.
    """

    def __init__(self, store: Store, catalogue: Catalogue, files: Sequence[Path]) -> None:
        self.store, self.catalogue, self.files = store, catalogue, files
        videos = catalogue.videos()
        self.imported = {v.name: v for v in videos if not v.path}
        self.with_file = {
            name: v for v in videos if v.state != "refused" and v.path for name in (v.name, Path(v.name).stem)
        }
        self.refused = {v.video for v in videos if v.video.startswith("unread:")}
        self.given_by: dict[tuple[str, bool], str] = {}
        self.digests: dict[Path, str] = {}
        self.parts: dict[Path, _Part] = {}
        self.batch = FileBatch()
        self.batch_bytes = 0
        self.removed: list[str] = []
        self.changed: dict[str, Video] = {}

    def run(self, pieces: Iterator[Piece], report: Report) -> list[Video]:
        progress, ended = _Progress(self.files), {}
        for piece in pieces:
            if piece.kind == "end":
                continue
            file = self.files[piece.file]
            try:
                self._check(piece, file)
                video = self._join(piece, file)
            except InputError as error:
                video = self._refuse(piece, file, str(error))
            ended[video.name] = video
            if len(self.changed) >= BATCH_VIDEOS or self.batch_bytes >= BATCH_BYTES:
                self._flush()
            progress.add(piece)
            report(progress.done, progress.total, video.name)
        self._flush()
        return list(ended.values())

    def _flush(self) -> None:
        self.batch.publish()
        self.catalogue.record(self.removed, list(self.changed.values()))
        self.batch_bytes, self.removed, self.changed = 0, [], {}

    def _check(self, piece: Piece, file: Path) -> None:
        """Raises :class:`InputError` where the piece is bad by itself, or beside what the store or another file holds."""
        label = piece.label
        if piece.problem:
            raise InputError(piece.problem)
        if not label or len(label) > LONGEST_LABEL or not label.isprintable():
            raise InputError(
                f"{file.name}: the video's name {label[:40]!r} must have 1 to {LONGEST_LABEL} printable characters"
            )
        if label in self.with_file:
            raise InputError(
                f"{file.name}: {label} is a video with a file ({self.with_file[label].path}); "
                "choose another name, or put a .vtt beside the file and ingest it with --captions"
            )
        first = self.given_by.setdefault((label, piece.kind == "transcripts"), str(file))
        if first != str(file):
            what = "transcript" if piece.kind == "transcripts" else "features or tokens"
            raise InputError(f"{file.name}: {Path(first).name} gives the {what} of {label} already; keep one")

    def _refuse(self, piece: Piece, file: Path, problem: str) -> Video:
        name = f"{piece.label} in {file.name}" if piece.label else file.name
        name, path, problem = (_printable(t) for t in (name[:LONGEST_LABEL], str(file.absolute()), problem))
        video = Video(_unread(file, piece.label), name, path, 0, "refused", problem)
        self.changed[video.video] = video
        self.refused.add(video.video)
        return video

    def _join(self, piece: Piece, file: Path) -> Video:
        """Stores the piece and returns its video, which keeps its part of the other kind."""
        before = self.imported.get(piece.label)
        if piece.kind == "transcripts":
            video = self._with_transcript(piece, file, before)
        else:
            video = self._with_clips(piece, file, before)
        for refusal in {_unread(file, label) for label in (piece.label, "")} & self.refused:
            self._remove(refusal)
            self.refused.discard(refusal)
        if video != before:
            # Features decide the identity, so the video that had words alone until now has another one.
            if before and before.video != video.video:
                self._remove(before.video)
            self.changed[video.video] = video
        self.imported[piece.label] = video
        return video

    def _remove(self, digest: str) -> None:
        self.removed.append(digest)
        self.changed.pop(digest, None)

    def _with_transcript(self, piece: Piece, file: Path, before: Video | None) -> Video:
        try:
            transcript = Transcript.from_dict(json.loads(piece.transcript))
        except ValueError as error:
            raise InputError(f"{file.name}: {error}") from error
        words = transcript.to_dict() | {"source": {"kind": "import"}}
        made = recipe(version=VERSION, transcript=words)
        if before and before.features:
            identity = before.video
        else:
            identity = _digest(piece.label, canonical_json(words).encode())
        path = self.store.transcript(identity, made)
        if not self._exists(path):
            words["source"] = {"kind": "import", "file": file.name, "sha256": self._digest_of(file)}
            blob = canonical_json(words | {"problems": []}).encode()
            self._write(path, blob)
            self.parts[path] = _words_part(transcript, len(blob))
        return self._video(piece.label, identity, before.features if before else None, made)

    def _with_clips(self, piece: Piece, file: Path, before: Video | None) -> Video:
        name = "tokens" if piece.kind == "tokens" else "values"
        values = piece.values.astype(np.int32) if name == "tokens" else piece.values
        made = recipe(version=VERSION, imported=piece.kind, width=values.shape[1:])
        identity = _digest(piece.label, *(_array_bytes(a) for a in (values, piece.starts)))
        path = self.store.features(identity, made)
        if not self._exists(path):
            about = {
                "imported": piece.kind,
                "file": file.name,
                "sha256": self._digest_of(file),
                "note": piece.note,
            }
            metadata = {"about": canonical_json({"problems": [], "recipe": about})}
            blob = safetensors.numpy.save({name: values, "starts": piece.starts}, metadata=metadata)
            self._write(path, blob)
            self.parts[path] = _clips_part(piece.starts, len(blob), piece.note)
        transcript = before.transcript if before else None
        if before and transcript and before.video != identity:
            old, new = (self.store.transcript(v, transcript) for v in (before.video, identity))
            if not self._exists(new):
                self._write(new, self.batch.readable(old).read_bytes())
                self.parts[new] = self._words(old)
        return self._video(piece.label, identity, made, transcript)

    def _exists(self, path: Path) -> bool:
        return self.batch.readable(path).exists()

    def _write(self, path: Path, data: bytes) -> None:
        self.batch.write(path, data)
        self.batch_bytes += len(data)

    def _digest_of(self, file: Path) -> str:
        if file not in self.digests:
            self.digests = {file: file_digest(file)}
        return self.digests[file]

    def _clips(self, path: Path) -> _Part:
        if path not in self.parts:
            with safe_open(path, "numpy") as file:
                starts = file.get_tensor("starts")
                note = json.loads(file.metadata()["about"])["recipe"]["note"]
            self.parts[path] = _clips_part(starts, path.stat().st_size, note)
        return self.parts[path]

    def _words(self, path: Path) -> _Part:
        if path not in self.parts:
            data = path.read_bytes()
            self.parts[path] = _words_part(Transcript.from_dict(json.loads(data)), len(data))
        return self.parts[path]

    def _video(self, label: str, identity: str, features: str | None, transcript: str | None) -> Video:
        """The video with the parts that it has; its reason names the missing one."""
        clips = words = None
        missing = []
        if features:
            clips = self._clips(self.store.features(identity, features))
        else:
            missing.append("no picture: neither features nor tokens were imported")
        if transcript:
            words = self._words(self.store.transcript(identity, transcript))
        else:
            missing.append("no words: no transcript was imported")
        parts = [part for part in (clips, words) if part]
        state: State = "partial" if missing else "done"
        notes = [note for part in parts for note in part.notes]
        return Video(
            video=identity,
            name=label,
            path="",
            bytes=sum(part.size for part in parts),
            state=state,
            reason="; ".join([*missing, "imported, there is no video file", *notes]),
            seconds=max(part.end for part in parts),
            clips=clips.count if clips else 0,
            sentences=words.count if words else 0,
            transcript=transcript,
            features=features,
            recipe=recipe(version=VERSION, imported=[features, transcript]),
        )


def _unread(file: Path, label: str) -> str:
    """The identity of a refused file, or of a refused video in it."""
    return _printable(f"unread:{file.absolute()}#{label}" if label else f"unread:{file.absolute()}")


def _printable(text: str) -> str:
    """The text with a question mark for each character that a terminal or the catalogue cannot take."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _array_bytes(array: np.ndarray) -> bytes:
    return f"{array.dtype.str} {array.shape} ".encode() + array.tobytes()


def _digest(label: str, *parts: bytes) -> str:
    digest = hashlib.sha256(canonical_json(label).encode())
    for part in parts:
        digest.update(b"\0")
        digest.update(part)
    return digest.hexdigest()
