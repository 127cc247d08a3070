"""The content of imported files, read by several sandboxed children side by side and given in the order of the files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from multimodal.intake import sandbox
from multimodal.intake.imported_files import Piece, read
from multimodal.intake.imported_groups import labels_of
from multimodal.intake.options import ImportOptions
from multimodal.machine import cores
from multimodal.tables import TABLES

SECONDS_A_FILE = 600.0
MOST_READERS, FILES_A_READER = 4, 32
"""One process hashes and writes what is read, and keeps no more than a few readers busy. For fewer files another child
takes longer to start than to read."""


def read_side_by_side(files: Sequence[Path], options: ImportOptions) -> Iterator[Piece]:
    """The content of the files, in their order; each file ends with a piece of kind ``end``.

    The files of one label in a row go to one child, and the next label to the next child, so that each has as many of
    every kind. A file that stops its child is refused, and a new child reads on behind it.
    """
    count = min(cores(), MOST_READERS, 1 + len(files) // FILES_A_READER)
    labels = labels_of(files)
    label, turn = "", -1
    shares: list[list[int]] = [[] for _ in range(count)]
    for number, file in enumerate(files):
        if labels[file] != label:
            label, turn = labels[file], turn + 1
        shares[turn % count].append(number)
    reader_of = {number: k for k, share in enumerate(shares) for number in share}
    readers = [_read([files[n] for n in share], options) for share in shares]
    try:
        for number in range(len(files)):
            k = reader_of[number]
            for piece in readers[k]:
                yield dataclasses.replace(piece, file=number)
                if piece.kind == "end":
                    break
    finally:
        for reader in readers:
            reader.close()


def _read(files: Sequence[Path], options: ImportOptions) -> Iterator[Piece]:
    """The content of the files, read by one child after another."""
    first = 0
    while first < len(files):
        done = first
        limits = sandbox.Limits(seconds=SECONDS_A_FILE, total=SECONDS_A_FILE * (len(files) - first))
        try:
            work = sandbox.stream(
                read, list(files[first:]), options.kind, options.seconds_apart, types=(Piece,), limits=limits
            )
            for piece in work:
                number = first + piece.file
                done = number + (piece.kind == "end")
                yield dataclasses.replace(piece, file=number)
        except sandbox.SandboxError as error:
            if done == len(files):
                return
            yield Piece(done, "", "", problem=f"{files[done].name}: {error}; split it, or leave it out")
            yield Piece(done, "", "end")
            done += 1
        first = done


class Progress:
    """Videos done, and videos in all: those of the files read so far, and an estimate for the files to come.

    A video counts once for each file that speaks of it. ``done``: such counts of files that need no reading, which are
    about so many ``videos``.
    """

    def __init__(self, files: Sequence[Path], done: int, videos: int) -> None:
        self._is_table = [file.suffix.lower() in TABLES for file in files]
        self._tables_left = sum(self._is_table)
        self._file, self._before = -1, done
        # A table is often about the videos whose other files lie beside it.
        labels = labels_of(files)
        beside = {labels[f] for f, table in zip(files, self._is_table, strict=True) if not table}
        self._videos_a_table = max(1, videos, len(beside))
        self.done, self.total = done, done + self._to_come(-1)

    def _to_come(self, file: int) -> int:
        """Videos in the files behind ``file``: an unread table holds as many as the last one that was read."""
        others = len(self._is_table) - file - 1 - self._tables_left
        return others + self._tables_left * self._videos_a_table

    def add(self, piece: Piece) -> None:
        if piece.file != self._file:
            self._tables_left -= sum(self._is_table[self._file + 1 : piece.file + 1])
            self._file, self._before = piece.file, self.done
        self.done += 1
        if self._is_table[piece.file]:
            self._videos_a_table = piece.videos
        self.total = max(self.done, self._before + piece.videos) + self._to_come(piece.file)
