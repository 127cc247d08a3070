"""Owns what comes in from elsewhere: features, transcripts and visual tokens, joined by label into videos without a file.

Such a video is known by the SHA-256 of its label and of what is shown in it (or, where nothing is, of what is said), so
importing the same again changes nothing. Files are read in the sandbox.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import safe_open

from multimodal.catalogue import Catalogue, State, Video
from multimodal.intake import sandbox
from multimodal.intake.imported_files import SUFFIXES, Kind, Piece, read
from multimodal.store import InputError, Store, canonical_json, file_digest, recipe, write_whole
from speech.sentences import Transcript, read_transcript
from vision.clips import CLIP_SECONDS

VERSION = 1
SECONDS_A_FILE = 600.0
LONGEST_LABEL = 200
Report = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """``kind`` takes files of that kind alone. ``stride``: seconds from one feature to the next, or ``fps`` features a second,
    where a file gives no start times. Raises :class:`InputError` for both, or one out of its range."""

    kind: Kind | None = None
    stride: float | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.stride is not None and self.fps is not None:
            raise InputError(
                "--import-fps and --import-stride: each says how far apart features are; give one"
            )
        for name in ("stride", "fps"):
            value = getattr(self, name)
            if value is not None and not 1e-3 <= value <= 1e3:
                raise InputError(f"--import-{name} {value:g}: must be from 0.001 to 1000")

    @property
    def apart(self) -> float | None:
        """Seconds from one feature to the next."""
        return 1 / self.fps if self.fps else self.stride


def find_imports(paths: Sequence[Path], kind: Kind | None) -> list[Path]:
    """The files that ``paths`` mean: files as they are, folders searched through and through, by ending.

    What shows something goes before what says something. Raises :class:`InputError` where a path is not there, or a
    folder holds nothing that can be imported.
    """
    wanted = (
        SUFFIXES[kind] if kind else tuple(sorted({s for suffixes in SUFFIXES.values() for s in suffixes}))
    )
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"--import {path}: no such file or folder; check the name")
        if path.is_dir():
            held = [Path(at) / name for at, _, names in os.walk(path) for name in names]
            held = [file for file in held if file.suffix.lower() in wanted]
            if not held:
                raise InputError(
                    f"--import {path}: holds no file that ends in {' '.join(wanted)}; name another"
                )
            files += sorted(held)
        else:
            files.append(path)
    says = {".vtt", ".srt", ".json"}
    return sorted(dict.fromkeys(files), key=lambda file: file.suffix.lower() in says)


def import_files(
    store: Store, catalogue: Catalogue, files: Sequence[Path], options: ImportOptions, report: Report
) -> list[Video]:
    """Every video that the files speak of, as it stands in the catalogue now; a bad file or row is a refused one."""
    return list(_Import(store, catalogue, files, options, report).run())


class _Import:
    """One taking in: what is known by label, and who said what, so that no second file overrules the first unseen."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        files: Sequence[Path],
        options: ImportOptions,
        report: Report,
    ):
        self.store, self.catalogue, self.files, self.options, self.report = (
            store,
            catalogue,
            files,
            options,
            report,
        )
        videos = catalogue.videos()
        self.known = {v.name: v for v in videos if not v.path}
        self.filmed = {
            name: v for v in videos if v.state != "refused" and v.path for name in (v.name, Path(v.name).stem)
        }
        self.refused = {v.video for v in videos if v.video.startswith("unread:")}
        self.said_by: dict[tuple[str, bool], str] = {}
        self.touched: dict[str, Video] = {}
        self.digests: dict[Path, str] = {}

    def run(self) -> Iterator[Video]:
        for piece in self._pieces():
            file = self.files[piece.file]
            if piece.kind == "end":
                self.report(piece.file + 1, len(self.files), file.name)
                continue
            problem = piece.problem or self._conflict(piece, file)
            video = self._refuse(piece, file, problem) if problem else self._join(piece, file)
            self.touched[video.name] = video
        yield from self.touched.values()

    def _pieces(self) -> Iterator[Piece]:
        """What the files say; one that stops the child is passed over, and a new child reads on behind it."""
        limits = sandbox.Limits(seconds=SECONDS_A_FILE)
        first = 0
        while first < len(self.files):
            done, at = first, first
            try:
                for piece in sandbox.stream(
                    read,
                    list(self.files[first:]),
                    self.options.kind,
                    self.options.apart,
                    types=(Piece,),
                    limits=limits,
                ):
                    at = first + piece.file
                    done = at + (piece.kind == "end")
                    yield dataclasses.replace(piece, file=at)
            except sandbox.SandboxError as error:
                if done == len(self.files):
                    return
                name = self.files[done].name
                yield Piece(done, "", "", problem=f"{name}: {error}; split it, or leave it out")
                yield Piece(done, "", "end")
                done += 1
            first = done

    def _conflict(self, piece: Piece, file: Path) -> str:
        """Why the piece cannot be used beside what is there already."""
        label = piece.label
        if not label or len(label) > LONGEST_LABEL or not label.isprintable():
            return f"{file.name}: the video's name {label[:40]!r} must have 1 to {LONGEST_LABEL} characters that can be shown"
        if label in self.filmed:
            return (
                f"{file.name}: {label} is a video with a file ({self.filmed[label].path}); "
                "choose another name, or put a .vtt beside the file and take it in with --captions"
            )
        said = self.said_by.setdefault((label, piece.kind == "transcripts"), str(file))
        if said != str(file):
            what = "transcript" if piece.kind == "transcripts" else "features or tokens"
            return f"{file.name}: {Path(said).name} gives the {what} of {label} already; keep one"
        return ""

    def _refuse(self, piece: Piece, file: Path, problem: str) -> Video:
        name = f"{piece.label} in {file.name}" if piece.label else file.name
        name, path, problem = (_printable(t) for t in (name[:LONGEST_LABEL], str(file.absolute()), problem))
        video = Video(_unread(file, piece.label), name, path, 0, "refused", problem)
        self.catalogue.put(video)
        self.refused.add(video.video)
        return video

    def _join(self, piece: Piece, file: Path) -> Video:
        """The piece written, and its video in the catalogue: what was there of the other kind stays."""
        before = self.known.get(piece.label)
        if piece.kind == "transcripts":
            video = self._said(piece, file, before)
        else:
            video = self._seen(piece, file, before)
        for gone in {_unread(file, label) for label in (piece.label, "")} & self.refused:
            self.catalogue.remove(gone)
            self.refused.discard(gone)
        if video != before:
            self.catalogue.replace(before.video if before else video.video, video)
        self.known[piece.label] = video
        return video

    def _said(self, piece: Piece, file: Path, before: Video | None) -> Video:
        try:
            transcript = Transcript.from_dict(json.loads(piece.transcript))
        except ValueError as error:
            return self._refuse(piece, file, f"{file.name}: {error}")
        words = transcript.to_dict() | {"source": {"kind": "import"}}
        made = recipe(version=VERSION, transcript=words)
        identity = (
            before.video
            if before and before.features
            else _digest(piece.label, canonical_json(words).encode())
        )
        path = self.store.transcript(identity, made)
        if not path.exists():
            words["source"] = {"kind": "import", "file": file.name, "sha256": self._digest_of(file)}
            write_whole(path, canonical_json(words | {"problems": []}).encode())
        return self._whole(piece.label, identity, before.features if before else None, made)

    def _seen(self, piece: Piece, file: Path, before: Video | None) -> Video:
        name = "tokens" if piece.kind == "tokens" else "values"
        values = piece.values.astype(np.int32) if name == "tokens" else piece.values
        made = recipe(version=VERSION, imported=piece.kind, width=values.shape[1:])
        identity = _digest(piece.label, *(_array_bytes(a) for a in (values, piece.starts)))
        path = self.store.features(identity, made)
        if not path.exists():
            about = {
                "imported": piece.kind,
                "file": file.name,
                "sha256": self._digest_of(file),
                "note": piece.note,
            }
            metadata = {"about": canonical_json({"problems": [], "recipe": about})}
            blob = safetensors.numpy.save({name: values, "starts": piece.starts}, metadata=metadata)
            write_whole(path, blob)
        transcript = before.transcript if before else None
        if before and transcript and before.video != identity:
            old, new = (self.store.transcript(v, transcript) for v in (before.video, identity))
            if not new.exists():
                write_whole(new, old.read_bytes())
        return self._whole(piece.label, identity, made, transcript)

    def _digest_of(self, file: Path) -> str:
        if file not in self.digests:
            self.digests = {file: file_digest(file)}
        return self.digests[file]

    def _whole(self, label: str, identity: str, features: str | None, transcript: str | None) -> Video:
        """The video with both of its parts, whichever are there, and what is missing in words."""
        clips, sentences, end, size, notes = 0, 0, 0.0, 0, []
        if features:
            path = self.store.features(identity, features)
            with safe_open(path, "numpy") as file:
                starts = file.get_tensor("starts")
                notes += [note for note in [json.loads(file.metadata()["about"])["recipe"]["note"]] if note]
            clips, end, size = len(starts), float(starts[-1]) + CLIP_SECONDS, path.stat().st_size
        if transcript:
            path = self.store.transcript(identity, transcript)
            heard = read_transcript(path)
            sentences, end = len(heard.sentences), max(end, *(s.end for s in heard.sentences))
            size, notes = size + path.stat().st_size, notes + list(heard.notes)
        missing = [] if features else ["no picture: neither features nor tokens were imported"]
        missing += [] if transcript else ["no words: no transcript was imported"]
        state: State = "partial" if missing else "done"
        reason = "; ".join([*missing, "imported, there is no video file", *notes])
        made = recipe(version=VERSION, imported=[features, transcript])
        return Video(
            identity, label, "", size, state, reason, end, clips, sentences, transcript, features, made
        )


def _unread(file: Path, label: str) -> str:
    return _printable(f"unread:{file.absolute()}#{label}" if label else f"unread:{file.absolute()}")


def _printable(text: str) -> str:
    """The text as a terminal and the catalogue can take it: what cannot be shown is a question mark."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _array_bytes(array: np.ndarray) -> bytes:
    return f"{array.dtype.str} {array.shape} ".encode() + array.tobytes()


def _digest(label: str, *parts: bytes) -> str:
    digest = hashlib.sha256(canonical_json(label).encode())
    for part in parts:
        digest.update(b"\0")
        digest.update(part)
    return digest.hexdigest()
