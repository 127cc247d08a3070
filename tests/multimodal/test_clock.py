"""Times count from the file's start: recordings that begin late, leap, wrap or have holes, and picture and sound of them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from speech import audio
from speech.audio import SAMPLE_RATE
from vision.media import Media, probe
from vision.readers import frame_at, read_clips

RATE = 25
WRAP = 2**33 / 90_000
"""Seconds after which the clock of a transport stream begins anew."""


def recording(path: Path, begin: float, seconds: float, marks: list[float], kind: str = "mpegts") -> Path:
    """Black with a white flash, and silence with a click, at each of ``marks`` seconds; stamped from ``begin`` on."""
    with av.open(str(path), "w", format=kind) as container:
        picture = container.add_stream("mpeg2video", rate=RATE)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("mp2", rate=44_100, layout="mono")
        packets = []
        for n in range(round(seconds * RATE)):
            white = any(mark <= n / RATE < mark + 0.2 for mark in marks)
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255 * white, np.uint8), "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, RATE)
            packets += picture.encode(frame)
        samples = np.zeros(round(seconds * 44_100), np.float32)
        for mark in marks:
            samples[round(mark * 44_100) :][:441] = 0.9 * np.sin(2 * np.pi * 1000 * np.arange(441) / 44_100)
        for first in range(0, len(samples) - 1152, 1152):
            frame = av.AudioFrame.from_ndarray(samples[None, first : first + 1152].copy(), "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = 44_100, Fraction(1, 44_100), first
            packets += sound.encode(av.AudioResampler("s16").resample(frame)[0])
        packets += [*picture.encode(None), *sound.encode(None)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            ticks = round(begin / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            container.mux(packet)
    return path


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def flashes(media: Media) -> list[float]:
    found, before = [], False
    for clip in read_clips(media):
        for n, frame in enumerate(clip.frames[: len(clip.frames) - clip.repeated]):
            white = frame.mean() > 128
            if white and not before:
                found.append(clip.start + n / 20)
            before = white
    return found


def clicks(media: Media) -> list[float]:
    sound = audio.read(media.path, stream=media.audio.index, clock=media.clock)
    assert not sound.problems
    loud = np.flatnonzero(np.abs(sound.samples) > 0.3)
    loud = loud[np.diff(loud, prepend=-SAMPLE_RATE) > SAMPLE_RATE / 2]
    return [sound.start + n / SAMPLE_RATE for n in loud.tolist()]


def assert_meet(media: Media, expected: list[float], within: float = 0.1) -> None:
    assert flashes(media) == pytest.approx(expected, abs=within)
    assert clicks(media) == pytest.approx(expected, abs=within)


@pytest.mark.parametrize("kind", ["mpegts", "mpeg"])
@pytest.mark.parametrize("begin", [0.0, 36_000.0, WRAP - 4.0, WRAP - 1.0])
def test_a_recording_begins_at_0_whatever_its_clock_says(tmp_path, kind, begin):
    if kind == "mpeg" and begin > 36_000:
        pytest.skip("FFmpeg's own program stream muxer writes no clock that wraps")
    media = probe(recording(tmp_path / "a.ts", begin, 6, [3.0, 4.5], kind))
    assert media.start == pytest.approx(0, abs=0.05) and media.duration == pytest.approx(6, abs=0.2)
    assert_meet(media, [3.0, 4.5])
    assert all(clip.start >= 0 for clip in read_clips(media))
    assert frame_at(media, 3.1).mean() > 128 > frame_at(media, 2.0).mean()


@pytest.mark.parametrize("begins", [(0.0, 0.0), (5000.0, 12.0), (9000.0, 20.0, 7.0)])
def test_recordings_one_after_the_other_are_all_read(tmp_path, begins):
    parts = [recording(tmp_path / f"{n}.ts", begin, 6, [3.0, 4.5]) for n, begin in enumerate(begins)]
    media = probe(joined(tmp_path / "joined.ts", *parts))
    expected = [6.0 * n + mark for n in range(len(begins)) for mark in (3.0, 4.5)]
    assert media.duration == pytest.approx(6 * len(begins), abs=0.5)
    assert_meet(media, expected, within=0.2)
    assert len(media.notes) == 1


@pytest.mark.parametrize("pause", [30.0, 390.0])
def test_nothing_stands_in_where_nothing_was_recorded(tmp_path, pause):
    parts = [
        recording(tmp_path / "1.ts", 100.0, 6, [3.0]),
        recording(tmp_path / "2.ts", 106.0 + pause, 6, [3.0]),
    ]
    media = probe(joined(tmp_path / "joined.ts", *parts))
    assert_meet(media, [3.0, 9.0 + pause], within=0.2)
    starts = [clip.start for clip in read_clips(media)]
    assert not [start for start in starts if 6 <= start < 4 + pause] and len(starts) <= 9
    assert len(media.notes) == 1


KINDS = {
    "a.mp4": ("mpeg4", "aac", {}),
    "b.mp4": ("mpeg4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    "a.mkv": ("mpeg4", "libmp3lame", {}),
}


def parts(path: Path, begins: list[float], seconds: float, mark: float) -> Path:
    """Black with a flash, silence with a click, ``mark`` seconds after each of ``begins``; nothing in between."""
    picture_codec, sound_codec, options = KINDS[path.name]
    rate = 44_100
    with av.open(str(path), "w", options=options) as container:
        picture = container.add_stream(picture_codec, rate=RATE)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream(sound_codec, rate=rate, layout="mono")
        sound.codec_context.open(strict=False)
        kind, size = sound.codec_context.format, sound.codec_context.frame_size or 1024
        packets = []
        for begin in begins:
            for n in range(round(seconds * RATE)):
                white = mark <= n / RATE < mark + 0.2
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255 * white, np.uint8), "rgb24")
                frame.pts, frame.time_base = round(begin * RATE) + n, Fraction(1, RATE)
                packets += picture.encode(frame)
            samples = np.zeros(round(seconds * rate), np.float32)
            samples[round(mark * rate) :][:441] = 0.9 * np.sin(2 * np.pi * 1000 * np.arange(441) / rate)
            for first in range(0, len(samples) - size, size):
                frame = av.AudioFrame.from_ndarray(samples[None, first : first + size].copy(), "fltp", "mono")
                frame.sample_rate, frame.time_base, frame.pts = (
                    rate,
                    Fraction(1, rate),
                    round(begin * rate) + first,
                )
                packets += sound.encode(av.AudioResampler(kind, "mono", rate).resample(frame)[0])
        packets += [*picture.encode(None), *sound.encode(None)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", KINDS)
def test_a_hole_of_a_live_recording_stays_one_in_a_file_with_an_index(tmp_path, name):
    """Such a file says that the last packet before the hole lasts until its end."""
    media = probe(parts(tmp_path / name, [0.0, 24.0], 4.0, 1.0))
    assert_meet(media, [1.0, 25.0])
    starts = [clip.start for clip in read_clips(media)]
    assert not [start for start in starts if 4 <= start < 23] and len(starts) >= 5
    assert any("nothing was recorded from 4" in note for note in media.notes)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_picture_that_stands_still_while_the_sound_goes_on_is_no_hole(tmp_path, name):
    """As where a slide is shown: one frame, and a voice."""
    codec, sound_codec, _ = KINDS[name]
    with av.open(str(tmp_path / name), "w") as container:
        picture = container.add_stream(codec, rate=RATE)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream(sound_codec, rate=44_100, layout="mono")
        size = sound.codec_context.frame_size or 1024
        packets = []
        for second in (0, 10):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * second, np.uint8), "rgb24")
            frame.pts, frame.time_base = second * RATE, Fraction(1, RATE)
            packets += picture.encode(frame)
        for first in range(0, 12 * 44_100 - size, size):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, size), np.float32), "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = 44_100, Fraction(1, 44_100), first
            packets += sound.encode(frame)
        packets += [*picture.encode(None), *sound.encode(None)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    media = probe(tmp_path / name)
    assert not media.clock.holes and len(list(read_clips(media))) >= 7


@pytest.mark.parametrize("name", ["b.mp4", "a.mkv"])
def test_a_part_of_a_longer_recording_lasts_as_long_as_it_holds(tmp_path, name):
    """Matroska's header gives the end of the part rather than its length."""
    media = probe(parts(tmp_path / name, [3600.0], 4.0, 1.0))
    assert media.start == pytest.approx(0, abs=0.05) and media.duration == pytest.approx(4.0, abs=0.1)
    assert_meet(media, [1.0])
