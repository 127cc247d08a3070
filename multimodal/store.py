"""The store on disk: the path of each artefact, whole-or-absent writes, and the lock of the one writing process.

A file is written beside its place, synced and renamed. A folder is published by one rename with its manifest written
last. A process that is killed at any moment leaves old files, new files, and leftovers that the next writer removes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

DIGEST_CHUNK = 1 << 20
FORMAT_VERSION = 1


SYNC_THREADS = 8
"""File systems commit the syncs that wait at the same time together."""

_held: set[Path] = set()
"""The stores that this process holds for writing."""


class InputError(ValueError):
    """A request of a person that cannot be carried out; the message is one line: name, value, rule, remedy.

    The ground class of the errors of ``multimodal``.
    """


class StoreLocked(InputError):
    """Another process writes to this store."""


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes as 64 hex digits, which is also the identity of a video."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(DIGEST_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def recipe(**parts: Any) -> str:
    """The digest (12 hex digits) of the options and the code version that made an artefact."""
    return recipe_of_json(canonical_json(parts).encode())


def recipe_of_json(parts: bytes) -> str:
    """The recipe of parts that are canonical JSON already."""
    return hashlib.sha256(parts).hexdigest()[:12]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; dataclasses become objects, paths strings."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


class FileBatch:
    """Files that are written beside their places, synced together, and only then renamed.

    Until :meth:`publish` no file has its name, and a killed process leaves the old files. Each file by itself is whole
    or absent; between two renames of one batch some files may be new and others old.
    """

    def __init__(self) -> None:
        self._beside: dict[Path, Path] = {}

    def write(self, path: Path, data: bytes) -> None:
        """Writes ``data`` beside ``path``; a second write of the same path replaces the first."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._beside[path] = beside
        beside.write_bytes(data)

    def readable(self, path: Path) -> Path:
        """The place where the content of ``path`` can be read now: beside it, or ``path`` itself."""
        return self._beside.get(path, path)

    def publish(self) -> None:
        """Syncs all files, gives them their names, and syncs their folders."""
        if not self._beside:
            return
        with ThreadPoolExecutor(min(SYNC_THREADS, len(self._beside))) as pool:
            list(pool.map(_sync, self._beside.values()))
        for path, beside in self._beside.items():
            beside.rename(path)
        for folder in {path.parent for path in self._beside}:
            _sync(folder)
        self._beside.clear()

    def discard(self) -> None:
        """Removes what was written and not published."""
        for beside in self._beside.values():
            beside.unlink(missing_ok=True)
        self._beside.clear()


def write_whole(path: Path, data: bytes) -> Path:
    """Writes ``data`` to ``path``; at any moment the old or the new file is there, never a part of one."""
    batch = FileBatch()
    try:
        batch.write(path, data)
        batch.publish()
    except BaseException:
        batch.discard()
        raise
    return path


