"""Import of features, transcripts and visual tokens of other programs as videos without a file, joined by label.

An imported video is identified by the SHA-256 of its label and of its features or tokens (of its words where it has
neither), so that importing the same files again changes nothing. Files are read in the sandbox.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import safe_open

from multimodal.catalogue import Catalogue, ImportedPart, State, Video
from multimodal.intake.import_batches import Batches, Part
from multimodal.intake.imported_files import SUFFIXES, Piece
from multimodal.intake.imported_groups import grouped, labels_of
from multimodal.intake.imported_pieces import Progress, read_side_by_side
from multimodal.intake.options import ImportOptions, Kind
from multimodal.library import TRANSCRIPTS
from multimodal.progress import Report
from multimodal.store import (
    InputError,
    Store,
    canonical_json,
    file_digest,
    reading,
    recipe,
    recipe_of_json,
)
from multimodal.tables import COLUMNS, TABLES
from speech.errors import SpeechError
from speech.sentences import Transcript
from vision.clips import CLIP_SECONDS

VERSION = 1
LONGEST_LABEL = 200
LONGEST_FIRST_LINE = 1 << 16
SECONDS_OF_REST = 2.0
"""A file that was written this shortly before it is read may change and keep its times, which some file systems count
in steps of 2 s: it is not recognised as unchanged."""


def find_imports(paths: Sequence[Path], kind: Kind | None) -> list[Path]:
    """The files of ``paths``: files as they are given, folders searched recursively, by ending.

    The files of one video come one after the other, and its transcript last, so that it has its final identity before
    its words are stored. Raises :class:`InputError` where a path does not exist, or a folder holds nothing that can be
    imported.
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
    files = list(dict.fromkeys(files))
    label_of = labels_of(files)
    labels: dict[str, int] = {}
    for file in files:
        labels.setdefault(label_of[file], len(labels))

    def place(file: Path) -> tuple[int, int, bool]:
        """Tables of features and tokens, then the files of one video each, then tables of words."""
        if file.suffix.lower() in TABLES:
            return (2 if kind != "tokens" and _holds_words(file) else 0), 0, False
        return 1, labels[label_of[file]], file.suffix.lower() in TRANSCRIPTS

    return sorted(files, key=place)


def _holds_words(table: Path) -> bool:
    """True where the first line of a CSV names a column of texts; the child that reads the table decides what it holds."""
    try:
        if table.suffix.lower() == ".parquet" or not table.is_file():
            return False
        with table.open("rb") as stream:
            first = stream.readline(LONGEST_FIRST_LINE).decode(errors="replace").lower()
    except OSError:
        return False
    return not {name.strip(' "\r\n') for name in re.split(r"[,\t;|]", first)}.isdisjoint(COLUMNS["text"])


def import_files(
    store: Store, catalogue: Catalogue, files: Sequence[Path], options: ImportOptions, report: Report
) -> list[Video]:
    """Imports the files. Returns every video in them with its new state; a bad file or row is a refused video.

    A file that was imported whole before, and has the size and times that it had then, is not read again.
    """
    running = _Import(store, catalogue, files, options)
    try:
        return running.run(report)
    finally:
        running.batches.close()


