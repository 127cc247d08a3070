"""The clock of a file: how its time stamps become seconds from the file's start, as players show them.

Broadcasts and recorders stamp by a clock that runs on: a file of theirs begins at any time, leaps where recordings were put
one after the other, and has holes where nothing was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

STREAMED = frozenset({"mpegts", "mpeg", "flv"})
"""Containers without an index, whose packets alone tell where the clock leaps."""
GUESSED = frozenset({"mp3", "aac", "ac3", "eac3"})
"""Containers of sound whose length FFmpeg guesses from the bit rate, unless an MP3 has a header that says it."""
MP3_HEADERS = (b"Xing", b"Info", b"VBRI")
HEADER_BYTES = 1 << 16
LEAST_ORIGIN = 0.1
"""A file that begins at less than so many seconds begins at 0: encoders delay sound by some milliseconds."""
BACKWARDS = 1.0
"""A stamp so many seconds before that of the packet before it in its stream belongs to a clock that began anew."""
HOLE = 3.0
"""Seconds without a packet of picture or sound from which on they are a hole; nothing stands in for it."""
LONGEST_HOLE = 12 * 3600.0
"""A leap forward by more is a clock that began anew."""


@dataclass(frozen=True)
class Clock:
    """Time stamps to seconds from the file's start.

    `origin`: the stamp of the file's start, in seconds. `leaps`: (byte position, seconds): from this place in the file on so
    many seconds are added. `holes`: (start, end) of what was not recorded, in seconds from the file's start. `end`: when the
    last packet ends, where the header does not say it.
    """

    origin: float = 0.0
    leaps: tuple[tuple[int, float], ...] = ()
    holes: tuple[tuple[float, float], ...] = ()
    end: float | None = None

    def shift(self, position: int | None) -> float:
        """The seconds that are added to the stamps of a packet at a byte position."""
        added = [seconds for place, seconds in self.leaps if position is not None and position >= place]
        return (added[-1] if added else 0.0) - self.origin

    def correct(self, packet: av.Packet) -> None:
        """Puts the packet's stamps onto the clock; so the frames that are decoded from it are on it too."""
        shift = self.shift(packet.pos) if self.leaps else -self.origin
        if shift and packet.time_base:
            ticks = round(shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks


def clock_of_header(container: InputContainer, path: Path) -> Clock | None:
    """The clock of an opened file by its header; None where its packets alone tell."""
    kind = container.format.name.split(",")[0]
    guessed = kind in GUESSED and not (kind == "mp3" and _says_its_length(path))
    if kind in STREAMED or guessed or not container.duration or container.duration < 0:
        return None
    start = 0.0 if container.start_time is None else container.start_time / av.time_base
    return Clock(start if abs(start) >= LEAST_ORIGIN else 0.0)


def clock_of_packets(container: InputContainer, streams: list[av.stream.Stream]) -> Clock:
    """The clock by all packets of `streams`, of which none is decoded. The container is read to its end."""
    leaps: list[tuple[int, float]] = []
    spans: list[tuple[float, float]] = []
    due: dict[int, float] = {}
    shift = 0.0
    try:
        for packet in container.demux(streams):
            if packet.dts is None or not packet.size:
                continue
            time, length = float(packet.dts * packet.time_base) + shift, float((packet.duration or 0) * packet.time_base)
            before = due.get(packet.stream.index)
            if before is not None and not before - BACKWARDS <= time <= before + LONGEST_HOLE:
                # Picture and sound leap together: both go on where the later of the two ended.
                shift += max(due.values()) - time
                time = max(due.values())
                leaps.append((packet.pos or 0, shift))
            due[packet.stream.index] = time + length
            shown = time if packet.pts is None else float(packet.pts * packet.time_base) + shift
            spans.append((shown, shown + length))
    except av.FFmpegError:
        pass  # cut off here; what came before counts
    if not spans:
        return Clock()
    start_N, end_N = np.array(sorted(spans)).T
    end_N = np.maximum.accumulate(end_N)
    first = float(start_N[0])
    origin = first if abs(first) >= LEAST_ORIGIN else 0.0
    holes = np.flatnonzero(start_N[1:] - end_N[:-1] >= HOLE)
    return Clock(
        origin,
        tuple(leaps),
        tuple((float(end_N[n]) - origin, float(start_N[n + 1]) - origin) for n in holes),
        float(end_N[-1]) - origin,
    )


def _says_its_length(path: Path) -> bool:
    """True for an MP3 whose first frame holds the number of its frames."""
    with path.open("rb") as file:
        head = file.read(10)
        # A tag may lie before the first frame; its length is in four bytes of seven bits.
        tag = 10 + sum((byte & 127) << 7 * (3 - n) for n, byte in enumerate(head[6:10])) if head[:3] == b"ID3" else 0
        file.seek(tag)
        first_frame = file.read(HEADER_BYTES)
    return any(mark in first_frame for mark in MP3_HEADERS)
