"""Owns the cache that makes asking fast: words in FTS5, vectors mapped into memory, a graph where there are many.

It is brought up from the index's files by whoever holds the store: new videos are added to it, changed and removed ones
are taken out. Its database says which rows count, so a writer that is killed leaves it as it was before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from multimodal.answers import moments
from multimodal.answers.exact import Exact
from multimodal.answers.index import Indexed, address, made_of, read
from multimodal.answers.moments import Moments
from multimodal.answers.nearest import BY_SIZE, Damaged, Graph, Lists, Nearest, NearestOptions, built, widened
from multimodal.answers.shelf import Shelf
from multimodal.catalogue import Video
from multimodal.inference.trained import Trained
from multimodal.progress import Report
from multimodal.store import Store, write_whole

VERSION = 1
KINDS = ("said", "shown")
MOST_DEAD = 0.25
"""Beyond this share of rows that nobody asks for any more, the cache is made anew."""
MOST_BESIDE = 0.1
"""Rows that came after the graph, as a share of what is searched exactly anyway; beyond it the graph takes them in."""
JUDGING_QUERIES = 200
SECONDS_TO_WAIT = 30


@dataclasses.dataclass(frozen=True)
class Standing:
    """How one kind of vectors is searched: ``found`` is the share of the 10 nearest that this finds (1 where exact)."""

    vectors: int
    kind: str = "exact"
    breadth: int | None = None
    found: float = 1.0
    queries: int | None = None

    def __str__(self) -> str:
        if self.kind == "exact":
            return f"{self.vectors:,} vectors, searched exactly"
        return (
            f"{self.vectors:,} vectors, searched by {self.kind} of breadth {self.breadth}: finds {self.found:.3f} of the "
            f"10 nearest that exact search finds, over {self.queries} of your own vectors"
        )


@dataclasses.dataclass
class Cache:
    """A cache folder that is open: its database and its shelves."""

    folder: Path
    db: sqlite3.Connection
    model: str
    width: int
    shelves: dict[str, Shelf]
    next: int

    @classmethod
    def create(cls, folder: Path, model: str, width: int) -> Cache:
        folder.mkdir(parents=True)
        db = sqlite3.connect(folder / "moments.sqlite", isolation_level=None)
        moments.create(db)
        db.execute("CREATE TABLE videos (made TEXT PRIMARY KEY, video TEXT, first INTEGER, moments INTEGER)")
        db.execute("CREATE TABLE about (state TEXT NOT NULL)")
        db.execute("INSERT INTO about VALUES ('')")
        cache = cls(folder, db, model, width, {k: Shelf(folder, k, 0, 0.0, width) for k in KINDS}, 0)
        for shelf in cache.shelves.values():
            shelf.create()
        cache._agree()
        return cache

    @classmethod
    def open(cls, folder: Path, *, write: bool = False) -> Cache | None:
        """``None`` where there is none, or one that is not whole or of another version."""
        path = folder / "moments.sqlite"
        if not path.is_file():
            return None
        uri = f"{path.resolve().as_uri()}?mode={'rw' if write else 'ro'}"
        db = sqlite3.connect(
            uri, uri=True, timeout=SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False
        )
        try:
            state = json.loads(db.execute("SELECT state FROM about").fetchone()[0])
            if state["version"] == VERSION:
                width = state["width"]
                shelves = {k: Shelf(folder, k, *state["shelves"][k], width) for k in KINDS}
                if all(s.is_whole() for s in shelves.values()):
                    return cls(folder, db, state["model"], width, shelves, state["next"])
        except (sqlite3.Error, ValueError, KeyError, TypeError):
            pass
        db.close()
        return None

    def is_of(self, trained: Trained) -> bool:
        return (self.model, self.width) == (address(trained), trained.model.options.hidden_size)

    def _agree(self) -> None:
        """Writes down which rows count; in the transaction of what put them there."""
        state = {"version": VERSION, "model": self.model, "width": self.width, "next": self.next,
                 "shelves": {k: [s.rows, s.error] for k, s in self.shelves.items()}}  # fmt: skip
        self.db.execute("UPDATE about SET state = ?", (json.dumps(state),))

    def held(self) -> dict[str, tuple[str, int, int]]:
        """By the name of a video's file: the video, the number of its first moment, how many."""
        rows = self.db.execute("SELECT made, video, first, moments FROM videos ORDER BY first")
        return {made: (video, first, count) for made, video, first, count in rows}

    def change(self, gone: Sequence[str], new: Iterable[tuple[str, str, Indexed]]) -> None:
        """Takes the files named ``gone`` out and ``new`` ones in (name, video, content), all or nothing."""
        held = self.held()
        ranges = [(held[made][1], held[made][1] + held[made][2]) for made in gone]
        for shelf in self.shelves.values() if ranges else ():
            shelf.blank(ranges)
        self.db.execute("BEGIN IMMEDIATE")
        try:
            if ranges:
                moments.drop(self.db, ranges)
                self.db.executemany("DELETE FROM videos WHERE made = ?", [(made,) for made in gone])
            for made, video, indexed in new:
                self._add(made, video, indexed)
            for shelf in self.shelves.values():
                shelf.sync()
            self._agree()
            self.db.execute("COMMIT")
        except BaseException:
            self.db.execute("ROLLBACK")
            raise

    def _add(self, made: str, video: str, indexed: Indexed) -> None:
        moments.add(self.db, self.next, indexed.moments)
        for kind, shelf in self.shelves.items():
            shelf.append(getattr(indexed, kind), self.next)
        self.db.execute(
            "INSERT INTO videos VALUES (?, ?, ?, ?)", (made, video, self.next, len(indexed.moments))
        )
        self.next += len(indexed.moments)

    def alive(self, kind: str, wanted: set[str]) -> np.ndarray:
        """Which rows of a shelf, bool [rows], belong to the files named ``wanted``."""
        ranges = [(first, first + count) for made, (_, first, count) in self.held().items() if made in wanted]
        return self.shelves[kind].alive(np.array(ranges, np.int64).reshape(-1, 2))

    def approximate(self, kind: str) -> tuple[Graph | Lists, Standing] | None:
        """The stored graph or lists of a kind, ``None`` where there is none that fits."""
        path = self.folder / f"{kind}.nearest"
        try:
            with safe_open(path, "numpy") as file:
                about = json.loads(file.metadata()["about"])
            arrays = safetensors.numpy.load_file(path)
            made = {"graph": Graph, "lists": Lists}[about["kind"]].of(self.shelves[kind].full(), arrays)
        except (OSError, SafetensorError, Damaged, KeyError, TypeError, ValueError):
            return None
        made.breadth = int(about["breadth"])
        return made, Standing(**about)

    def nearest(self, kind: str, wanted: set[str]) -> Nearest:
        """The search over a kind's vectors of the files named ``wanted``."""
        shelf, found = self.shelves[kind], self.approximate(kind)
        exact = Exact(shelf.full(), shelf.halves(), self.alive(kind, wanted), shelf.error)
        return Nearest(exact, shelf.numbers(), found[0] if found else None)


