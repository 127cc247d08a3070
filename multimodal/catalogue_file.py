"""The file of the catalogue: opened to write or only to read, sealed with its sum, copied, restored from a copy.

While nobody has it open for writing its sum lies beside it (:mod:`multimodal.sums`), so a flipped bit is told. A writer
takes the sum away first: what a killed run leaves has none, and is checked by SQLite alone until the next run ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from multimodal.disk import out_of_space, sync
from multimodal.store import InputError, seal, unseal
from multimodal.sums import is_as_written, recorded_sum, sum_file

SECONDS_TO_WAIT = 30
KEPT_COPIES = 5
COPIES = "copies"
KINDS = ("transcripts", "features", "codebooks", "tokens", "models", "captioners", "indexes", "evaluations")
"""Folders of artefacts; where they hold something there was a catalogue."""
LOOKS = 5
REMEDY = "`videobert doctor --repair` restores the last copy that is whole"

Stamp = tuple[tuple[int, int, int] | None, ...]


def connect(path: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False, uri=uri
    )


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All statements of the body take effect together, or none of them."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # After some errors SQLite has rolled back by itself, and a second ROLLBACK would hide the first error.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def damaged(path: Path, cause: object) -> InputError:
    """The error of a catalogue that is not to be trusted."""
    return InputError(f"catalogue {path}: {' '.join(str(cause).split())}; {REMEDY}")


def check_there(path: Path) -> None:
    """Raises :class:`InputError` where there is no catalogue, or an empty one, beside artefacts that one had named."""
    if path.exists() and path.stat().st_size:
        return
    found = [kind for kind in KINDS if any((path.parent / kind).glob("[!.]*"))]
    # A catalogue that was never checkpointed is empty, and all of it lies in the file of its transactions.
    if found and not _size(_wal(path)):
        state = "is empty" if path.exists() else "is missing"
        raise damaged(path, f"{state}, and beside it lie {', '.join(found)}")


def open_to_write(path: Path) -> sqlite3.Connection:
    """A connection of the one process that holds the store; it takes the sum away.

    Raises :class:`InputError` where the file is not as it was written.
    """
    check_there(path)
    sealed = recorded_sum(path) is not None and not _size(_wal(path))
    if sealed and not is_as_written(path):
        raise damaged(path, "is not as it was written")
    db = connect(path)
    try:
        with told_as_damage(path):
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            if not sealed:
                check(db)
            unseal(path)
    except BaseException:
        db.close()
        raise
    return db


def close_and_seal(db: sqlite3.Connection, path: Path) -> None:
    """Closes a writer's connection and writes the sum; leaves none where somebody else reads, or there is no space."""
    with contextlib.suppress(sqlite3.Error):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with contextlib.suppress(OSError):
        if path.exists() and not _size(_wal(path)):
            seal(path)


