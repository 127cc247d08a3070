"""The files of videos, whole or by byte ranges (RFC 9110, section 14), never read into memory whole.

A file is given out only where the catalogue knows it and it is as it was ingested: of the same size, in the state in which it
was read. One in another state, such as a copy put back, is hashed once more.
"""

from __future__ import annotations

import dataclasses
import mimetypes
import os
import re
import stat
import threading
from pathlib import Path
from typing import BinaryIO

import anyio
from anyio import to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from multimodal.catalogue import Catalogue, Video
from multimodal.disk import FileState
from multimodal.serve.documents import written
from multimodal.serve.problems import Problem
from multimodal.store import Store, file_digest

CHUNK = 256 << 10
PLAYABLE = frozenset(".mp4 .m4v .mov .webm .ogv .ogg .mp3 .m4a .m4b .wav .opus .oga .flac .aac".split())
"""Endings of files that browsers play as they are. What is in them decides in the end."""
TYPES = {".m4v": "video/mp4", ".mov": "video/mp4", ".m4b": "audio/mp4", ".m4a": "audio/mp4", ".mkv": "video/x-matroska",
         ".ogv": "video/ogg", ".opus": "audio/ogg", ".oga": "audio/ogg", ".flac": "audio/flac"}  # fmt: skip
FOREVER = "private, max-age=31536000, immutable"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def media_type(name: str) -> str:
    """The type of a file by its ending; nothing that a browser would run."""
    ending = Path(name).suffix.lower()
    guessed = TYPES.get(ending) or mimetypes.types_map.get(ending, "")
    return guessed if guessed.startswith(("video/", "audio/")) else "application/octet-stream"


def is_playable(video: Video) -> bool:
    return Path(video.name).suffix.lower() in PLAYABLE


class MediaFiles:
    """The files of a store's videos, each opened and checked at each request."""

    def __init__(self, store: Store, catalogue: Catalogue):
        self._store, self._catalogue = store, catalogue
        self._hashed: dict[tuple[int, ...], str] = {}
        self._lock = threading.Lock()

    def open(self, video: Video) -> tuple[BinaryIO, os.stat_result]:
        """The video's file. Raises :class:`Problem` 404 where there is none any more, 409 where it is another one."""
        if not video.path:
            raise Problem(404, f"{video.name}: was imported without a file, so there is nothing to play")
        try:
            # Without waiting: a pipe in the file's place would never open.
            file = os.fdopen(os.open(video.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        except OSError:
            raise Problem(
                404, f"{video.name}: its file is no longer where it was; put it back to play it"
            ) from None
        about = os.fstat(file.fileno())
        if not self._is_unchanged(video, about):
            file.close()
            raise Problem(409, f"{video.name}: its file was changed since; run `videobert run VIDEOS` on it")
        return file, about

    def _is_unchanged(self, video: Video, about: os.stat_result) -> bool:
        if not stat.S_ISREG(about.st_mode) or about.st_size != video.bytes:
            return False
        # The clock may have been set back since: that a file is older than what was made of it says nothing by itself.
        state = FileState(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
        made = min(written(self._store, video), default=None)
        if made is not None and about.st_ctime <= made and self._catalogue.digest_of(state) == video.video:
            return True
        identity = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
        with self._lock:
            if identity not in self._hashed:
                self._hashed[identity] = file_digest(Path(video.path))
            return self._hashed[identity] == video.video


@dataclasses.dataclass(frozen=True)
class ByteRange:
    """Bytes ``[start, end)`` of a file; ``partial`` where they were asked for by a range."""

    start: int
    end: int
    partial: bool


def byte_range(header: str | None, size: int) -> ByteRange | None:
    """What a Range header asks for; the whole file where there is none, or none of ours; ``None`` for one outside of it."""
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found.groups() == ("", ""):
        return ByteRange(0, size, False)
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
        return ByteRange(start, end, True) if start < end else None
    start, end = int(first), min(size, int(last) + 1) if last else size
    if last and int(last) < start:  # no range at all by RFC 9110
        return ByteRange(0, size, False)
    return ByteRange(start, end, True) if start < size else None


class MediaResponse(Response):
    """A file, or the range of it that the request asks for."""

    def __init__(self, file: BinaryIO, size: int, etag: str, media_type: str):
        self.file, self.size, self.etag, self.media_type = file, size, f'"{etag}"', media_type
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.file:
            asked = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            headers = {"etag": self.etag, "accept-ranges": "bytes", "cache-control": FOREVER}
            if self.etag in [tag.strip() for tag in asked.get("if-none-match", "").split(",")]:
                await _start(send, 304, headers)
                return
            # With another If-Range the client holds a part of another file.
            fits = asked.get("if-range", self.etag) == self.etag
            found = byte_range(asked.get("range") if fits else None, self.size)
            if found is None:
                await _start(
                    send, 416, headers | {"content-range": f"bytes */{self.size}", "content-length": "0"}
                )
                return
            headers |= {"content-type": self.media_type, "content-length": str(found.end - found.start)}
            if found.partial:
                headers["content-range"] = f"bytes {found.start}-{found.end - 1}/{self.size}"
            await _start(send, 206 if found.partial else 200, headers, more=scope["method"] != "HEAD")
            if scope["method"] != "HEAD":
                await self._send_until_gone(found, receive, send)

    async def _send_until_gone(self, found: ByteRange, receive: Receive, send: Send) -> None:
        """A player that jumps hangs up: what it had asked for is not read to its end, which sending alone would not notice."""
        async with anyio.create_task_group() as group:

            async def wait_for_the_end() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(wait_for_the_end)
            await self._send_bytes(found, send)
            group.cancel_scope.cancel()

    async def _send_bytes(self, found: ByteRange, send: Send) -> None:
        place = found.start
        while place < found.end:
            chunk = await to_thread.run_sync(
                os.pread, self.file.fileno(), min(CHUNK, found.end - place), place
            )
            if not chunk:  # cut off meanwhile: the connection ends short, which the client sees
                return
            place += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": place < found.end})
        if found.start == found.end:
            await send({"type": "http.response.body", "body": b""})


async def _start(send: Send, status: int, headers: dict[str, str], *, more: bool = False) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    if not more:
        await send({"type": "http.response.body", "body": b""})