def _folder(store: Store, trained: Trained) -> Path:
    return store.cache(address(trained))


def bring_up(
    store: Store,
    trained: Trained,
    videos: Sequence[Video],
    report: Report,
    options: NearestOptions = BY_SIZE,
) -> dict[str, Standing]:
    """Makes the cache that of ``videos``, whose files are in the index; says how each kind of vectors is searched.

    The caller holds the store. Caches of other models are deleted. Raises what :func:`multimodal.answers.index.read` does.
    """
    folder, width = _folder(store, trained), trained.model.options.hidden_size
    for other in store.caches.glob("[!.]*"):
        if other != folder:
            shutil.rmtree(other)
    wanted = {made_of(v): v for v in videos}
    cache = Cache.open(folder, write=True)
    held = cache.held() if cache and cache.is_of(trained) else {}
    dead = sum(count for made, (_, _, count) in held.items() if made not in wanted)
    if cache and (not held or dead > MOST_DEAD * cache.next):
        cache.db.close()
        cache, held = None, {}
    gone = sorted(held.keys() - wanted.keys())
    left = [v for made, v in wanted.items() if made not in held]
    if cache is None:
        cache = _made_anew(folder, address(trained), width, _read(store, trained, left, report))
    elif gone or left:
        cache.change(gone, _read(store, trained, left, report))
    with contextlib.closing(cache.db):
        return {kind: _stand(cache, kind, set(wanted), options, report) for kind in KINDS}


