"""The store on disk: the path of each artefact, whole-or-absent writes, and the lock of the one writing process.

A file is written beside its place, synced and renamed. A folder is published by one rename with its manifest written
last. A process that is killed at any moment leaves old files, new files, and leftovers that the next writer removes.
Each file bears a sum: its own (:mod:`multimodal.sums`), or that of its folder's manifest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from multimodal import locks
from multimodal.disk import part_of, remove_parts, share, sync
from multimodal.machine import refused_by_machine
from multimodal.sums import ALL, file_digest, is_as_written, sum_file, sum_line

FORMAT_VERSION = 1

SYNC_THREADS = 8
"""File systems commit the syncs that wait at the same time together."""

VERSION_FILE = "store.json"
_held: set[Path] = set()
"""The stores that this process holds for writing."""


class InputError(ValueError):
    """A request of a person that cannot be carried out; one line: name, value, rule, remedy. The ground class of our errors."""


class StoreLocked(InputError):
    """Another process writes to this store."""


class NewerStore(InputError):
    """A newer version of the program made this store."""


class DamagedFile(InputError):
    """A stored file is missing, cannot be read, or is not as it was written.

    ``path`` is the file, or the published folder that it is part of.
    """

    def __init__(self, path: Path, cause: object):
        self.path, self.cause = path, " ".join(str(cause).split())[:300]
        super().__init__(
            f"{path}: {self.cause}; `videobert run VIDEOS` makes again what can be made again, "
            "`videobert doctor` says what else is broken"
        )


@contextlib.contextmanager
def reading(path: Path, *, summed: bool = True) -> Iterator[None]:
    """What the body raises becomes a :class:`DamagedFile` of ``path``, but for no memory and no right; ``summed``: by its sum."""
    try:
        if summed and not is_as_written(path):
            raise DamagedFile(path, "not as it was written")
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise DamagedFile(path, "is missing") from error
    except Exception as error:
        if refused_by_machine(error):
            raise
        reason = getattr(error, "strerror", None) or error
        raise DamagedFile(path, f"cannot be read ({reason or type(error).__name__})") from error


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
    """Files that are written beside their places, synced together, and only then renamed; ``summed``: each with its sum.

    Until :meth:`publish` no file has its name. Each file is whole or absent; between two renames some may be new.
    """

    def __init__(self, *, summed: bool = False) -> None:
        self._beside: dict[Path, Path] = {}
        self._summed = summed

    def write(self, path: Path, data: bytes) -> None:
        """Writes ``data`` beside ``path``; a second write of the same path replaces the first.

        Raises :class:`InputError` where its store, which this process holds, was deleted.
        """
        gone = next(
            (root for root in _held if root in path.parents and not (root / VERSION_FILE).exists()), None
        )
        if gone is not None:
            raise InputError(f"store {gone}: was deleted while it was in use; run again to make a new one")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write(path, data)
        if self._summed:
            self._write(sum_file(path), sum_line(hashlib.sha256(data).hexdigest(), path))

    def _write(self, path: Path, data: bytes) -> None:
        self._beside[path] = part_of(path)
        self._beside[path].write_bytes(data)

    def readable(self, path: Path) -> Path:
        """The place where the content of ``path`` can be read now: beside it, or ``path`` itself."""
        return self._beside.get(path, path)

    def publish(self) -> None:
        """Syncs all files, gives them their names, and syncs their folders."""
        if not self._beside:
            return
        with ThreadPoolExecutor(min(SYNC_THREADS, len(self._beside))) as pool:
            list(pool.map(sync, self._beside.values()))
        for path, beside in self._beside.items():
            if sum_file(path) in self._beside:
                # A file of another content may lie there: killed in between, it has no sum, and never another's.
                sum_file(path).unlink(missing_ok=True)
            beside.rename(path)
        for folder in {path.parent for path in self._beside}:
            sync(folder)
        self._beside.clear()

    def discard(self) -> None:
        """Removes what was written and not published."""
        for beside in self._beside.values():
            beside.unlink(missing_ok=True)
        self._beside.clear()


def write_whole(path: Path, data: bytes, *, summed: bool = False) -> Path:
    """Writes ``data`` to ``path``; at any moment the old or the new file is there, never a part of one."""
    batch = FileBatch(summed=summed)
    try:
        batch.write(path, data)
        batch.publish()
    except BaseException:
        batch.discard()
        raise
    return path


def write_artefact(path: Path, data: bytes) -> Path:
    """Writes an immutable file of the store, with its sum."""
    return write_whole(path, data, summed=True)


def seal(path: Path, digest: str | None = None) -> None:
    """Writes the sum of a file that is not changed any more until :func:`unseal`; ``digest``: its SHA-256, where it is known."""
    write_whole(sum_file(path), sum_line(digest or file_digest(path), path))


def unseal(path: Path) -> None:
    """Removes a file's sum, or the sums of a folder, before a change in place."""
    found = path if path.name == ALL else sum_file(path)
    if found.exists():
        found.unlink()
        sync(found.parent)


