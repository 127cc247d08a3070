"""The store that the server answers from: opened once, and anew in part when a run or another process has changed it.

While a run is between its stages a new model may be without its index; the model and the index of before then answer on.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from multimodal.answers.cache import Cache, moments_of
from multimodal.answers.opened_store import OpenedStore
from multimodal.catalogue import Catalogue, Video
from multimodal.library import usable
from multimodal.store import InputError, Store

log = logging.getLogger("videobert.serve")


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A store at one moment. ``opened`` has its model and index open already; ``by_words``: there is no model to ask, or
    where it is ``opening``, none yet."""

    state: tuple[object, ...]
    opened: OpenedStore
    videos: dict[str, Video]
    searched: frozenset[str]
    by_words: bool
    opening: bool = False


class LiveStore:
    """A store that is kept open. Opening it does not open its model: the first question does, or :meth:`warm`."""

    def __init__(self, folder: Path, device: str, *, create: bool):
        self.store = Store(folder, create=create)
        self.device = device
        self._snapshot: Snapshot | None = None
        self._opening, self._reading = threading.Lock(), threading.Lock()
        self.catalogue = Catalogue(self.store.catalogue, read_only=True)
        self._read: tuple[tuple[int, int], dict[str, Video]] | None = None
        self._ahead: tuple[tuple, Future[Cache | None]] | None = None
        self._meanwhile: Future[Snapshot | None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the model and the index are open, or there is none."""
        return self._snapshot is not None

    def warm(self) -> None:
        """Opens what a first question needs: the vectors are read while PyTorch and the model are, and what is said can be
        searched as soon as they are."""
        files = self._cache_files()
        if len(files) == 1:
            pool = ThreadPoolExecutor(1, thread_name_prefix="cache")
            self._ahead = files, pool.submit(Cache.open, Path(files[0][0]).parent)
            self._meanwhile = pool.submit(self._said, self._ahead[1])
            pool.shutdown(wait=False)
        try:
            self.snapshot()
        except InputError as error:
            log.warning("%s", error)
        self._meanwhile = None
        # What is open now stays: without this the collector looks through the whole model while answers are made.
        gc.collect()
        gc.freeze()

    @property
    def videos(self) -> dict[str, Video]:
        """The videos of the catalogue by digest, in the order of their names."""
        return self._current()[1]

    def _current(self) -> tuple[tuple[int, int], dict[str, Video]]:
        """The catalogue's version and its videos, which are read again after a change."""
        with self._reading:
            version = self.catalogue.version()
            if self._read is None or self._read[0] != version:
                self._read = version, {v.video: v for v in self.catalogue.videos()}
            return self._read

    def snapshot(self) -> Snapshot:
        """The store as it is now; by words alone where its model has no index yet and none was open before."""
        with self._opening:
            version, videos = self._current()
            state = (version, self._cache_files())
            before = self._snapshot
            if before is None or before.state != state:
                try:
                    self._snapshot = self._open(state, videos)
                except (InputError, OSError) as error:
                    if before is None:
                        log.info("by words alone: %s", error)
                        self._snapshot = self._without_model(state, videos)
                    else:
                        log.info("the model and index of before answer on: %s", error)
                        # Asked again when something has changed again.
                        self._snapshot = dataclasses.replace(before, state=state, videos=videos)
            return self._snapshot

    def soonest(self) -> Snapshot:
        """As :meth:`snapshot`, but by words alone while :meth:`warm` opens the model."""
        meanwhile = self._meanwhile
        if self._snapshot is None and meanwhile is not None and (said := meanwhile.result()) is not None:
            return said
        return self.snapshot()

    def _said(self, opened_ahead: Future[Cache | None]) -> Snapshot | None:
        """What is said in the videos of the cache; ``None`` where that cannot be used."""
        cache = opened_ahead.result()
        if cache is None:
            return None
        from multimodal.answers.search import Index

        version, videos = self._current()
        found, moments = moments_of(cache, usable(self.catalogue))
        opened = OpenedStore.of(self.store, self.catalogue, None)
        opened.__dict__["index"] = Index(None, moments)
        return Snapshot((version,), opened, videos, frozenset(v.video for v in found), True, opening=True)

    def _cache_files(self) -> tuple[tuple[str, object], ...]:
        """The search caches, and what changes with their content."""
        files = sorted(self.store.caches.glob("[!.]*/moments.sqlite"))
        return tuple((str(file), _stamp(file)) for file in files)

    def _opened_ahead(self, state: tuple) -> Cache | None:
        """The cache that :meth:`warm` opened, where it is still as it was then."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return None
        cache = ahead[1].result()
        if cache is not None and ahead[0] != state[1]:
            self._meanwhile = None
            cache.db.close()
            return None
        return cache

    def _open(self, state: tuple, videos: dict[str, Video]) -> Snapshot:
        name = self.catalogue.current("model")
        if name is None:
            return self._without_model(state, videos)
        from multimodal.answers import session
        from multimodal.answers.search import Index
        from multimodal.inference.trained import is_latest

        before = self._snapshot
        trained = None if before is None or before.by_words else before.opened.trained
        wanted = (name, self.catalogue.current("model_codebook"))
        if (
            trained is None
            or (trained.name, trained.codebook) != wanted
            or not is_latest(self.store, trained)
        ):
            trained = session.open_trained(self.store, self.catalogue, self.device)
        opened = OpenedStore.of(self.store, self.catalogue, trained)
        opened.__dict__["index"], found = Index.searchable(
            self.store, trained, usable(self.catalogue), self._opened_ahead(state)
        )
        return Snapshot(state, opened, videos, frozenset(v.video for v in found), False)

    def _without_model(self, state: tuple, videos: dict[str, Video]) -> Snapshot:
        opened = OpenedStore.of(self.store, self.catalogue, None)
        searched: frozenset[str] = frozenset()
        if any(v.state in ("done", "partial") and v.sentences for v in videos.values()):
            searched = frozenset(v.video for v in usable(self.catalogue))
            # The store may have a model that has no index yet.
            opened.__dict__["index"] = opened.lexical_index
        return Snapshot(state, opened, videos, searched, True)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file's content; ``None`` where there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size