def check(db: sqlite3.Connection, pragma: str = "quick_check") -> None:
    """Raises :class:`sqlite3.DatabaseError` for what SQLite finds wrong."""
    (found,) = db.execute(f"PRAGMA {pragma}(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


@contextlib.contextmanager
def told_as_damage(path: Path) -> Iterator[None]:
    """What SQLite says of a damaged file becomes an :class:`InputError`; a lock and a full disk stay what they are."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if out_of_space(error):
            raise
        code = error.sqlite_errorcode & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise InputError(
                f"catalogue {path}: another program holds it ({error}); wait for that to end"
            ) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise InputError(
                f"catalogue {path}: cannot be opened ({error}); give yourself the right to, or choose another --store"
            ) from error
        raise damaged(path, error) from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError):
            raise
        raise damaged(path, error) from error


class Snapshot:
    """The catalogue as it is now, for questions: nothing is written, and no lock of a writer is waited for.

    Between runs its bytes are read into memory; while a run writes, or where one was killed, SQLite reads the file and that
    of its transactions. ``db`` is opened again where the file has changed. ``migrate`` is given a connection in memory whose
    tables are of an earlier version.
    """

    def __init__(
        self,
        path: Path,
        migrate: Callable[[sqlite3.Connection], None],
        is_current: Callable[[sqlite3.Connection], bool],
    ):
        self._path, self._migrate, self._is_current = path, migrate, is_current
        self._db: sqlite3.Connection | None = None
        self._stamp: Stamp | None = None
        self._folder: tempfile.TemporaryDirectory | None = None
        self._is_live = False
        self._opens = 0
        self._lock = threading.Lock()

    @property
    def db(self) -> sqlite3.Connection:
        """Raises :class:`InputError` where the file is missing, damaged, or made by a newer version."""
        with self._lock:
            if self._db is None or (not self._is_live and _stamp(self._path) != self._stamp):
                check_there(self._path)
                with told_as_damage(self._path):
                    # The one before is closed when no other thread asks it any more.
                    self._db = self._opened()
                self._opens += 1
            return self._db

    @property
    def version(self) -> tuple[int, int]:
        """Another pair of numbers after each change."""
        ((changes,),) = self.db.execute("PRAGMA data_version")
        return self._opens, changes

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _opened(self) -> sqlite3.Connection:
        self._is_live, self._stamp = False, _stamp(self._path)
        db = self._in_memory() if not _size(_wal(self._path)) else None
        if db is None:
            db = self._beside_its_transactions()
            check(db)
        if not self._is_current(db):
            memory = connect(":memory:")
            db.backup(memory)
            db.close()
            db, self._is_live = memory, False
            self._migrate(db)
        return db

    def _in_memory(self) -> sqlite3.Connection | None:
        """``None`` where a writer keeps changing the file. Raises :class:`InputError` where it differs from its sum."""
        for _ in range(LOOKS):
            before, told = _stamp(self._path), recorded_sum(self._path)
            data = self._path.read_bytes() if self._path.exists() else b""
            differs = told is not None and told != hashlib.sha256(data).hexdigest()
            # A writer takes the sum away before it changes anything: what is told now was told of these bytes.
            if _stamp(self._path) == before and recorded_sum(self._path) == told:
                self._stamp = before
                if differs:
                    raise damaged(self._path, "is not as it was written")
                return self._deserialized(data, sealed=told is not None)
            time.sleep(0.01)
        return None

    def _deserialized(self, data: bytes, *, sealed: bool) -> sqlite3.Connection:
        db = connect(":memory:")
        try:
            if data:
                # The two bytes that say WAL, which a database in memory has not (SQLite file format, offsets 18 and 19).
                db.deserialize(data[:18] + b"\x01\x01" + data[20:])
            if not sealed:
                check(db)
        except BaseException:
            db.close()
            raise
        return db

    def _beside_its_transactions(self) -> sqlite3.Connection:
        """Read by SQLite where it lies or, where nothing can be written there, as a copy in a temporary folder."""
        db = connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            self._is_live = True
            return db
        except sqlite3.OperationalError as error:
            db.close()
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
        self._folder = tempfile.TemporaryDirectory()
        copy = Path(self._folder.name) / self._path.name
        for path in (self._path, _wal(self._path)):
            shutil.copyfile(path, copy.with_name(path.name))
        return connect(copy)


def keep_copy(db: sqlite3.Connection, path: Path) -> None:
    """Adds a copy of the whole catalogue to those that are kept, and removes the oldest beyond :data:`KEPT_COPIES`."""
    folder = path.parent / COPIES
    folder.mkdir(exist_ok=True)
    numbers = [_number(copy) for copy in copies(path)]
    copy = folder / f"catalogue.{max(numbers, default=0) + 1:06}.sqlite"
    beside = copy.with_name(f".{copy.name}.part")
    beside.unlink(missing_ok=True)
    try:
        db.execute("VACUUM INTO ?", (str(beside),))
        sync(beside)
        beside.rename(copy)
        seal(copy)
    finally:
        beside.unlink(missing_ok=True)
    for old in copies(path)[:-KEPT_COPIES]:
        _unlink(old)


def copies(path: Path) -> list[Path]:
    """The copies of a catalogue, the oldest first."""
    return sorted((path.parent / COPIES).glob("catalogue.*.sqlite"), key=_number)


def forget_copies(path: Path) -> None:
    """Deletes all copies: they hold the name of a video that was removed."""
    for copy in copies(path):
        _unlink(copy)


def last_whole_copy(path: Path) -> Path | None:
    """The newest copy that is as it was written and that SQLite finds nothing wrong with."""
    for copy in reversed(copies(path)):
        with contextlib.suppress(sqlite3.Error, OSError), contextlib.closing(connect(copy)) as db:
            if is_as_written(copy):
                check(db, "integrity_check")
                return copy
    return None


def restore(path: Path, copy: Path | None, aside: Path) -> None:
    """Puts a copy, or with ``None`` a catalogue without a table, in the place of the catalogue, which is moved to the folder ``aside``.

    The caller holds the store. Killed in between, the catalogue is missing and the copy still there.
    """
    aside.mkdir(parents=True, exist_ok=True)
    # The file of transactions goes with the database that they belong to; on another they would do harm.
    for old in (path, _wal(path), path.with_name(f"{path.name}-shm"), sum_file(path)):
        if old.exists():
            old.rename(aside / old.name)
    beside = path.with_name(f".{path.name}.part")
    if copy is not None:
        shutil.copyfile(copy, beside)
    else:
        with contextlib.closing(connect(beside)) as db:
            db.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY)")
    sync(beside)
    beside.rename(path)
    seal(path)
    sync(path.parent)


def _unlink(copy: Path) -> None:
    copy.unlink()
    sum_file(copy).unlink(missing_ok=True)


def _number(copy: Path) -> int:
    digits = copy.name.split(".")[1]
    return int(digits) if digits.isdigit() else 0


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _stamp(path: Path) -> Stamp:
    """By the catalogue and its transactions: inode, size and time of change."""
    found = []
    for part in (path, _wal(path)):
        try:
            status = part.stat()
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    return tuple(found)
