"""The catalogue: the videos of the store, the state of each, and the codebook, model and captioner in use.

SQLite in WAL mode, written by the one process that holds the store, and read without a lock. How its file is opened,
sealed and copied is in :mod:`multimodal.catalogue_file`.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from multimodal import catalogue_file, names
from multimodal.catalogue_file import transaction
from multimodal.disk import FileState
from multimodal.names import listed
from multimodal.run_records import RunRecords
from multimodal.store import InputError, NewerStore

State = Literal["done", "partial", "refused", "waiting", "new"]
STATES: tuple[State, ...] = get_args(State)  # as people read them
MOST_NAMED = 5
"""Videos that an error names."""


def _create_videos(db: sqlite3.Connection) -> None:
    db.execute(
        """CREATE TABLE videos (
            video TEXT PRIMARY KEY, name TEXT NOT NULL, path TEXT NOT NULL, bytes INTEGER NOT NULL,
            state TEXT NOT NULL, reason TEXT NOT NULL, seconds REAL, clips INTEGER, sentences INTEGER,
            transcript TEXT, features TEXT)"""
    )


def _create_current(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE current (kind TEXT PRIMARY KEY, value TEXT NOT NULL)")


def _create_runs(db: sqlite3.Connection) -> None:
    db.execute(
        """CREATE TABLE runs (id INTEGER PRIMARY KEY, flow TEXT NOT NULL, options TEXT NOT NULL,
            started TEXT NOT NULL, ended TEXT, outcome TEXT)"""
    )


def _remember_recipe(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE videos ADD COLUMN recipe TEXT")


def _create_forgotten(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE forgotten AS SELECT * FROM videos WHERE false")
    db.execute("ALTER TABLE forgotten ADD COLUMN finished INTEGER NOT NULL DEFAULT 0")
    db.execute("CREATE UNIQUE INDEX forgotten_once ON forgotten (video)")


def _create_imported(db: sqlite3.Connection) -> None:
    db.execute(
        """CREATE TABLE imported (file TEXT, label TEXT, stamp TEXT NOT NULL, part TEXT NOT NULL,
            PRIMARY KEY (file, label)) WITHOUT ROWID"""
    )
    db.execute("CREATE INDEX imported_labels ON imported (label)")


def _seal(_: sqlite3.Connection) -> None:
    """No table changes: from here on the file has a sum, and a program that would leave an old one must not write to it."""


def _remember_tries_and_files(db: sqlite3.Connection) -> None:
    for table in ("videos", "forgotten"):
        db.execute(f"ALTER TABLE {table} ADD COLUMN tries INTEGER NOT NULL DEFAULT 0")
    db.execute(
        """CREATE TABLE files (device INTEGER, inode INTEGER, bytes INTEGER, changed INTEGER, video TEXT NOT NULL,
            PRIMARY KEY (device, inode)) WITHOUT ROWID"""
    )


def _say_what_runs_did(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE runs ADD COLUMN done TEXT NOT NULL DEFAULT ''")


def _mark_what_is_gone(db: sqlite3.Connection) -> None:
    for table in ("videos", "forgotten"):
        db.execute(f"ALTER TABLE {table} ADD COLUMN gone TEXT")


MIGRATIONS = (
    _create_videos,
    _create_current,
    _create_runs,
    _remember_recipe,
    _create_forgotten,
    _create_imported,
    _seal,
    _remember_tries_and_files,
    _say_what_runs_did,
    _mark_what_is_gone,
)


@dataclasses.dataclass(frozen=True)
class Video:
    """A video of the store: ``video`` is the SHA-256 of its content, ``name`` a label, ``path`` its last known place.

    ``transcript`` and ``features`` are the recipes of the artefacts in use, ``None`` where there is none. ``recipe`` is
    that of the whole ingestion, ``None`` where another try could end differently (a decoder that ran out of time); ``tries``
    counts those that ended so, one after the other. ``path`` is empty for an imported video. ``gone``: when a run found that
    the file is there no more (UTC, as runs have it), ``None`` while it is.
    """

    video: str
    name: str
    path: str
    bytes: int
    state: State = "new"
    reason: str = ""
    seconds: float | None = None
    clips: int | None = None
    sentences: int | None = None
    transcript: str | None = None
    features: str | None = None
    recipe: str | None = None
    tries: int = 0
    gone: str | None = None


@dataclasses.dataclass(frozen=True)
class ImportedPart:
    """One video's part of a file that was imported whole.

    ``stamp``: size, times and options of the ``file`` (an absolute path) as it was read. ``part``: the video's digest
    for features and tokens, the transcript's recipe for words.
    """

    file: str
    label: str
    stamp: str
    part: str


_COLUMNS = tuple(field.name for field in dataclasses.fields(Video))


class Catalogue(RunRecords):
    """The file ``catalogue.sqlite``. Opening it applies the migrations that are missing; with ``read_only`` to a copy in
    memory, and nothing is written.

    Raises :class:`InputError` where a newer version made it, where it is damaged, and where it is missing beside artefacts.
    """

    def __init__(self, path: Path, *, read_only: bool = False):
        self._path = path
        self._snapshot = self._writer = None
        if read_only:
            self._snapshot = catalogue_file.Snapshot(path, self._migrate, self._is_current)
            self._db  # noqa: B018 - opened now, so that what is wrong is said now
            return
        self._writer = catalogue_file.open_to_write(path)
        try:
            with catalogue_file.told_as_damage(path):
                if not self._is_current(self._db):
                    self._migrate(self._db)
        except BaseException:
            self.close()
            raise

    @property
    def _db(self) -> sqlite3.Connection:
        return self._writer if self._snapshot is None else self._snapshot.db

    def _applied(self, db: sqlite3.Connection) -> set[str]:
        """The migrations that were applied. Raises :class:`InputError` for one that this program does not know."""
        there = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").fetchone()
        applied = {name for (name,) in db.execute("SELECT name FROM migrations")} if there else set()
        known = [step.__name__ for step in MIGRATIONS]
        if unknown := sorted(applied - set(known)):
            raise NewerStore(
                f"catalogue {self._path}: version {len(applied)} (step {unknown[0]}) is newer than this program's {len(known)}; "
                "upgrade videobert, or name another store with --store"
            )
        return applied

    def _is_current(self, db: sqlite3.Connection) -> bool:
        return len(self._applied(db)) == len(MIGRATIONS)

    def _migrate(self, db: sqlite3.Connection) -> None:
        with transaction(db):
            db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)")
            applied = self._applied(db)
            for step in MIGRATIONS:
                if step.__name__ not in applied:
                    step(db)
                    db.execute("INSERT INTO migrations VALUES (?)", (step.__name__,))

    def close(self) -> None:
        if self._snapshot is not None:
            self._snapshot.close()
        elif self._writer is not None:
            catalogue_file.close_and_seal(self._writer, self._path)

    def keep_copy(self) -> None:
        """Keeps a copy of what it holds now beside it."""
        catalogue_file.keep_copy(self._db, self._path)

    def forget_copies(self) -> None:
        """Deletes the copies: they hold what was removed from it."""
        catalogue_file.forget_copies(self._path)

    def check(self) -> None:
        """Raises :class:`InputError` for whatever SQLite's full check finds."""
        with catalogue_file.told_as_damage(self._path):
            catalogue_file.check(self._db, "integrity_check")

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def version(self) -> tuple[int, int]:
        """Numbers that are others after another connection, of this process or not, has changed the catalogue."""
        if self._snapshot is not None:
            return self._snapshot.version
        return 0, int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def put(self, video: Video) -> None:
        """Adds the video, or replaces the row of the same digest."""
        self._insert("videos", video)

    def remove(self, video: str) -> None:
        self._db.execute("DELETE FROM videos WHERE video = ?", (video,))

    def record(
        self, removed: Sequence[str], videos: Sequence[Video], imported: Sequence[ImportedPart] = ()
    ) -> None:
        """Removes the digests ``removed``, puts ``videos`` and the parts of ``imported`` files, in one transaction."""
        with transaction(self._db):
            for digest in removed:
                self.remove(digest)
            for video in videos:
                self.put(video)
            # All parts of a file come together, and replace those that it had when it was another.
            self._db.executemany("DELETE FROM imported WHERE file = ?", {(part.file,) for part in imported})
            rows = (dataclasses.astuple(part) for part in imported)
            self._db.executemany("INSERT INTO imported VALUES (?, ?, ?, ?)", rows)

    def digests(self) -> dict[FileState, str]:
        """The digests of the files that were read, by the state that they had."""
        rows = self._db.execute("SELECT device, inode, bytes, changed, video FROM files")
        return {FileState(*state): video for *state, video in rows}

    def digest_of(self, state: FileState) -> str | None:
        """The digest of the file that was read in this state, where one was."""
        asked = "SELECT video FROM files WHERE (device, inode, bytes, changed) = (?, ?, ?, ?)"
        row = self._db.execute(asked, dataclasses.astuple(state)).fetchone()
        return row[0] if row else None

    def keep_digests(self, digests: Mapping[FileState, str]) -> None:
        """Remembers the digests of files, in one transaction; another state of the same file replaces the one before."""
        rows = [(*dataclasses.astuple(state), video) for state, video in digests.items()]
        with transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)

    def imported(self) -> list[ImportedPart]:
        """The parts of the files that were imported whole, file by file."""
        return [ImportedPart(*row) for row in self._db.execute("SELECT * FROM imported ORDER BY file, label")]

    def forget(self, video: Video) -> None:
        """Moves a video to ``forgotten`` in one transaction: no answer shows it, and its files are still to be deleted."""
        self._db.execute("PRAGMA secure_delete = ON")
        with transaction(self._db):
            self.remove(video.video)
            self._insert("forgotten", video)
            self._db.execute("DELETE FROM files WHERE video = ?", (video.video,))
            # These rows hold its name. A file that gave it is read anew when it is imported again.
            self._db.execute(
                "DELETE FROM imported WHERE file IN (SELECT file FROM imported WHERE label = ?)",
                (video.name,),
            )
            self._forget_in_runs(video.name)

    def _insert(self, table: str, video: Video) -> None:
        marks = ", ".join("?" for _ in _COLUMNS)
        self._db.execute(
            f"INSERT OR REPLACE INTO {table} ({', '.join(_COLUMNS)}) VALUES ({marks})",
            dataclasses.astuple(video),
        )

    def forgot(self, video: str) -> None:
        """Marks a forgotten video's files as deleted and erases its name, path and reason.

        Its digest and recipes stay, as the address of a model that was trained on it is made of them.
        """
        self._db.execute("PRAGMA secure_delete = ON")
        self._db.execute(
            "UPDATE forgotten SET name = '', path = '', reason = '', finished = 1 WHERE video = ?", (video,)
        )
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def forgotten(self, *, unfinished: bool = False) -> list[Video]:
        """The videos that were ever removed, or (``unfinished``) only those whose files may still be there."""
        left = "WHERE NOT finished AND video NOT IN (SELECT video FROM videos)" if unfinished else ""
        rows = self._db.execute(f"SELECT {', '.join(_COLUMNS)} FROM forgotten {left} ORDER BY video")
        return [Video(*row) for row in rows]

    def get(self, video: str) -> Video | None:
        row = self._db.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM videos WHERE video = ?", (video,)
        ).fetchone()
        return Video(*row) if row else None

    def videos(self, states: Iterable[State] = STATES) -> list[Video]:
        """All videos in one of ``states``, in the order of their names."""
        wanted = list(states)
        marks = ", ".join("?" for _ in wanted)
        rows = self._db.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM videos WHERE state IN ({marks}) ORDER BY name, video", wanted
        )
        return [Video(*row) for row in rows]

    def find(self, label: str, *, exact: bool = False, unfinished: bool = False) -> Video:
        """The video that ``label`` means: a digest (or its first 6 digits or more), a path, or a name, whose ending may be
        left out; unless ``exact``, also a name in another case, or the beginning of one name alone.

        ``unfinished`` includes videos whose removal was killed. Raises :class:`InputError` where none or several fit; it
        names those that do, or the nearest.
        """
        resolved, folded = str(Path(label).absolute()), label.casefold()
        # The first rule that fits any video decides, so that a full path is never ambiguous for sharing a name.
        rules = [
            lambda v: v.video == label or v.path == resolved,
            lambda v: v.name == label,
            lambda v: Path(v.name).stem == label,
            lambda v: len(label) >= 6 and v.video.startswith(label),
        ]
        if label and not exact:
            rules += [
                lambda v: folded in (v.name.casefold(), Path(v.name).stem.casefold()),
                lambda v: v.name.casefold().startswith(folded),
            ]
        videos = self._beginning(label, resolved, folded)
        if unfinished:
            videos += self.forgotten(unfinished=True)
        for fits in rules:
            found = [v for v in videos if fits(v)]
            # What lies there now is meant, not what lay there under the same name; a removal asks.
            there = [v for v in found if not v.gone]
            found = there if len(there) == 1 and not unfinished else found
            if len(found) == 1:
                return found[0]
            if found:
                raise InputError(f"video {label!r}: {_several(label, found)}")
        known = (name for (name,) in self._db.execute("SELECT name FROM videos ORDER BY name, video"))
        near = names.did_you_mean(label, known)
        raise InputError(f"video {label!r}: not in this store{near}; `videobert status` lists what is")

    def _beginning(self, label: str, path: str, folded: str) -> list[Video]:
        """The videos of this path, or whose digest or name begins with the label, in whatever case: all that it can mean."""
        self._db.create_function("casefold", 1, str.casefold, deterministic=True)
        rows = self._db.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM videos WHERE path = :path OR substr(video, 1, length(:label)) = :label "
            "OR substr(casefold(name), 1, length(:folded)) = :folded ORDER BY name, video",
            {"path": path, "label": label, "folded": folded},
        )
        return [Video(*row) for row in rows]

    def set_current(self, kind: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO current VALUES (?, ?)", (kind, value))

    def set_together(self, values: dict[str, str | None]) -> None:
        """Sets what is in use of several kinds in one transaction; ``None``: nothing is."""
        with transaction(self._db):
            for kind, value in values.items():
                if value is None:
                    self._db.execute("DELETE FROM current WHERE kind = ?", (kind,))
                else:
                    self.set_current(kind, value)

    def current(self, kind: str) -> str | None:
        row = self._db.execute("SELECT value FROM current WHERE kind = ?", (kind,)).fetchone()
        return row[0] if row else None


def status_document(catalogue: Catalogue) -> dict[str, Any]:
    """The JSON document of `videobert status`: the videos with their states, what is in use, and the runs."""
    fields = ("video", "name", "state", "reason", "seconds", "clips", "sentences", "gone")
    videos = [{f: getattr(v, f) for f in fields} for v in catalogue.videos()]
    current = {kind: catalogue.current(kind) for kind in ("codebook", "model")}
    return {"videos": videos, **current, "runs": catalogue.runs()}


def _several(label: str, found: Sequence[Video]) -> str:
    """Why a label that several videos fit means none of them, and what to write instead."""
    if len({v.name for v in found}) == 1 or all(v.video.startswith(label) for v in found):
        digests = ", ".join(v.video[:12] for v in found)
        return f"{len(found)} videos fit; give the digest ({digests})"
    names = listed([v.name for v in found], MOST_NAMED)
    return f"{len(found)} videos fit; write more of the name ({names})"
