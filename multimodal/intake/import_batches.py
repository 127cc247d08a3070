"""Batches of an import: files and catalogue rows that take effect together, synced while the next batch is filled.

Syncing each small file by itself would take most of the time. First the files of a batch get their names, then its rows
are recorded in one transaction: a process killed in between leaves files that the next import finds and uses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from multimodal.catalogue import Catalogue, ImportedPart, Video
from multimodal.store import FileBatch

BATCH_VIDEOS, BATCH_BYTES = 256, 256 << 20
"""A batch is synced to the disk and recorded in the catalogue when it reaches either of these."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A stored part of a video: ``count`` clips or sentences, the second of their ``end``, ``size`` in bytes."""

    count: int
    end: float
    size: int
    notes: tuple[str, ...]


@dataclasses.dataclass
class _Batch:
    files: FileBatch = dataclasses.field(default_factory=partial(FileBatch, summed=True))
    bytes: int = 0
    parts: dict[Path, Part] = dataclasses.field(default_factory=dict)
    removed: list[str] = dataclasses.field(default_factory=list)
    changed: dict[str, Video] = dataclasses.field(default_factory=dict)
    read_whole: list[ImportedPart] = dataclasses.field(default_factory=list)

    @property
    def is_full(self) -> bool:
        # A video has at most two parts.
        videos = max(len(self.changed), len(self.read_whole) / 2)
        return videos >= BATCH_VIDEOS or self.bytes >= BATCH_BYTES


class Batches:
    """The batch that is filled, and the one before it, which a thread publishes."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._filled = _Batch()
        self._published: tuple[_Batch, Future[None]] | None = None
        self._thread = ThreadPoolExecutor(1)

    def readable(self, path: Path) -> Path:
        """The place where the content of ``path`` can be read now."""
        if self._published and path in self._published[0].parts:
            self._record()
        return self._filled.files.readable(path)

    def part(self, path: Path, read: Callable[[Path], Part]) -> Part:
        """The part in the file ``path``, by ``read`` where it is in no batch."""
        for batch in (self._filled, *(self._published or ())[:1]):
            if path in batch.parts:
                return batch.parts[path]
        return read(path)

    def write(self, path: Path, data: bytes, part: Part) -> None:
        self._filled.files.write(path, data)
        self._filled.bytes += len(data)
        self._filled.parts[path] = part

    def put(self, video: Video) -> None:
        self._filled.changed[video.video] = video

    def remove(self, digest: str) -> None:
        self._filled.removed.append(digest)
        self._filled.changed.pop(digest, None)

    def put_whole(self, parts: Sequence[ImportedPart]) -> None:
        """Notes all parts of a file, once its videos are in this batch or in earlier ones."""
        self._filled.read_whole += parts

    def publish_if_full(self) -> None:
        """Gives a full batch to the thread, after the batch before it has been recorded."""
        if self._filled.is_full:
            self._publish()

    def finish(self) -> None:
        """Publishes and records all that is left."""
        self._publish()
        self._record()

    def _publish(self) -> None:
        self._record()
        self._published = (self._filled, self._thread.submit(self._filled.files.publish))
        self._filled = _Batch()

    def _record(self) -> None:
        """Waits until the batch before is published, and records it."""
        if self._published:
            batch, published = self._published
            published.result()
            self._catalogue.record(batch.removed, list(batch.changed.values()), batch.read_whole)
            self._published = None

    def close(self) -> None:
        """Ends the thread and removes what was written and not published."""
        self._thread.shutdown()
        for batch in (self._filled, *(self._published or ())[:1]):
            batch.files.discard()
