"""Recordings that were put one behind the other: both are read, or the one that is not is told."""

import itertools
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from speech import audio
from vision.media import probe
from vision.readers import read_clips

SECONDS, RATE, FLASH = 2, 48_000, 1.0
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
READ = [("a.mkv", "libx264", "aac", {}), ("a.webm", "libvpx", "libopus", {}), ("a.mpg", "mpeg2video", "mp2", {}), ("a.ts", "libx264", "aac", {}), ("a.avi", "mpeg4", "pcm_s16le", {})]  # fmt: skip
NOT_READ = [("a.mp4", "libx264", "aac", {}), ("a.mp4", "libx264", "aac", FRAGMENTS), ("a.flv", "flv", "aac", {}), ("a.wav", None, "pcm_s16le", {}), ("a.aiff", None, "pcm_s16be", {}), ("a.asf", "wmv2", "libmp3lame", {}), ("a.mxf", "mpeg2video", "pcm_s16le", {})]  # fmt: skip


def write(path: Path, picture: str | None, sound: str, options: dict[str, str]) -> Path:
    """Black with a white flash, silence with a loud tone, after FLASH seconds."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(picture, rate=25) if picture else None
        track = container.add_stream(sound, rate=RATE, layout="mono")
        packets = []
        if stream:
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for n in range(SECONDS * 25):
                white = FLASH <= n / 25 < FLASH + 0.2
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255 * white, np.uint8), "rgb24")
                frame.pts, frame.time_base = n, Fraction(1, 25)
                packets += stream.encode(frame)
            packets += stream.encode(None)
        time = np.arange(SECONDS * RATE) / RATE
        tone = np.where(abs(time - FLASH - 0.1) < 0.1, 0.9 * np.sin(2 * np.pi * 500 * time), 0)
        frame = av.AudioFrame.from_ndarray(tone.astype(np.float32)[None], "fltp", "mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
        context = track.codec_context
        context.open(strict=False)
        resampler = av.AudioResampler(context.format, context.layout, RATE, context.frame_size or 1024)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            packets += track.encode(part)
        for packet in sorted([*packets, *track.encode(None)], key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return path


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def loud_seconds(path: Path) -> list[float]:
    media = probe(path)
    heard = audio.read(path, stream=media.audio.index, clock=media.clock)
    return sorted(
        {round(heard.start + n / audio.SAMPLE_RATE - 0.1) for n in np.flatnonzero(abs(heard.samples) > 0.6)}
    )


def white_seconds(path: Path) -> list[float]:
    shown = [
        (clip.start + n / 20, frame.mean())
        for clip in read_clips(path)
        for n, frame in enumerate(clip.frames)
    ]
    return sorted({round(time - 0.1) for time, light in shown if light > 128})


@pytest.mark.parametrize(("name", "picture", "sound", "options"), READ)
def test_both_are_read_on_one_timeline(tmp_path, name, picture, sound, options):
    one = write(tmp_path / name, picture, sound, options)
    both = joined(tmp_path / f"both-{name}", one, one)
    assert probe(both).duration == pytest.approx(2 * SECONDS, abs=0.2)
    assert loud_seconds(both) == white_seconds(both) == [FLASH, FLASH + SECONDS]
    assert any("recordings one after the other" in note for note in probe(both).notes)
    assert not probe(one).notes and loud_seconds(one) == [FLASH]


@pytest.mark.parametrize(
    ("name", "sound"),
    [("a.opus", "libopus"), ("a.oga", "flac"), ("a.mp3", "libmp3lame"), ("a.aac", "aac"), ("a.ac3", "ac3")],
)  # fmt: skip
def test_sounds_one_behind_the_other_are_heard_to_the_end(tmp_path, name, sound):
    one = write(tmp_path / name, None, sound, {})
    both = joined(tmp_path / f"both-{name}", one, one, one)
    assert loud_seconds(both) == [FLASH, FLASH + SECONDS, FLASH + 2 * SECONDS]
    assert probe(both).duration == pytest.approx(3 * SECONDS, abs=0.5)
    assert probe(one).duration == pytest.approx(SECONDS, abs=0.1) and not probe(one).notes


def test_streams_that_begin_on_the_way_are_told(tmp_path):
    """As where a broadcaster's second programme has other numbers: PyAV knows the streams of the beginning alone."""
    one = write(tmp_path / "a.ts", "mpeg2video", "mp2", {})
    other = write(
        tmp_path / "b.ts", "libx264", "aac", {"mpegts_start_pid": "0x300", "mpegts_pmt_start_pid": "0x1200"}
    )
    both = joined(tmp_path / "both.ts", one, other)
    assert loud_seconds(both) == white_seconds(both) == [FLASH]
    assert any("other streams" in problem and "byte" in problem for problem in probe(both).problems)
    assert not probe(one).problems and not probe(other).problems


@pytest.mark.parametrize(("name", "picture", "sound", "options"), NOT_READ)
def test_one_that_is_not_read_is_told_with_its_place(tmp_path, name, picture, sound, options):
    one = write(tmp_path / name, picture, sound, options)
    both = joined(tmp_path / f"both-{name}", one, one)
    assert FLASH + SECONDS not in loud_seconds(both), "were it read, nothing would have to be told"
    assert any(f"byte {one.stat().st_size} " in problem for problem in probe(both).problems)
    assert probe(one).problems == ()


def test_a_second_flac_is_told_as_ffmpeg_loses_some_of_it(tmp_path):
    one = write(tmp_path / "a.flac", None, "flac", {})
    both = joined(tmp_path / "both.flac", one, one, one)
    assert any("byte" in problem for problem in probe(both).problems) and not probe(one).problems


def test_segments_with_headers_of_their_own_are_whole(tmp_path):
    """As a stream's segments are saved one behind the other: the times of the second go on."""
    one = write(tmp_path / "a.mp4", "libx264", "aac", FRAGMENTS)
    later = bytearray(one.read_bytes())
    places = [found.start() + 8 for found in re.finditer(b"tfdt", later)]
    for place, ticks in zip(
        places, itertools.cycle([12_800, RATE]), strict=False
    ):  # picture and sound in turn
        time = int.from_bytes(later[place : place + 8], "big") + SECONDS * ticks
        later[place : place + 8] = time.to_bytes(8, "big")
    (tmp_path / "later.mp4").write_bytes(later)
    both = joined(tmp_path / "both.mp4", one, tmp_path / "later.mp4")
    assert probe(both).problems == () and loud_seconds(both) == [FLASH, FLASH + SECONDS]