def _read(
    store: Store, trained: Trained, videos: Sequence[Video], report: Report
) -> Iterator[tuple[str, str, Indexed]]:
    for done, video in enumerate(videos, 1):
        yield made_of(video), video.video, read(store, trained, video)
        report(done, len(videos), video.name)


def _made_anew(folder: Path, model: str, width: int, new: Iterable[tuple[str, str, Indexed]]) -> Cache:
    """A new cache in the place of the old; it appears under its name when it is whole."""
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    cache = Cache.create(beside, model, width)
    with contextlib.closing(cache.db):
        cache.change([], new)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    opened = Cache.open(folder, write=True)
    assert opened is not None
    return opened


def remove_video(store: Store, video: str) -> None:
    """Takes a video out of every cache of the store, without a trace; one that cannot be opened is deleted whole."""
    for folder in sorted(store.caches.glob("[!.]*")):
        cache = Cache.open(folder, write=True)
        if cache is None:
            shutil.rmtree(folder)
            continue
        with contextlib.closing(cache.db):
            gone = [made for made, (of, _, _) in cache.held().items() if of == video]
            if gone:
                cache.change(gone, [])


def _stand(cache: Cache, kind: str, wanted: set[str], options: NearestOptions, report: Report) -> Standing:
    """The kind of search that the number of vectors calls for, made or taken further where it lacks some."""
    shelf, path = cache.shelves[kind], cache.folder / f"{kind}.nearest"
    alive = cache.alive(kind, wanted)
    called_for, living = options.kind(int(alive.sum())), int(alive.sum())
    if called_for == "exact":
        path.unlink(missing_ok=True)
        return Standing(living)
    found = cache.approximate(kind)
    made, standing = found if found and found[0].kind == called_for else (None, None)
    if made and standing and shelf.rows - made.covered <= MOST_BESIDE * options.exact_up_to:
        return dataclasses.replace(standing, vectors=living)
    report(0, 1, f"{called_for} over {shelf.rows:,} vectors")
    queries, own = _judging(cache, kind, alive)
    if made:
        made.add_rest()
        recall = widened(made, queries, own, alive, options.recall)
    if not made or recall < options.recall:
        made = built(shelf.full(), called_for)
        recall = widened(made, queries, own, alive, options.recall)
    standing = Standing(living, called_for, made.breadth, recall, len(queries))
    about = {"about": json.dumps(dataclasses.asdict(standing))}
    write_whole(path, safetensors.numpy.save(made.arrays(), about))
    report(1, 1, str(standing))
    return standing


def _judging(cache: Cache, kind: str, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the user's own to judge a search by, [n, width], and each one's row among ``kind``'s, −1 for none.

    What is asked of the pictures is half words, half pictures; of the words it is words.
    """
    random = np.random.default_rng(0)
    rows = np.sort(
        random.choice(np.flatnonzero(alive), min(JUDGING_QUERIES, int(alive.sum())), replace=False)
    )
    queries, own = np.array(cache.shelves[kind].full()[rows]), rows.copy()
    if kind == "shown":
        said = cache.shelves["said"].full()
        some = np.sort(random.choice(len(said), min(len(rows) // 2, len(said)), replace=False))
        some = some[said[some].any(1)]
        queries[: len(some)], own[: len(some)] = said[some], -1
    return queries, own


def open_cache(
    store: Store, trained: Trained, videos: Sequence[Video]
) -> tuple[Moments, Nearest, Nearest] | None:
    """The moments of ``videos``, the search over their words' vectors and over their pictures'.

    ``None`` where the cache lacks one of them, or there is none.
    """
    cache, wanted = Cache.open(_folder(store, trained)), {made_of(v) for v in videos}
    if cache is None:
        return None
    held = cache.held() if cache.is_of(trained) else {}
    if not wanted <= held.keys():
        cache.db.close()
        return None
    count = sum(held[made][2] for made in wanted)
    found = Moments(cache.db, {v.video: v.name for v in videos}, count)
    return found, cache.nearest("said", wanted), cache.nearest("shown", wanted)
