"""Sums: beside an immutable file lies ``NAME.sha256``, by which a flipped bit is told, in the form that sha256sum checks.

A file without a sum is one of a store from before there were sums; nothing is known of its bytes.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

DIGEST_CHUNK = 1 << 20
ENDING = ".sha256"
ALL = "SHA256SUMS"
"""Holds the sums of all files of a folder."""
UNREADABLE = "a sum that cannot be read"
"""Equals no digest: a damaged sum is told as its file's damage."""


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes as 64 hex digits, which is also the identity of a video."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(DIGEST_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sum_file(path: Path) -> Path:
    """The place of a file's sum."""
    return path.with_name(path.name + ENDING)


def sum_line(digest: str, path: Path) -> bytes:
    """The content of the sum of ``path``."""
    return f"{digest}  {path.name}\n".encode()


def recorded_sum(path: Path) -> str | None:
    """The digest that a file's sum gives; ``None`` where it has none, :data:`UNREADABLE` where the sum is damaged."""
    try:
        line = sum_file(path).read_bytes()
    except FileNotFoundError:
        return None
    found = re.fullmatch(rb"([0-9a-f]{64})  (.+)\n", line)
    return found[1].decode() if found and found[2] == path.name.encode() else UNREADABLE


def unlike(sums: Path) -> list[str]:
    """The names in a file :data:`ALL` whose files are missing or differ."""
    wrong = []
    for line in sums.read_text(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        path = sums.parent / Path(name).name
        if not name or not path.is_file() or file_digest(path) != digest:
            wrong.append(name or "a line")
    return wrong


def is_as_written(path: Path) -> bool:
    """False where the file differs from its sum. Reads the file where it has one; raises OSError where it cannot be read."""
    digest = recorded_sum(path)
    return digest is None or digest == file_digest(path)
