"""What the server holds while it runs: the store, its threads, thumbnails and media files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from multimodal.catalogue import Video
from multimodal.machine import cores
from multimodal.serve import documents
from multimodal.serve.changes import Changes
from multimodal.serve.frames import Frames
from multimodal.serve.live import LiveStore, Snapshot
from multimodal.serve.media import MediaFiles
from multimodal.serve.options import ServeOptions
from multimodal.serve.pool import Pool, Together
from multimodal.serve.problems import Problem
from multimodal.serve.sample_answers import SampleAnswers
from multimodal.serve.searching import Ask, FoundHits, Searches
from multimodal.store import InputError

P, T = ParamSpec("P"), TypeVar("T")


class Service:
    """One store with the threads that answer from it."""

    def __init__(self, folder: Path, options: ServeOptions):
        self.options = options
        self.live = LiveStore(folder, options.device, create=not options.read_only)
        self.files = MediaFiles(self.live.store, self.live.catalogue)
        self.frames = Frames(self.live.store, self.files, keep=not options.read_only)
        waiting = options.limits.waiting
        threads = max(2, cores())
        self._searches = Together(Searches(self.live).many, threads, waiting, "search")
        self._questions = Pool(threads, waiting, "question")
        self._reading = Pool(4, waiting, "reading")
        self._cutting = Pool(1, 8, "cutting")
        self._changing = Pool(1, 8, "changing")
        self.changes = Changes(self.live, options)
        self.samples = SampleAnswers()

    def close(self) -> None:
        self.changes.close()
        for pool in (self._searches, self._questions, self._reading, self._cutting, self._changing):
            pool.close()
        self.frames.close()

    async def search(self, ask: Ask) -> FoundHits:
        """The hits of a search, answered together with those that wait. Raises what :func:`~multimodal.serve.searching.search`
        raises."""
        return await self._searches.ask(ask)

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a function that asks the model or the index."""
        return await self._questions.run(function, *args, **kwargs)

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a function that reads the store."""
        return await self._reading.run(function, *args, **kwargs)

    async def cut(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a function that works for seconds in the sandbox; one at a time."""
        return await self._cutting.run(function, *args, **kwargs)

    async def change(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a function that writes to the store; one at a time."""
        return await self._changing.run(function, *args, **kwargs)

    def snapshot(self) -> Snapshot:
        return self.live.snapshot()

    def video(self, label: str) -> Video:
        """The video that ``label`` means. Raises :class:`Problem` 404 where there is none."""
        try:
            return documents.find(self.live.catalogue, label)
        except InputError as error:
            raise Problem(404, str(error)) from None
