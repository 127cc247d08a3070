"""Recordings that were put one behind the other in one file, of whose format the reader sees the first alone; MP4's boxes."""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path
from typing import BinaryIO

MAX_BOXES = 10_000
"""MP4 boxes that are read; a hostile file could hold millions of empty ones."""
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
HEADERS = {
    "flv": re.compile(rb"FLV\x01[\x01\x04\x05]\0\0\0\x09\0\0\0\0"),
    # Pages that begin a stream, one for each stream of a recording (RFC 3533, section 6), up to one that begins none.
    "ogg": re.compile(rb"OggS\0\x02\0{8}.{0,65536}?OggS\0[^\x02]", re.DOTALL),
    "flac": re.compile(rb"fLaC[\0\x80]\0\0\x22"),
    "asf": re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c"),
    "mxf": re.compile(rb"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02"),
}
GO_ON = frozenset({"ogg", "avi"})
"""Containers whose second recording is read as the continuation of the first, which the header alone is about."""


def second_recording(path: Path, kind: str) -> int | None:
    """The byte at which another recording begins behind the first; None where there is none, or its format has no such place.

    ``kind``: the container by FFmpeg's name. Matroska and WebM by their segment's size, MP4 by its boxes, WAV, AVI and AIFF
    by their size, the others by a second header.
    """
    if kind in HEADERS:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            first = HEADERS[kind].search(content)
            found = HEADERS[kind].search(content, first.end()) if first else None
            return found.start() if found else None
    find = {"matroska": _matroska, "mov": _mp4, "wav": _chunk, "avi": _chunk, "aiff": _chunk}.get(kind)
    if find is None:
        return None
    with path.open("rb") as file:
        return find(file, os.fstat(file.fileno()).st_size)


def boxes(file: BinaryIO) -> list[tuple[bytes, int]]:
    """The kinds and the places of an MP4's boxes, from where the file stands, up to the first that is damaged."""
    found = []
    while len(head := file.read(16)) >= 8 and len(found) < MAX_BOXES:
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:  # a 64-bit size follows
            size = int.from_bytes(head[8:], "big")
        found.append((kind, file.tell() - len(head)))
        if size < 8:  # 0 reaches to the end of the file; less than a header is damage
            break
        file.seek(size - len(head), os.SEEK_CUR)
    return found


def lacks_index(path: Path) -> bool:
    """True for an MP4 file without a `moov` box, the index of its frames: a download that was cut off."""
    with path.open("rb") as file:
        kinds = [kind for kind, _ in boxes(file)]
    return kinds[:1] == [b"ftyp"] and b"moov" not in kinds


def _mp4(file: BinaryIO, _: int) -> int | None:
    found = boxes(file)
    again = [n for n, (kind, _) in enumerate(found) if kind == b"ftyp"][1:]
    if not again or b"moov" not in (kind for kind, _ in found[again[0] :]):
        return None
    fragments = [place for kind, place in found[again[0] :] if kind == b"moof"]
    # Segments of a stream, each with a header of its own, are read: their times go on.
    return None if fragments and _decode_time(file, fragments[0]) else found[again[0]][1]


def _decode_time(file: BinaryIO, fragment: int) -> int:
    """The time at which a fragment's first track goes on (ISO/IEC 14496-12, section 8.8.12); 0 where none is said."""
    file.seek(fragment)
    content = file.read(int.from_bytes(file.read(4), "big"))
    at = content.find(b"tfdt")
    if at < 0:
        return 0
    version, value = content[at + 4], content[at + 8 :]
    return int.from_bytes(value[: 8 if version == 1 else 4], "big")


def _chunk(file: BinaryIO, size: int) -> int | None:
    """A RIFF or FORM chunk of the whole file, and another of the same type behind it."""
    head = file.read(12)
    end = 8 + int.from_bytes(head[4:8], "big" if head[:4] == b"FORM" else "little")
    if head[:4] not in (b"RIFF", b"FORM") or not 8 < end < size:
        return None
    end += end % 2  # a chunk is filled up to an even length
    file.seek(end)
    behind = file.read(12)
    return end if (behind[:4], behind[8:]) == (head[:4], head[8:]) else None


def _matroska(file: BinaryIO, size: int) -> int | None:
    for name in (EBML, SEGMENT):
        if file.read(4) != name or (length := _length(file)) is None:
            return None
        file.seek(length, os.SEEK_CUR)
    end = file.tell()
    return end if end < size and file.read(4) == EBML else None


def _length(file: BinaryIO) -> int | None:
    """An element's length (RFC 8794, section 6); None where it is unknown, as in live recordings."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    bits = 7 * (more + 1)
    value = int.from_bytes(first + rest, "big") & ((1 << bits) - 1)
    return None if len(rest) < more or value == (1 << bits) - 1 else value