@contextlib.contextmanager
def publish_folder(final: Path) -> Iterator[Path]:
    """A new folder that appears under its name by one rename, with ``manifest.json`` (each file's SHA-256) written last.

    The body of the ``with`` statement fills the folder that it is given. Where ``final`` was already published, the new
    folder is dropped, as an address names its content.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    beside = part_of(final)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        files = sorted(p for p in beside.rglob("*") if p.is_file())
        manifest = {p.relative_to(beside).as_posix(): file_digest(p) for p in files}
        for path in beside.rglob("*"):
            share(path)
            sync(path)
        write_whole(beside / "manifest.json", canonical_json({"files": manifest}).encode())
        if is_published(final):
            return
        shutil.rmtree(final, ignore_errors=True)
        beside.rename(final)
        sync(final.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def is_published(folder: Path) -> bool:
    """True where ``folder`` was published, that is, has its manifest."""
    return (folder / "manifest.json").is_file()


def changed_files(folder: Path, only: Iterable[str] | None = None) -> list[str]:
    """The names of a published folder's files that are missing, differ from its manifest, or are not listed in it.

    ``only``: the files whose bytes are read and compared. A manifest that cannot be read is itself reported.
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


def check_published(folder: Path, names: Iterable[str]) -> None:
    """Raises :class:`DamagedFile` where one of these files of a published folder differs from its manifest.

    Reads the manifest and these files alone.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text())["files"]
        wrong = [name for name in names if manifest.get(name) != file_digest(folder / name)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        missing = Path(str(error.filename)).name if isinstance(error, FileNotFoundError) else "manifest.json"
        raise DamagedFile(folder, f"{missing} is missing or cannot be read") from error
    if wrong:
        raise DamagedFile(folder, f"{wrong[0]} is not as it was written")


def _write_version(path: Path) -> None:
    """Makes a folder a store; again where one that made it at the same moment holds it by now and has removed the parts."""
    data = canonical_json({"format": FORMAT_VERSION}).encode()
    try:
        write_artefact(path, data)
    except FileNotFoundError:
        write_artefact(path, data)


class Store:
    """The paths of a store's artefacts. Opening a store makes its folder and checks its format version.

    Raises :class:`InputError` where the folder cannot be made, or is missing and ``create`` is false, and where
    ``store.json`` cannot be read or was written by a newer version.
    """

    def __init__(self, root: Path, *, create: bool = True):
        self.root = Path(root).absolute()
        # What is only read is not made: a folder of another kind stays as it is.
        if not create and not (self.root / VERSION_FILE).is_file():
            raise InputError(
                f"store {self.root}: there is none; name another with --store, or run `videobert run VIDEOS`"
            )
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"store {self.root}: the folder cannot be made ({error.strerror}); choose another with --store"
            ) from error
        version_file = self.root / VERSION_FILE
        try:
            if not version_file.exists():
                _write_version(version_file)
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
            raise NewerStore(
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
        aside = part_of(self.model(name))
        self.model(name).rename(aside)
        shutil.rmtree(aside)

    def comparison(self, address: str) -> Path:
        return self.root / "comparisons" / f"{address}.json"

    @property
    def comparison_page(self) -> Path:
        return self.root / "comparison.html"

    @property
    def damaged(self) -> Path:
        """The folder of files that were found damaged and set aside."""
        return self.root / "damaged"

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
        with self._locked(locks.exclusive):
            remove_parts(self.root)
            _held.add(self.root)
            try:
                yield
            finally:
                _held.discard(self.root)

    def unwritten(self) -> AbstractContextManager[None]:
        """Nobody writes to the store during the block, which writes nothing itself. Raises :class:`StoreLocked`."""
        return self._locked(locks.shared)

    @contextlib.contextmanager
    def _locked(self, how: Callable[[Path, Path], AbstractContextManager[None]]) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(how(self.root / locks.NAME, self.root / VERSION_FILE))
            except locks.HeldError as error:
                raise StoreLocked(
                    f"store {self.root}: process {error} writes to it; wait for that run to end, or use another --store"
                ) from error
            except OSError as error:
                raise InputError(
                    f"store {self.root}: cannot be held ({error.strerror}); give yourself the right to write there, or "
                    "choose another with --store"
                ) from error
            yield
