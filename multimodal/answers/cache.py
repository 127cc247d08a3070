"""The search cache: words in FTS5 and vectors in FAISS's own files, made from the stored index of each video.

The cache is no artefact: it is made again from ``indexes/`` where it is missing or damaged. Whoever holds the store
updates it. The database names the vector files by their SHA-256; a new file is written beside the old one and counts
from the commit on, so a writer that is killed leaves the cache as it was before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers import moments
from multimodal.answers.index import IndexedVideo, address, file_names, made_of, read
from multimodal.answers.lexical import Words
from multimodal.answers.moments import Moments
from multimodal.answers.thresholds import Thresholds, question_vectors, threshold
from multimodal.answers.vectors import EF_SEARCH, FLAT_UP_TO, IndexStats, Kind, VectorIndex
from multimodal.catalogue import Video
from multimodal.catalogue_file import transaction
from multimodal.disk import part_of
from multimodal.progress import Report
from multimodal.store import Store, seal, unseal
from multimodal.sums import is_as_written, sum_file

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

VERSION = 5
TEXT, VIDEO = "said", "shown"
"""The two vectors of a moment: its words alone, its visual tokens alone."""
MOST_DEAD = 0.25
"""Beyond this share of removed vectors an HNSW graph is built anew."""
RECALL_QUERIES = 200
MOMENTS = "moments.sqlite"
MOST_TO_SUM = 64 << 20
"""Bytes of the database up to which a question compares it with its sum; `doctor` always does."""
SECONDS_TO_WAIT = 30


@dataclasses.dataclass
class Cache:
    """A cache folder that is open: its database and its vectors. ``next`` is the id of the next moment."""

    folder: Path
    db: sqlite3.Connection
    model: str
    width: int
    vectors: dict[str, VectorIndex]
    stats: dict[str, IndexStats]
    next: int
    thresholds: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path, model: str, width: int) -> Cache:
        """An empty cache in a new folder; it can be opened after its first :meth:`change`."""
        folder.mkdir(parents=True)
        db = sqlite3.connect(folder / MOMENTS, isolation_level=None)
        moments.create(db)
        db.execute("CREATE TABLE videos (made TEXT PRIMARY KEY, video TEXT, first INTEGER, moments INTEGER)")
        db.execute("CREATE TABLE vectors (kind TEXT PRIMARY KEY, digest TEXT, row_ids BLOB, stats TEXT)")
        db.execute("CREATE TABLE about (state TEXT NOT NULL)")
        db.execute("CREATE TABLE random_questions (vectors BLOB NOT NULL)")
        return cls(folder, db, model, width, {k: VectorIndex.empty(width) for k in (TEXT, VIDEO)}, {}, 0)

    @classmethod
    def open(cls, folder: Path, *, write: bool = False) -> Cache | None:
        """``None`` where there is none, or one that is damaged or of another version."""
        path = folder / MOMENTS
        if not path.is_file() or (path.stat().st_size <= MOST_TO_SUM and not is_as_written(path)):
            return None
        uri = f"{path.resolve().as_uri()}?mode={'rw' if write else 'ro'}"
        db = sqlite3.connect(
            uri, uri=True, timeout=SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False
        )
        try:
            # One transaction: a writer that commits in between would change which files count.
            db.execute("BEGIN")
            state = json.loads(db.execute("SELECT state FROM about").fetchone()[0])
            if state["version"] == VERSION:
                cache = cls(folder, db, state["model"], state["width"], {}, {}, state["next"])
                cache.thresholds = {kind: state["thresholds"][kind] for kind in (TEXT, VIDEO)}
                for row in db.execute("SELECT kind, digest, row_ids, stats FROM vectors").fetchall():
                    cache._read_vectors(*row, mapped=not write)
                db.execute("COMMIT")
                if cache.vectors.keys() == {TEXT, VIDEO}:
                    return cache
        except (sqlite3.Error, ValueError, KeyError, TypeError):
            pass
        db.close()
        return None

    def _read_vectors(self, kind: str, digest: str, row_ids: bytes, stats: str, *, mapped: bool) -> None:
        ids = np.frombuffer(row_ids, np.int64)
        index = VectorIndex.read(self._vector_file(kind, digest), digest, self.width, ids, mapped=mapped)
        if index is not None:
            self.vectors[kind], self.stats[kind] = index, IndexStats(**json.loads(stats))

    def _vector_file(self, kind: str, digest: str) -> Path:
        return self.folder / f"{kind}.{digest[:16]}.faiss"

    def is_of(self, trained: Trained) -> bool:
        return (self.model, self.width) == (address(trained), trained.model.options.hidden_size)

    def held(self) -> dict[str, tuple[str, int, int]]:
        """By the name of a video's file: the video, the id of its first moment, how many."""
        rows = self.db.execute("SELECT made, video, first, moments FROM videos ORDER BY first")
        return {made: (video, first, count) for made, video, first, count in rows}

    def change(
        self,
        removed: Sequence[str],
        added: Iterable[tuple[str, str, IndexedVideo]],
        flat_up_to: int | None = None,
        embed_questions: Callable[[Callable[[str], bool]], np.ndarray] | None = None,
    ) -> None:
        """Removes the files named ``removed`` and adds videos (file name, video, content): all of it or nothing.

        ``flat_up_to``: beyond so many vectors HNSW takes the place of the flat index; ``None`` keeps the kind.
        ``embed_questions``: makes the vectors of random questions, given whether a word is said. ``None`` keeps those that
        are there: where videos are only removed, what nobody says is still said by nobody.
        """
        held = self.held()
        unseal(self.folder / MOMENTS)
        try:
            with transaction(self.db):
                self._change(held, removed, added, flat_up_to, embed_questions)
        except BaseException:
            for part in self.folder.glob(".*.part"):
                part.unlink()
            raise
        seal(self.folder / MOMENTS)
        self.remove_old_files()

    def _change(
        self,
        held: dict[str, tuple[str, int, int]],
        removed: Sequence[str],
        added: Iterable[tuple[str, str, IndexedVideo]],
        flat_up_to: int | None,
        embed_questions: Callable[[Callable[[str], bool]], np.ndarray] | None,
    ) -> None:
        ranges = [(held[made][1], held[made][1] + held[made][2]) for made in removed]
        if ranges:
            moments.drop(self.db, ranges)
            self.db.executemany("DELETE FROM videos WHERE made = ?", [(made,) for made in removed])
        for first, after in ranges:
            for index in self.vectors.values():
                index.remove(first, after)
        for made, video, content in added:
            self._add(made, video, content)
        if flat_up_to is not None:
            self._choose_kinds(flat_up_to)
        self._write_vectors()
        if embed_questions is not None:
            self._write_questions(embed_questions(Words(self.db).has))
        self._write_state()

    def _add(self, made: str, video: str, content: IndexedVideo) -> None:
        moments.add(self.db, self.next, content.moments, {video: content.language})
        self.vectors[TEXT].add(content.text_vectors, self.next)
        self.vectors[VIDEO].add(content.video_vectors, self.next)
        count = len(content.moments)
        self.db.execute("INSERT INTO videos VALUES (?, ?, ?, ?)", (made, video, self.next, count))
        self.next += count

    def _choose_kinds(self, flat_up_to: int) -> None:
        """Replaces an index whose kind does not go with its size, and a graph with too many removed vectors."""
        for kind, index in self.vectors.items():
            index.select(self._ranges(self.held()))
            wanted: Kind = "flat" if len(index) <= flat_up_to else "hnsw"
            dead = len(index.row_ids) - len(index)
            if index.kind != wanted or dead > MOST_DEAD * len(index.row_ids):
                self.vectors[kind] = index.rebuilt(wanted)

    def _write_vectors(self) -> None:
        """Writes the vector files beside the old ones, and their digests and measured recall into the database."""
        for kind, index in self.vectors.items():
            index.select(self._ranges(self.held()))
            self.stats[kind] = self._measure(kind, index)
            part = part_of(self.folder / f"{kind}.faiss")
            digest = index.write(part)
            part.rename(self._vector_file(kind, digest))
            seal(self._vector_file(kind, digest), digest)
            row = (kind, digest, index.row_ids.tobytes(), json.dumps(dataclasses.asdict(self.stats[kind])))
            self.db.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", row)

    def _write_questions(self, vectors: np.ndarray) -> None:
        self.db.execute("DELETE FROM random_questions")
        self.db.execute("INSERT INTO random_questions VALUES (?)", (vectors.astype(np.float32).tobytes(),))

    def _write_state(self) -> None:
        """Writes what the cache is of, and the thresholds of the moments that it now holds."""
        ((stored,),) = self.db.execute("SELECT vectors FROM random_questions")
        questions = np.frombuffer(stored, np.float32).reshape(-1, self.width)
        self.thresholds = {k: threshold(index.nearest(questions)) for k, index in self.vectors.items()}
        state = {"version": VERSION, "model": self.model, "width": self.width, "next": self.next,
                 "thresholds": self.thresholds}  # fmt: skip
        self.db.execute("DELETE FROM about")
        self.db.execute("INSERT INTO about VALUES (?)", (json.dumps(state),))

    def remove_old_files(self) -> None:
        """Deletes the vector files that do not count any more, also those that a killed writer left."""
        kept = {self._vector_file(*row) for row in self.db.execute("SELECT kind, digest FROM vectors")}
        for path in self.folder.glob("*.faiss"):
            if path not in kept:
                path.unlink()
                sum_file(path).unlink(missing_ok=True)

    def _measure(self, kind: str, index: VectorIndex) -> IndexStats:
        """The recall of an HNSW index over up to 200 vectors of the store, drawn by a fixed seed.

        Half of the queries for video vectors are text vectors: moments are looked up by words as well as by pictures.
        """
        if index.kind == "flat":
            return IndexStats(len(index))
        random = np.random.default_rng(0)
        ids, vectors = index.sample(RECALL_QUERIES, random)
        if kind == VIDEO:
            _, texts = self.vectors[TEXT].sample(len(ids) // 2, random)
            vectors[: len(texts)], ids[: len(texts)] = texts, -1
        return IndexStats(len(index), "hnsw", EF_SEARCH, index.recall(vectors, ids), len(ids))

    @staticmethod
    def _ranges(held: dict[str, tuple[str, int, int]]) -> np.ndarray:
        """The ids of the moments of ``held`` videos: int64 [n, 2] of ``[first, after)``."""
        ranges = [(first, first + count) for _, first, count in held.values()]
        return np.array(ranges, np.int64).reshape(-1, 2)

    def only(self, wanted: set[str]) -> tuple[VectorIndex, VectorIndex]:
        """The search over text vectors and the one over video vectors, of the files named ``wanted``."""
        ranges = self._ranges({made: about for made, about in self.held().items() if made in wanted})
        return self.vectors[TEXT].select(ranges), self.vectors[VIDEO].select(ranges)


def _folder(store: Store, trained: Trained) -> Path:
    return store.cache(address(trained))


def update_cache(
    store: Store,
    trained: Trained,
    videos: Sequence[Video],
    report: Report,
    flat_up_to: int = FLAT_UP_TO,
) -> dict[str, IndexStats]:
    """Adds ``videos``, whose files are in the index, to the cache and removes all others; returns how vectors are searched.

    New vectors are appended to what is there. Beyond ``flat_up_to`` vectors of a kind HNSW is used. The caller holds the
    store. Raises what :func:`multimodal.answers.index.read` raises.
    """
    folder = _folder(store, trained)
    wanted = {made_of(v): v for v in videos}
    # Opened to read, its vectors stay in their files: most nights nothing is to be changed.
    cache = Cache.open(folder)
    if cache is None:
        return _created(folder, trained, _contents(store, trained, videos, report), flat_up_to)
    with contextlib.closing(cache.db):
        held = cache.held() if cache.is_of(trained) else {}
        kinds_fit = all(
            s.kind == ("flat" if s.vectors <= flat_up_to else "hnsw") for s in cache.stats.values()
        )
        if held and kinds_fit and held.keys() == wanted.keys():
            cache.remove_old_files()
            return cache.stats
    cache = Cache.open(folder, write=True) if held else None
    if cache is None:
        return _created(folder, trained, _contents(store, trained, videos, report), flat_up_to)
    with contextlib.closing(cache.db):
        removed = sorted(held.keys() - wanted.keys())
        added = [v for made, v in wanted.items() if made not in held]
        contents = _contents(store, trained, added, report)
        cache.change(removed, contents, flat_up_to, partial(question_vectors, trained))
        cache.remove_old_files()
        return cache.stats


def remove_other_caches(store: Store, trained: Trained) -> None:
    """Deletes the caches of all models but this one, which is the one in use. The caller holds the store."""
    for other in store.caches.glob("[!.]*"):
        if other != _folder(store, trained):
            shutil.rmtree(other)


def _contents(
    store: Store, trained: Trained, videos: Sequence[Video], report: Report
) -> Iterator[tuple[str, str, IndexedVideo]]:
    for done, video in enumerate(videos, 1):
        yield made_of(video), video.video, read(store, trained, video)
        report(done, len(videos), video.name)


def _created(
    folder: Path, trained: Trained, added: Iterable[tuple[str, str, IndexedVideo]], flat_up_to: int
) -> dict[str, IndexStats]:
    """A new cache in the place of the old; it appears under its name when it is whole."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        cache = Cache.create(part, address(trained), trained.model.options.hidden_size)
        with contextlib.closing(cache.db):
            cache.change([], added, flat_up_to, partial(question_vectors, trained))
    except BaseException:
        # A full disk has more space without it.
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return cache.stats


def remove_video(store: Store, video: str) -> None:
    """Removes a video from every cache of the store; no byte of it stays. One that cannot be opened is deleted whole."""
    for folder in sorted(store.caches.glob("[!.]*")):
        cache = Cache.open(folder, write=True)
        if cache is None:
            shutil.rmtree(folder)
            continue
        with contextlib.closing(cache.db):
            removed = [made for made, (of, _, _) in cache.held().items() if of == video]
            if removed:
                cache.change(removed, [])
            cache.remove_old_files()


Contents = tuple[Moments, VectorIndex, VectorIndex, Thresholds]
"""The moments of some videos, the search over their text vectors and over their video vectors, and the thresholds."""


def open_searchable(
    store: Store, trained: Trained, videos: Sequence[Video], ahead: Cache | None = None
) -> tuple[list[Video], Contents | None]:
    """Those of ``videos`` that can be searched now, and what the cache holds of them; ``None`` where it is not of this model.

    These are the ones in the cache or, where there is none of this model, in its index: while a run takes in new videos the
    others are searched on. ``ahead``: a cache that is open already; one of another model is closed.
    """
    cache, folder = ahead, _folder(store, trained)
    if cache is not None and cache.folder != folder:
        cache.db.close()
        cache = None
    cache = cache or Cache.open(folder)
    if cache is not None and cache.is_of(trained):
        held = cache.held()
        found = [video for video in videos if made_of(video) in held]
        return found, _contents_of(cache, held, found)
    if cache is not None:
        cache.db.close()
    there = file_names(store, trained)
    return [video for video in videos if made_of(video) in there], None


def open_cache(store: Store, trained: Trained, videos: Sequence[Video]) -> Contents | None:
    """What the cache holds of ``videos``; ``None`` where it lacks one of them, or there is none."""
    cache, wanted = Cache.open(_folder(store, trained)), {made_of(v) for v in videos}
    if cache is None:
        return None
    held = cache.held() if cache.is_of(trained) else {}
    if not wanted <= held.keys():
        cache.db.close()
        return None
    return _contents_of(cache, held, videos)


def moments_of(cache: Cache, videos: Sequence[Video]) -> tuple[list[Video], Moments]:
    """Those of ``videos`` that are in the cache, whichever model's it is, and their moments, to be found by words."""
    held = cache.held()
    found = [video for video in videos if made_of(video) in held]
    return found, _moments(cache, held, found)


def _moments(cache: Cache, held: dict[str, tuple[str, int, int]], videos: Sequence[Video]) -> Moments:
    wanted = {made_of(v) for v in videos}
    return Moments(cache.db, {v.video: v.name for v in videos}, sum(held[made][2] for made in wanted))


def _contents_of(cache: Cache, held: dict[str, tuple[str, int, int]], videos: Sequence[Video]) -> Contents:
    vectors = cache.only({made_of(v) for v in videos})
    return (
        _moments(cache, held, videos),
        *vectors,
        Thresholds(cache.thresholds[TEXT], cache.thresholds[VIDEO]),
    )
