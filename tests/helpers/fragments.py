"""Short files cut out of the samples by copying packets: with speech, without speech, and without a sound track."""

import os
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition, Stream

ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
SAMPLES = Path(__file__).parents[1] / "samples"


def at_rest(path: Path) -> Path:
    """The file as one that was made a minute ago: an ingestion waits for files that somebody may still be writing to."""
    before = time.time() - 60
    os.utime(path, (before, before))
    return path


def first_packets(source: InputContainer, seconds: float, *streams: Stream) -> Iterator[av.Packet]:
    """The packets of these streams before a time."""
    for packet in source.demux(*streams):
        if packet.dts is not None and packet.dts * packet.time_base < seconds:
            yield packet


def cut(path: Path, sample: str, seconds: float, kinds: tuple[str, ...]) -> Path:
    """The first seconds of a sample's streams of these kinds, in the container that the ending of ``path`` names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(SAMPLES / sample)) as source, av.open(str(path), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams if s.type in kinds}
        for packet in first_packets(source, seconds, *(source.streams[index] for index in streams)):
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    return at_rest(path)


def spoken(path: Path, sample: str = "kitchen-003.mp4") -> Path:
    """3 s with one sentence: two clips."""
    return cut(path, sample, 3.0, ("video", "audio"))


def silent(path: Path, sample: str = "kitchen-001.mp4", seconds: float = 3.0) -> Path:
    """The picture without a sound track: two clips."""
    return cut(path, sample, seconds, ("video",))


def speechless(path: Path, sample: str = "kitchen-001.mp4", seconds: float = 3.0) -> Path:
    """The picture with a sound track of faint noise: two clips."""
    rate, size = 16_000, 1024
    noise = np.random.default_rng(0).normal(0, 1e-4, (1, round(seconds * rate))).astype(np.float32)
    with av.open(str(SAMPLES / sample)) as source, av.open(str(path), "w") as target:
        picture = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("aac", rate=rate, layout="mono")
        for packet in first_packets(source, seconds, source.streams.video[0]):
            packet.stream = picture
            target.mux(packet)
        for first in range(0, noise.shape[1] - size, size):
            frame = av.AudioFrame.from_ndarray(noise[:, first : first + size].copy(), "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), first
            target.mux(sound.encode(frame))
        target.mux(sound.encode(None))
    return at_rest(path)


def captioned(
    path: Path,
    *tracks: tuple[str, dict[str, str], Disposition],
    seconds: float = 3.0,
    form: str = "srt",
    begin: float = 0.0,
) -> Path:
    """A silent picture with streams of captions: the text of a file in ``form``, its metadata and its dispositions.

    ``begin``: the stamp of its start, in seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    srt = path.with_name(f"{path.stem}-track.txt")
    with av.open(str(SAMPLES / "kitchen-001.mp4")) as source, av.open(str(path), "w") as target:
        picture = target.add_stream_from_template(source.streams.video[0])
        waiting = [
            (float(packet.dts * packet.time_base), packet, picture)
            for packet in first_packets(source, seconds, source.streams.video[0])
        ]
        for text, metadata, disposition in tracks:
            srt.write_text(text, encoding="utf-8")
            with av.open(str(srt), format=form) as captions:
                stream = target.add_stream_from_template(captions.streams.subtitles[0])
                stream.metadata.update(metadata)
                stream.disposition = disposition
                for packet in captions.demux():
                    if packet.dts is not None:
                        waiting.append((float(packet.dts * packet.time_base), packet, stream))
        for _, packet, stream in sorted(waiting, key=lambda item: item[0]):
            packet.stream = stream
            ticks = round(begin / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            target.mux(packet)
    srt.unlink(missing_ok=True)
    return at_rest(path)


def with_mov_text(path: Path, cues: Sequence[tuple[float, float, str]], seconds: float = 3.0) -> Path:
    """A silent picture in MP4 with the cues as its text track; MP4 ends a text by an empty one."""
    with av.open(str(SAMPLES / "kitchen-001.mp4")) as source, av.open(str(path), "w") as target:
        picture = target.add_stream_from_template(source.streams.video[0])
        text = target.add_stream("mov_text")
        text.time_base = Fraction(1, 1000)
        text.codec_context.subtitle_header = ASS_HEADER
        waiting = [
            (float(packet.dts * packet.time_base), packet, picture)
            for packet in first_packets(source, seconds, source.streams.video[0])
        ]
        for start, end, said in cues:
            packet = av.Packet(len(said.encode()).to_bytes(2, "big") + said.encode())
            packet.time_base = Fraction(1, 1000)
            packet.pts = packet.dts = round(start * 1000)
            packet.duration = round((end - start) * 1000)
            waiting.append((start, packet, text))
        for _, packet, stream in sorted(waiting, key=lambda item: item[0]):
            packet.stream = stream
            target.mux(packet)
    return at_rest(path)