@contextlib.contextmanager
def publish_folder(final: Path) -> Iterator[Path]:
    """A new folder that appears under its name by one rename, with ``manifest.json`` (each file's SHA-256) written last.

    The body of the ``with`` statement fills the folder that it is given. Where ``final`` was already published, the new
    folder is dropped, as an address names its content.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    beside = final.parent / f".{final.name}.{os.getpid()}.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        files = sorted(p for p in beside.rglob("*") if p.is_file())
        manifest = {p.relative_to(beside).as_posix(): file_digest(p) for p in files}
        for path in [*files, *(p for p in beside.rglob("*") if p.is_dir())]:
            _sync(path)
        write_whole(beside / "manifest.json", canonical_json({"files": manifest}).encode())
        if is_published(final):
            return
        shutil.rmtree(final, ignore_errors=True)
        beside.rename(final)
        _sync(final.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def is_published(folder: Path) -> bool:
    """True where ``folder`` was published, that is, has its manifest."""
    return (folder / "manifest.json").is_file()


def changed_files(folder: Path, only: Iterable[str] | None = None) -> list[str]:
    """The names of a published folder's files that are missing, differ from its manifest, or are not listed in it.

    ``only``: the files whose bytes are read and compared, where not all of them are to be opened. A manifest that cannot
    be read is reported as the changed file.
    """
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"manifest.json"}
    try:
        manifest = json.loads((folder / "manifest.json").read_text())["files"]
        compared = there | set(manifest)
        if only is not None:
            # A file that the manifest does not name needs no hashing to be told.
            compared &= set(only) | (there - set(manifest))
        return [
            name
            for name in sorted(compared)
            if name not in there or file_digest(folder / name) != manifest.get(name)
        ]
    except (ValueError, LookupError, TypeError, AttributeError):
        return ["manifest.json"]


def _sync(path: Path) -> None:
    """Forces a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Store:
    """The paths of a store's artefacts. Opening a store makes its folder and checks its format version.

    Raises :class:`InputError` where the folder cannot be made, or is missing and ``create`` is false, and where
    ``store.json`` cannot be read or was written by a newer version.
    """

    def __init__(self, root: Path, *, create: bool = True):
        self.root = Path(root).absolute()
        # What is only read is not made: a folder of another kind stays as it is.
        if not create and not (self.root / "store.json").is_file():
            raise InputError(
                f"store {self.root}: there is none; name another with --store, or run `videobert run VIDEOS`"
            )
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"store {self.root}: the folder cannot be made ({error.strerror}); choose another with --store"
            ) from error
        version_file = self.root / "store.json"
        try:
            if not version_file.exists():
                write_whole(version_file, canonical_json({"format": FORMAT_VERSION}).encode())
            version = int(json.loads(version_file.read_text())["format"])
        except OSError as error:
            raise InputError(
                f"store {self.root}: store.json cannot be read or written ({error.strerror}); "
                "give yourself the right to, or choose another with --store"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"store {self.root}: store.json is not ours to read ({error}); restore it or start a new store"
            ) from error
        if version > FORMAT_VERSION:
            raise InputError(
                f"store {self.root}: format {version} is newer than this program's {FORMAT_VERSION}; "
                "upgrade videobert, or name another store with --store"
            )

    @property
    def catalogue(self) -> Path:
        return self.root / "catalogue.sqlite"

    def transcript(self, video: str, recipe: str) -> Path:
        return self.root / "transcripts" / f"{video}.{recipe}.json"

    def features(self, video: str, recipe: str) -> Path:
        return self.root / "features" / f"{video}.{recipe}.safetensors"

    def codebook(self, digest: str) -> Path:
        return self.root / "codebooks" / digest

    def tokens(self, codebook: str, video: str) -> Path:
        return self.root / "tokens" / codebook / f"{video}.parquet"

    def model(self, name: str) -> Path:
        return self.root / "models" / name

    def captioner(self, name: str) -> Path:
        return self.root / "captioners" / name

    def index(self, address: str) -> Path:
        return self.root / "indexes" / address

    @property
    def caches(self) -> Path:
        return self.root / "caches"

    def cache(self, address: str) -> Path:
        return self.caches / address

    def evaluation(self, address: str) -> Path:
        return self.root / "evaluations" / f"{address}.json"

    def remove_model(self, name: str) -> None:
        """Removes a model's folder, by one rename out of sight, so that a kill leaves no half of it under its name."""
        aside = self.model(name).with_name(f".{name}.{os.getpid()}.part")
        self.model(name).rename(aside)
        shutil.rmtree(aside)

    def comparison(self, address: str) -> Path:
        return self.root / "comparisons" / f"{address}.json"

    @property
    def comparison_page(self) -> Path:
        return self.root / "comparison.html"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the store for one writing process; the system releases the lock when the process ends in any way.

        The holder may enter again. Raises :class:`StoreLocked` where another process holds the store.
        """
        if self.root in _held:
            yield
            return
        with (self.root / ".lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise StoreLocked(
                    f"store {self.root}: process {holder} writes to it; wait for that run to end, or use another --store"
                ) from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            self._sweep()
            _held.add(self.root)
            try:
                yield
            finally:
                _held.discard(self.root)

    def _sweep(self) -> None:
        """Removes the unfinished files of killed writers; nobody else writes while the lock is held."""
        for left in list(self.root.glob("**/.*.part")):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def out_of_space(error: BaseException | None) -> bool:
    """True where ``error``, or an error that led to it, reports a full disk; SQLite and safetensors report it as text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if isinstance(error, sqlite3.OperationalError) and str(error).endswith(("is full", "disk I/O error")):
            return True
        if isinstance(error, SafetensorError) and f"os error {errno.ENOSPC}" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
