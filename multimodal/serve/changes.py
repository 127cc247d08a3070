"""What the page may change: a video comes by upload or with its folder and is ingested, goes, is heard anew, or has a sentence
mended.

Each holds the store as a command does, so a run that is under way refuses it for as long as it takes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

from multimodal import corrections, removal
from multimodal.answers.cache import update_cache
from multimodal.answers.index import index
from multimodal.catalogue import Catalogue, Video
from multimodal.intake import sandbox, speech_choice
from multimodal.library import SUFFIXES, usable
from multimodal.serve.live import LiveStore
from multimodal.serve.options import ServeOptions
from multimodal.serve.problems import Problem, without_paths
from multimodal.store import InputError, Store
from vision.caption_streams import CaptionStream
from vision.clock import Clock
from vision.errors import MediaError
from vision.media import AudioStream, Media, VideoStream, probe

UPLOADS = "uploads"
UNFINISHED = ".upload"
"""Ending of a file that is on its way; not that of the files which a run clears away when it takes the store."""
SECONDS_KEPT = 24 * 3600.0
LOCKED = 3
"""Exit status of a command where another process holds the store."""
SECONDS_BETWEEN_TRIES = 5.0
MOST_JOBS = 50
MOST_FOLDERS, DEEPEST = 500, 4
LONGEST_NAME = 150


@dataclasses.dataclass
class Job:
    """Files on their way into the store. ``what``: an ``upload``, a ``folder`` of this machine, or a ``transcript`` that is made
    anew; ``video`` is empty for a folder. ``state``: ``waiting``, ``running``, ``done`` or ``failed``; ``said``: how far."""

    what: str
    video: str
    name: str
    file: Path = dataclasses.field(repr=False)
    state: str = "waiting"
    said: str = ""

    def document(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in ("what", "video", "name", "state", "said")}


class Changes:
    """Uploads, removals and corrections of one store, one at a time."""

    def __init__(self, live: LiveStore, options: ServeOptions):
        self._live, self._options, self._store = live, options, live.store
        self._times: deque[float] = deque()
        self._jobs: deque[Job] = deque(maxlen=MOST_JOBS)
        self._wake = threading.Condition()
        self._closed, self._process = False, None
        self._begun = False
        if not options.read_only:
            self._clear()

    def _clear(self) -> None:
        """Deletes what uploads left that broke off a day ago or earlier; a younger one may be another server's."""
        for left in (self._store.root / UPLOADS).glob(f".*{UNFINISHED}"):
            if left.stat().st_mtime < time.time() - SECONDS_KEPT:
                left.unlink(missing_ok=True)

    def jobs(self) -> list[dict[str, str]]:
        return [job.document() for job in reversed(self._jobs)]

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify_all()
            if self._process is not None:
                self._process.terminate()

    # uploads

    async def take(self, name: str, body: AsyncIterator[bytes]) -> Job:
        """Takes an uploaded file in: written beside, hashed, probed in the sandbox, put under its digest, and queued.

        Raises :class:`Problem` where it is refused, and says why.
        """
        safe = self._checked_name(name)
        self._check_rate()
        folder = self._store.root / UPLOADS
        folder.mkdir(exist_ok=True)
        beside = folder / f".{uuid.uuid4().hex}{UNFINISHED}"
        digest = hashlib.sha256()
        try:
            with beside.open("xb") as file:
                async for chunk in body:
                    digest.update(chunk)
                    file.write(chunk)
            return await self._admit(beside, digest.hexdigest(), safe)
        finally:
            beside.unlink(missing_ok=True)

    async def _admit(self, beside: Path, digest: str, name: str) -> Job:
        from anyio import to_thread

        known = self._live.catalogue.get(digest)
        if known is not None and known.state != "new":
            raise Problem(409, f"{name}: is in the store already, as {known.name}")
        # Where it lies says what it is called, as with any other video.
        final = self._store.root / UPLOADS / digest / name
        try:
            await to_thread.run_sync(self._probe, beside)
        except MediaError as error:
            said = str(error).replace(beside.name, name)
            raise Problem(415, without_paths(said, self._store.root)) from None
        final.parent.mkdir(exist_ok=True)
        beside.rename(final)
        return self._queue(Job("upload", digest, name, final))

    def _queue(self, job: Job) -> Job:
        with self._wake:
            self._jobs.append(job)
            if not self._begun:
                self._begun = True
                threading.Thread(target=self._work, name="uploads", daemon=True).start()
            self._wake.notify_all()
        return job

    @staticmethod
    def _probe(file: Path) -> None:
        types = (Media, VideoStream, AudioStream, CaptionStream, Clock, MediaError)
        try:
            sandbox.call(probe, file, types=types, limits=sandbox.Limits(30.0, 2 << 30))
        except sandbox.SandboxError as error:
            raise MediaError(f"{file.name}: {error}") from None

    def _checked_name(self, name: str) -> str:
        safe = "".join("_" if c in "/\\\0" or ord(c) < 32 else c for c in name).strip().lstrip(".")
        ending = Path(safe).suffix.lower()
        if ending not in SUFFIXES:
            raise Problem(
                415,
                f"{safe[:80] or 'the file'}: no ending of a video or sound file, such as .mp4, .mkv or .webm",
            )
        stem = os.fsencode(Path(safe).stem)[:LONGEST_NAME].decode(errors="ignore") or "video"
        return stem + ending

    def _check_rate(self) -> None:
        now, most = time.monotonic(), self._options.limits.uploads_per_hour
        while self._times and now - self._times[0] > 3600:
            self._times.popleft()
        if len(self._times) >= most:
            raise Problem(
                429,
                f"{most} files came within an hour, which is the most; go on later",
                {"retry-after": "600"},
            )
        self._times.append(now)

    def _work(self) -> None:
        while True:
            with self._wake:
                waiting = [job for job in self._jobs if job.state == "waiting"]
                if not waiting and not self._closed:
                    self._wake.wait()
                    continue
                if self._closed:
                    return
            self._ingest(waiting[0])

    def _ingest(self, job: Job) -> None:
        commands = self._options.ingest(job.file, self._live.catalogue.current("model") is not None)
        job.state = "running"
        for command in commands:
            while (status := self._run(command, job)) == LOCKED and not self._closed:
                job.said = "waiting: a run writes to the store"
                time.sleep(SECONDS_BETWEEN_TRIES)
            if status:
                break
        video = self._live.catalogue.get(job.video) if job.video else None
        if not job.video:
            job.state = "failed" if status else "done"
        elif video is not None and video.state in ("done", "partial"):
            job.state = "done" if not status else "failed"
            job.said = without_paths(video.reason, self._store.root) if not status else job.said
        else:
            job.state = "failed"
            job.said = without_paths(video.reason if video and video.reason else job.said, self._store.root)

    def _run(self, command: list[str], job: Job) -> int:
        """Runs a command to its end; its last line on standard error says how far it is."""
        with self._wake:
            if self._closed:
                return 1
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", env=self._options.environment,
            )  # fmt: skip
        for line in self._process.stderr:
            if line.strip():
                job.said = without_paths(line.strip()[:300], self._store.root)
        return self._process.wait()

    # folders of this machine, and transcripts made anew

    def folders(self) -> list[str]:
        """The folders that may be taken in, by their path in the one that the operator named; itself is ``.``."""
        root = self._options.folders
        if root is None:
            return []
        found = []
        for place, below, files in os.walk(root):
            depth = len(Path(place).relative_to(root).parts)
            below[:] = sorted(name for name in below if not name.startswith("."))[
                : MOST_FOLDERS if depth < DEEPEST else 0
            ]
            if any(Path(name).suffix.lower() in SUFFIXES for name in files):
                found.append(Path(place).relative_to(root).as_posix())
            if len(found) >= MOST_FOLDERS:
                break
        return found

    def take_folder(self, folder: str) -> Job:
        """Queues a folder of this machine, by its path in the one that the operator named.

        Raises :class:`Problem` where none is named, and for a folder that is not in it, also by a link.
        """
        if self._options.folders is None:
            raise Problem(
                403, "no folder of this machine may be taken in; `videobert serve --folders FOLDER` names one"
            )
        root = self._options.folders.resolve()
        try:
            wanted = (root / folder).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            wanted = None
        if wanted is None or not wanted.is_relative_to(root) or not wanted.is_dir():
            raise Problem(404, f"{folder[:100]}: no such folder here")
        self._check_rate()
        return self._queue(Job("folder", "", folder if folder != "." else root.name, wanted))

    def transcribe(self, video: Video, whisper: str | None, language: str | None) -> Job:
        """Records how the video is to be heard, and queues it. Raises what :func:`speech_choice.choose` raises,
        :class:`~multimodal.store.StoreLocked`, and :class:`Problem` where its file is not there."""
        if not video.path or not Path(video.path).is_file():
            raise Problem(404, f"{video.name}: its file is not there, so it cannot be heard again")
        with self._store.writing():
            speech_choice.choose(self._store, video.video, whisper, language)
        return self._queue(Job("transcript", video.video, video.name, Path(video.path)))

    # removals and corrections

    def remove(self, video: Video) -> removal.Removed:
        """Raises :class:`~multimodal.store.StoreLocked` while a run writes to the store."""
        with self._store.writing(), Catalogue(self._store.catalogue) as catalogue:
            (removed,) = removal.remove(self._store, catalogue, [video.video])
        return removed

    def correct(self, video: Video, number: int, was: str, text: str) -> Video:
        """The video with a sentence mended, in the catalogue and in the index. Raises what
        :func:`multimodal.corrections.correct` raises, and :class:`~multimodal.store.StoreLocked`."""
        snapshot = self._live.snapshot()
        with self._store.writing(), Catalogue(self._store.catalogue) as catalogue:
            mended = corrections.correct(self._store, catalogue.get(video.video) or video, number, was, text)
            catalogue.put(mended)
            if not snapshot.by_words and video.video in snapshot.searched:
                _index(self._store, catalogue, snapshot.opened.trained, mended)
        return mended


def _index(store: Store, catalogue: Catalogue, trained, video: Video) -> None:
    index(store, trained, [video], lambda *_: None)
    try:
        update_cache(store, trained, usable(catalogue), lambda *_: None)
    except (InputError, OSError):
        # Another video has no index yet: the next run brings the cache up to date.
        return