class _Import:
    """The state of one import: the videos by label, and the file that gave each of their parts."""

    def __init__(
        self, store: Store, catalogue: Catalogue, files: Sequence[Path], options: ImportOptions
    ) -> None:
        self.store, self.files, self.options = store, files, options
        videos = catalogue.videos()
        self.imported = {v.name: v for v in videos if not v.path}
        self.with_file = {
            name: v for v in videos if v.state != "refused" and v.path for name in (v.name, Path(v.name).stem)
        }
        self.refused = {v.video for v in videos if v.video.startswith("unread:")}
        self.groups = grouped(files)
        self.given_by: dict[tuple[str, bool], Path] = {}
        self.digest: tuple[Path, str] | None = None
        self.batches = Batches(catalogue)
        self.earlier = catalogue.imported()

    def run(self, report: Report) -> list[Video]:
        stamps = {file: stamp for file in self.files if (stamp := self._stamp(file))}
        unchanged = self._unchanged(stamps)
        ended = {label: self.imported[label] for labels in unchanged.values() for label in labels}
        to_read = [file for file in self.files if file not in unchanged]
        progress = Progress(to_read, sum(map(len, unchanged.values())), len(ended))
        report(progress.done, progress.total, "reading")
        whole, parts = True, list[ImportedPart]()
        for piece in read_side_by_side(to_read, self.options):
            file = to_read[piece.file]
            if piece.kind == "end":
                # A file of which anything was refused is read again: what stood in its way may be gone then.
                if whole and file in stamps:
                    self.batches.put_whole(parts)
                whole, parts = True, []
                continue
            try:
                self._check(piece, file)
                video = self._join(piece, file)
                part = video.transcript if piece.kind == "transcripts" else video.video
                parts.append(ImportedPart(str(file.absolute()), piece.label, stamps.get(file, ""), part))
            except InputError as error:
                video, whole = self._refuse(piece, file, str(error)), False
            ended[video.name] = video
            self.batches.publish_if_full()
            progress.add(piece)
            report(progress.done, progress.total, video.name)
        self.batches.finish()
        return list(ended.values())

    def _stamp(self, file: Path) -> str | None:
        """What tells that a file is as it was, read in the same way; ``None`` where nothing does."""
        together = self.groups[file].files if file in self.groups else (file,)
        try:
            states = [part.stat() for part in together]
        except OSError:
            return None
        now = time.time()
        just_written = any(abs(now - state.st_mtime) < SECONDS_OF_REST for state in states)
        if just_written or not str(file).isprintable():
            return None
        times = [n for state in states for n in (state.st_size, state.st_mtime_ns, state.st_ctime_ns)]
        return canonical_json([VERSION, self.options.kind, self.options.seconds_apart, *times])

    def _unchanged(self, stamps: dict[Path, str]) -> dict[Path, list[str]]:
        """The files that were imported before and are as they were, and the labels of their videos, still in the store."""
        earlier: dict[str, list[ImportedPart]] = {}
        for part in self.earlier:
            earlier.setdefault(part.file, []).append(part)
        self.earlier = []
        unchanged = {}
        for file, stamp in stamps.items():
            parts = earlier.get(str(file.absolute()), [])
            if parts and all(part.stamp == stamp and self._is_stored(part) for part in parts):
                unchanged[file] = [part.label for part in parts]
                for part in parts:
                    is_words = part.part != self.imported[part.label].video
                    self.given_by.setdefault((part.label, is_words), file)
        # The last file of a group stands for all of it.
        for file, group in self.groups.items():
            if group.last in unchanged:
                unchanged.setdefault(file, [])
        return unchanged

    def _is_stored(self, part: ImportedPart) -> bool:
        video = self.imported.get(part.label)
        if video is None or part.label in self.with_file:
            return False
        if part.part == video.video and video.features:
            return self.store.features(video.video, video.features).exists()
        return part.part == video.transcript and self.store.transcript(video.video, part.part).exists()

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
        first = self.given_by.setdefault((label, piece.kind == "transcripts"), file)
        if first != file:
            what = "transcript" if piece.kind == "transcripts" else "features or tokens"
            raise InputError(f"{file.name}: {first.name} gives the {what} of {label} already; keep one")

    def _refuse(self, piece: Piece, file: Path, problem: str) -> Video:
        name = f"{piece.label} in {file.name}" if piece.label else file.name
        name, path, problem = (_printable(t) for t in (name[:LONGEST_LABEL], str(file.absolute()), problem))
        video = Video(_unread(file, piece.label), name, path, 0, "refused", problem)
        self.batches.put(video)
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
            self.batches.remove(refusal)
            self.refused.discard(refusal)
        if video != before:
            # Features decide the identity, so the video that had words alone until now has another one.
            if before and before.video != video.video:
                self.batches.remove(before.video)
            self.batches.put(video)
        self.imported[piece.label] = video
        return video

    def _with_transcript(self, piece: Piece, file: Path, before: Video | None) -> Video:
        try:
            transcript = Transcript.from_json(piece.transcript)
        except SpeechError as error:
            raise InputError(f"{file.name}: {error}") from error
        # The text is put together from parts: to write each word anew would take longer than all else.
        words = _with_source(piece.transcript, {"kind": "import"})
        made = recipe_of_json(b'{"transcript":%b,"version":%d}' % (words, VERSION))
        identity = before.video if before and before.features else _digest(piece.label, words)
        path = self.store.transcript(identity, made)
        if not self._exists(path):
            source = {"kind": "import", "file": file.name, "sha256": self._digest_of(file)}
            before_sentences, key, sentences = _with_source(piece.transcript, source).partition(
                b',"sentences":'
            )
            blob = b"".join((before_sentences, b',"problems":[]', key, sentences))
            self.batches.write(path, blob, _words_part(transcript, len(blob)))
        return self._video(piece.label, identity, before.features if before else None, made)

    def _with_clips(self, piece: Piece, file: Path, before: Video | None) -> Video:
        name = "tokens" if piece.kind == "tokens" else "values"
        values = piece.values.astype(np.int32) if name == "tokens" else piece.values
        made = recipe(version=VERSION, imported=piece.kind, width=values.shape[1:])
        identity = _digest(piece.label, values, piece.starts)
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
            self.batches.write(path, blob, _clips_part(piece.starts, len(blob), piece.note))
        transcript = before.transcript if before else None
        if before and transcript and before.video != identity:
            old, new = (self.store.transcript(v, transcript) for v in (before.video, identity))
            if not self._exists(new):
                part = self.batches.part(old, _read_words)
                self.batches.write(new, self.batches.readable(old).read_bytes(), part)
        return self._video(piece.label, identity, made, transcript)

    def _exists(self, path: Path) -> bool:
        return self.batches.readable(path).exists()

    def _digest_of(self, file: Path) -> str:
        if self.digest is None or self.digest[0] != file:
            self.digest = (file, file_digest(file))
        return self.digest[1]

    def _video(self, label: str, identity: str, features: str | None, transcript: str | None) -> Video:
        """The video with the parts that it has; its reason names the missing one."""
        clips = words = None
        missing = []
        if features:
            clips = self.batches.part(self.store.features(identity, features), _read_clips)
        else:
            missing.append("no picture: neither features nor tokens were imported")
        if transcript:
            words = self.batches.part(self.store.transcript(identity, transcript), _read_words)
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


