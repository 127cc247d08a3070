"""Thumbnails: frames of videos at a millisecond, decoded many at a time in the sandbox, kept in memory and in the store.

One child process decodes all frames that are waited for, of any video, so that a page of twenty results costs one or two
children. The newest requests are decoded first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from multimodal.catalogue import Video
from multimodal.disk import part_of
from multimodal.intake import sandbox
from multimodal.pictures import FRAME_SIDE, jpeg
from multimodal.serve.media import MediaFiles
from multimodal.serve.problems import Problem
from multimodal.store import Store
from vision.errors import MediaError
from vision.readers import LATE_IMPORTS

BATCH = 24
MEMORY_BYTES = 64 << 20
MOST_WAITING = 400
"""Frames that are waited for; the oldest are given up beyond."""
MOST_FAILED = 10_000
LIMITS = sandbox.Limits(seconds=20.0, memory=3 << 30, total=120.0)
FOLDER = "thumbnails"


@dataclasses.dataclass(frozen=True)
class FramePlace:
    """A frame: the ``video`` by digest, and its time in ``milliseconds``."""

    video: str
    milliseconds: int


def thumbnail_file(store: Store, place: FramePlace) -> Path:
    return store.root / FOLDER / f"{place.video}.{place.milliseconds}.jpg"


class Frames:
    """The thumbnails of a store. ``keep``: new ones are written into the store."""

    def __init__(self, store: Store, files: MediaFiles, *, keep: bool):
        self._store, self._files, self._keep = store, files, keep
        self._memory: OrderedDict[FramePlace, bytes] = OrderedDict()
        self._bytes = 0
        self._failed: OrderedDict[FramePlace, None] = OrderedDict()
        self._waiting: OrderedDict[FramePlace, tuple[Video, Future[bytes | None]]] = OrderedDict()
        self._lock = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="frames", daemon=True)
        self._thread.start()

    def get(self, video: Video, milliseconds: int) -> Future[bytes | None]:
        """The JPEG of the frame on display then; ``None`` where it cannot be had. An imported video has none."""
        place, future = FramePlace(video.video, milliseconds), Future[bytes | None]()
        with self._lock:
            if place in self._memory:
                self._memory.move_to_end(place)
                future.set_result(self._memory[place])
                return future
            if place in self._failed or not video.path or not video.clips:
                future.set_result(None)
                return future
            if place in self._waiting:
                self._waiting.move_to_end(place)
                return self._waiting[place][1]
            self._waiting[place] = video, future
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popitem(last=False)[1][1].set_result(None)
            self._lock.notify()
        return future

    def prefetch(self, places: Iterable[tuple[Video, int]]) -> None:
        """Begins with frames that a page will ask for, the last first."""
        for video, milliseconds in reversed(list(places)):
            self.get(video, milliseconds)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._lock.notify()

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._closed:
                    self._lock.wait()
                if self._closed:
                    for _, future in self._waiting.values():
                        future.set_result(None)
                    return
                taken = [self._waiting.popitem() for _ in range(min(BATCH, len(self._waiting)))]
            left = [item for item in taken if not self._read_stored(*item[0:1], item[1][1])]
            while left:
                left = left[self._decode(left) :]

    def _read_stored(self, place: FramePlace, future: Future[bytes | None]) -> bool:
        with contextlib.suppress(OSError):
            self._remember(place, thumbnail_file(self._store, place).read_bytes())
            future.set_result(self._memory.get(place))
            return True
        return False

    def _decode(self, wanted: Sequence[tuple[FramePlace, tuple[Video, Future[bytes | None]]]]) -> int:
        """Decodes in one child and returns how many are settled: at the least the first one."""
        settled = 0
        requests = [[self._path(video), place.milliseconds / 1000] for place, (video, _) in wanted]
        decoded = sandbox.stream(
            _decode_frames, requests, FRAME_SIDE, types=(), limits=LIMITS, imports=LATE_IMPORTS
        )
        try:
            for frame in decoded:
                self._settle(*wanted[settled], jpeg(frame) if frame.size else None)
                settled += 1
        except (sandbox.SandboxError, ValueError, AttributeError, IndexError):
            # The frame at which the child ended has none; the others get another child.
            if settled < len(wanted):
                self._settle(*wanted[settled], None)
                settled += 1
            return settled
        for place, waiting in wanted[settled:]:
            self._settle(place, waiting, None)
        return len(wanted)

    def _path(self, video: Video) -> Path | None:
        try:
            self._files.open(video)[0].close()
        except Problem:
            return None
        return Path(video.path)

    def _settle(
        self, place: FramePlace, waiting: tuple[Video, Future[bytes | None]], picture: bytes | None
    ) -> None:
        if picture is None:
            with self._lock:
                self._failed[place] = None
                if len(self._failed) > MOST_FAILED:
                    self._failed.popitem(last=False)
        else:
            self._remember(place, picture)
            if self._keep:
                self._write(place, picture)
        waiting[1].set_result(picture)

    def _remember(self, place: FramePlace, picture: bytes) -> None:
        with self._lock:
            self._memory[place] = picture
            self._bytes += len(picture)
            while self._bytes > MEMORY_BYTES:
                self._bytes -= len(self._memory.popitem(last=False)[1])

    def _write(self, place: FramePlace, picture: bytes) -> None:
        """Not synced: one that is lost is decoded again."""
        file = thumbnail_file(self._store, place)
        beside = part_of(file)
        with contextlib.suppress(OSError):
            file.parent.mkdir(exist_ok=True)
            beside.write_bytes(picture)
            beside.rename(file)

    def forget(self, video: str) -> None:
        """Drops the frames of a video that was removed; those in the store went with it."""
        with self._lock:
            for place in [p for p in self._memory if p.video == video]:
                self._bytes -= len(self._memory.pop(place))


def _decode_frames(requests: Sequence[tuple[Path | None, float]], short_side: int) -> Iterator[np.ndarray]:
    """A frame uint8 [h, w, 3] for each request, in order; one of size 0 where there is none."""
    from vision.media import probe  # PyAV, which only the sandbox's child needs
    from vision.readers import frame_at

    probed = {}
    for path, second in requests:
        frame = None
        if path is not None:
            with contextlib.suppress(MediaError):
                if path not in probed:
                    probed[path] = probe(path, holes=False)
                frame = frame_at(probed[path], second, short_side=short_side)
        yield np.zeros((0, 0, 3), np.uint8) if frame is None else frame
