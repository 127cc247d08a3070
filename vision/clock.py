"""The clock of a file: how its time stamps become seconds from the file's start, as players show them.

Broadcasts and recorders stamp by a clock that runs on: a file of theirs begins at any time, leaps where recordings were put
one after the other, and has holes where nothing was recorded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
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
RUNNING = frozenset({"mpegts", "mpeg"})
"""Containers whose clock is that of the broadcast or of the encoder: they begin at any time, never at 0 by rule."""
LEAST_ORIGIN = 10.0
"""The other containers begin at 0, and their first track may begin later, up to so many seconds. A file that begins later
than that, or before 0, was cut out of another one, whose clock it kept."""
ENCODER_DELAY = 0.1
"""Seconds by which the first packet of a sound track may lie before 0."""
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

    def packets(self, container: InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet]:
        """The packets of the streams with stamps on this clock; so the frames that are decoded from them are on it too."""
        packets = demuxed(container, *streams)
        if not (self.origin or self.leaps):
            yield from packets
            return
        positions: dict[int, int] = {}
        for packet in packets:
            # A packet that does not say where it lies follows the one before it in its stream.
            if packet.pos is not None:
                positions[packet.stream.index] = packet.pos
            leapt = [s for place, s in self.leaps if positions.get(packet.stream.index, 0) >= place]
            shift = (leapt[-1] if leapt else 0.0) - self.origin
            if shift and packet.time_base:
                ticks = round(shift / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
            yield packet


def demuxed(container: InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet]:
    """The packets of the streams; without any, of all streams that the file's header lists.

    A broadcast may add a stream on the way, which PyAV does not know: its first packet raises an IndexError.
    """
    while True:
        try:
            yield from container.demux(*streams)
        except IndexError:
            continue
        return


def clock_of_header(container: InputContainer, path: Path) -> Clock | None:
    """The clock of an opened file by its header; None where its packets alone tell."""
    kind = container.format.name.split(",")[0]
    guessed = kind in GUESSED and not (kind == "mp3" and _says_its_length(path))
    if kind in STREAMED or guessed or not container.duration or container.duration < 0:
        return None
    start = 0.0 if container.start_time is None else container.start_time / av.time_base
    return Clock(_origin(start, kind))


def _origin(start: float, kind: str) -> float:
    """The stamp of the file's start, by that of its first packet. A delay of the encoder below 0 is none."""
    return start if kind in RUNNING or start >= LEAST_ORIGIN or start <= -ENCODER_DELAY else 0.0


def clock_of_packets(container: InputContainer, streams: list[av.stream.Stream]) -> tuple[Clock, int]:
    """The clock by all packets of `streams`, of which none is decoded, and the byte where the last of them begins.

    The container is read to its end.
    """
    found: list[tuple[int, int, float, float, float]] = []
    positions: dict[int, int] = {}
    try:
        for packet in demuxed(container, *streams):
            if packet.dts is None or not packet.size:
                continue
            shown = packet.dts if packet.pts is None else packet.pts
            times = (float(ticks * packet.time_base) for ticks in (packet.dts, shown, packet.duration or 0))
            # A packet that does not say where it lies follows the one before it in its stream.
            if packet.pos is not None:
                positions[packet.stream.index] = packet.pos
            found.append((positions.get(packet.stream.index, 0), packet.stream.index, *times))
    except av.FFmpegError:
        pass  # cut off here; what came before counts
    # A packet is given when the next one of its stream begins, so the order of the file is that of the positions.
    found.sort(key=lambda row: row[0])
    leaps: list[tuple[int, float]] = []
    spans: list[tuple[float, float]] = []
    due: dict[int, float] = {}
    shift = 0.0
    for position, stream, decoded, shown, length in found:
        time = decoded + shift
        before = due.get(stream)
        if before is not None and not before - BACKWARDS <= time <= before + LONGEST_HOLE:
            # Picture and sound leap together: both go on where the later of the two ended.
            shift += max(due.values()) - time
            time = decoded + shift
            leaps.append((position, shift))
        due[stream] = time + length
        spans.append((shown + shift, shown + shift + length))
    if not spans:
        return Clock(), 0
    start_N, end_N = np.array(sorted(spans)).T
    end_N = np.maximum.accumulate(end_N)
    origin = _origin(float(start_N[0]), container.format.name.split(",")[0])
    holes = np.flatnonzero(start_N[1:] - end_N[:-1] >= HOLE)
    clock = Clock(
        origin,
        tuple(leaps),
        tuple((float(end_N[n]) - origin, float(start_N[n + 1]) - origin) for n in holes),
        float(end_N[-1]) - origin,
    )
    return clock, found[-1][0]


def length_of_packets(container: InputContainer, stream: av.stream.Stream) -> float:
    """How long the packets of a stream last together, in seconds. The container is read to its end."""
    ticks = 0
    with suppress(av.FFmpegError):
        for packet in demuxed(container, stream):
            ticks += packet.duration or 0
    return float(ticks * stream.time_base)


def holes_of_all(
    container: InputContainer, streams: list[av.stream.Stream], origin: float
) -> tuple[tuple[float, float], ...]:
    """When none of `streams` has a packet for HOLE seconds or more and each goes on afterwards. The container is read to its end.

    Files with an index say how long a packet lasts up to the next one, whatever was recorded, so each counts for no more than
    is usual in its stream. A picture alone may stand still.
    """
    if len(streams) < 2:
        return ()
    spans: dict[int, list[tuple[float, float]]] = {stream.index: [] for stream in streams}
    try:
        for packet in demuxed(container, *streams):
            if packet.pts is not None and packet.size:
                start, length = (
                    float(ticks * packet.time_base) for ticks in (packet.pts, packet.duration or 0)
                )
                spans[packet.stream.index].append((start - origin, length))
    except av.FFmpegError:
        pass  # cut off here; what came before counts
    holes = [(-math.inf, math.inf)]
    seen = {index: np.array(sorted(found)).T for index, found in spans.items() if found}
    for start_N, length_N in seen.values():
        end_N = np.maximum.accumulate(start_N + np.minimum(length_N, np.median(length_N)))
        gaps = [
            (float(end_N[n]), float(start_N[n + 1])) for n in np.flatnonzero(start_N[1:] - end_N[:-1] >= HOLE)
        ]
        holes = list(_common(holes, gaps))
    return tuple(holes) if len(seen) > 1 else ()


def _common(
    one: list[tuple[float, float]], other: list[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """What two lists of spans in order share, HOLE seconds or more at a time."""
    m = n = 0
    while m < len(one) and n < len(other):
        begin, end = max(one[m][0], other[n][0]), min(one[m][1], other[n][1])
        if end - begin >= HOLE:
            yield begin, end
        if one[m][1] < other[n][1]:
            m += 1
        else:
            n += 1


def _says_its_length(path: Path) -> bool:
    """True for an MP3 whose first frame holds the number of its frames."""
    with path.open("rb") as file:
        head = file.read(10)
        # A tag may lie before the first frame; its length is in four bytes of seven bits.
        tag = (
            10 + sum((byte & 127) << 7 * (3 - n) for n, byte in enumerate(head[6:10]))
            if head[:3] == b"ID3"
            else 0
        )
        file.seek(tag)
        first_frame = file.read(HEADER_BYTES)
    return any(mark in first_frame for mark in MP3_HEADERS)