def _clips_part(starts: np.ndarray, size: int, note: str) -> Part:
    return Part(len(starts), float(starts[-1]) + CLIP_SECONDS, size, (note,) if note else ())


def _words_part(transcript: Transcript, size: int) -> Part:
    end = max(sentence.end for sentence in transcript.sentences)
    return Part(len(transcript.sentences), end, size, tuple(transcript.notes))


def _read_clips(path: Path) -> Part:
    with reading(path), safe_open(path, "numpy") as file:
        note = json.loads(file.metadata()["about"])["recipe"]["note"]
        return _clips_part(file.get_tensor("starts"), path.stat().st_size, note)


def _read_words(path: Path) -> Part:
    with reading(path):
        data = path.read_bytes()
        return _words_part(Transcript.from_json(data), len(data))


def _with_source(transcript: bytes, source: dict) -> bytes:
    """Canonical JSON of a transcript that has no source, with this one: the source is the last of its fields."""
    return transcript.removesuffix(b"{}}") + canonical_json(source).encode() + b"}"


def _digest(label: str, *parts: bytes | np.ndarray) -> str:
    digest = hashlib.sha256(canonical_json(label).encode())
    for part in parts:
        digest.update(b"\0")
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str} {part.shape} ".encode())
        digest.update(part)
    return digest.hexdigest()
