"""Owns what is on disk: where each artefact lies, how it is written whole or not at all, and who holds the store."""

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
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

DIGEST_CHUNK = 1 << 20
FORMAT_VERSION = 1


_held: set[Path] = set()
"""The stores that this process holds."""


class InputError(ValueError):
    """What a person asked for cannot be done; the message is one line: name, value, rule, remedy."""


class StoreError(InputError):
    """The store cannot be used as it is."""


class StoreLocked(StoreError):
    """Another process writes to this store."""


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hex digits: what a video is known by."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(DIGEST_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def recipe(**parts: Any) -> str:
    """The digest (12 hex digits) of the options and code version that made an artefact."""
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:12]


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


def write_whole(path: Path, data: bytes) -> Path:
    """Writes ``data`` to ``path`` so that at any moment the old or the new file is there, never a part of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return path


@contextlib.contextmanager
def publish_folder(final: Path) -> Iterator[Path]:
    """A new folder that appears under its name by one rename, with ``manifest.json`` (each file's SHA-256) written last.

    The body fills the folder it is given. Where ``final`` is already there with a manifest, what was made is dropped:
    an address names its content.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    beside = final.parent / f".{final.name}.{os.getpid()}.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        files = sorted(p for p in beside.rglob("*") if p.is_file())
        manifest = {p.relative_to(beside).as_posix(): file_digest(p) for p in files}
        for path in files:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        for folder in (p for p in beside.rglob("*") if p.is_dir()):
            _sync_folder(folder)
        write_whole(beside / "manifest.json", canonical_json({"files": manifest}).encode())
        if is_published(final):
            return
        shutil.rmtree(final, ignore_errors=True)
        beside.rename(final)
        _sync_folder(final.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def is_published(folder: Path) -> bool:
    """True where ``folder`` was published whole."""
    return (folder / "manifest.json").is_file()


def changed_files(folder: Path, only: Iterable[str] | None = None) -> list[str]:
    """The names of a published folder's files that are missing, differ from its manifest, or are not in it.

    ``only``: the files whose bytes are read and compared, where not all of them are to be opened. A manifest that cannot
    be read is itself what changed.
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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Store:
    """The places of a store's artefacts. Opening one makes the folder and checks its format version.

    Raises :class:`StoreError` where the folder cannot be made or was written by a newer version.
    """

    def __init__(self, root: Path, *, create: bool = True):
        self.root = Path(root).absolute()
        if not create and not self.root.is_dir():
            raise StoreError(
                f"store {self.root}: there is none; name another with --store, or run `videobert run VIDEOS`"
            )
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"store {self.root}: the folder cannot be made ({error.strerror}); choose another with --store"
            ) from error
        version_file = self.root / "store.json"
        try:
            if not version_file.exists():
                write_whole(version_file, canonical_json({"format": FORMAT_VERSION}).encode())
            version = int(json.loads(version_file.read_text())["format"])
        except OSError as error:
            raise StoreError(
                f"store {self.root}: store.json cannot be read or written ({error.strerror}); "
                "give yourself the right to, or choose another with --store"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"store {self.root}: store.json is not ours to read ({error}); restore it or start a new store"
            ) from error
        if version > FORMAT_VERSION:
            raise StoreError(
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

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the store for one writing process; the lock goes when the process ends, however it ends.

        A holder may enter again. Raises :class:`StoreLocked` where another process holds it.
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
        """Removes what killed writers left half made; nobody else writes while the lock is held."""
        for left in list(self.root.glob("**/.*.part")):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def out_of_space(error: BaseException | None) -> bool:
    """True where ``error``, or one that led to it, says that the disk is full; SQLite and safetensors say so in words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if isinstance(error, sqlite3.OperationalError) and str(error).endswith(("is full", "disk I/O error")):
            return True
        if isinstance(error, SafetensorError) and f"os error {errno.ENOSPC}" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
