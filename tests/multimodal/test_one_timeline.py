"""Picture and sound of one moment get the same time, whenever the two streams begin."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from speech import audio
from speech.audio import SAMPLE_RATE
from vision.clips import FPS
from vision.media import probe
from vision.readers import read_clips

MOMENTS = (3.0, 4.5)
END, RATE, FLASH = 6.0, 50, 0.1
STARTS = ((0.0, 0.0), (0.0, 1.3), (1.3, 0.0), (0.7, 1.9))
"""Of the picture and of the sound; AVI, as FFmpeg writes it, has no place for a late start of the sound."""


def write(path: Path, picture_start: float, sound_start: float) -> Path:
    """Black with a white flash, and silence with a click, at each of MOMENTS; the streams begin at their own times."""
    with av.open(str(path), "w") as container:
        codecs = {".mpg": ("mpeg2video", "mp2"), ".avi": ("mpeg4", "mp3")}
        picture_codec, sound_codec = codecs.get(path.suffix, ("libx264", "aac"))
        picture = container.add_stream(picture_codec, rate=RATE)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        picture.codec_context.thread_count = 1
        if picture_codec == "libx264":
            picture.options = {"preset": "ultrafast", "threads": "1"}
        sound = container.add_stream(sound_codec, rate=44_100, layout="mono")
        packets = []
        for n in range(round(picture_start * RATE), round(END * RATE)):
            white = any(moment <= n / RATE < moment + FLASH for moment in MOMENTS)
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255 * white, np.uint8), "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, RATE)
            packets += picture.encode(frame)
        samples = np.zeros(round(END * 44_100), np.float32)
        for moment in MOMENTS:
            samples[round(moment * 44_100) :][:441] = 0.9 * np.sin(2 * np.pi * 1000 * np.arange(441) / 44_100)
        size = 1152 if sound_codec in ("mp2", "mp3") else 1024
        for first in range(round(sound_start * 44_100), len(samples) - size, size):
            frame = av.AudioFrame.from_ndarray(samples[None, first : first + size].copy(), "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = 44_100, Fraction(1, 44_100), first
            if sound_codec == "mp2":
                frame = av.AudioResampler("s16").resample(frame)[0]
            packets += sound.encode(frame)
        packets += [*picture.encode(None), *sound.encode(None)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def flashes(path: Path) -> list[float]:
    """When white begins to be shown."""
    found, before = [], False
    for clip in read_clips(path):
        for n, frame in enumerate(clip.frames[: len(clip.frames) - clip.repeated]):
            white = frame.mean() > 128
            if white and not before:
                found.append(clip.start + n / FPS)
            before = white
    return found


def clicks(path: Path) -> list[float]:
    sound = audio.read(path, clock=probe(path).clock)
    loud = np.flatnonzero(np.abs(sound.samples) > 0.3)
    return [
        sound.start + n / SAMPLE_RATE for n in loud[np.diff(loud, prepend=-SAMPLE_RATE) > SAMPLE_RATE / 2]
    ]


@pytest.mark.parametrize(
    ("ending", "starts"),
    [
        *((ending, starts) for ending in (".mp4", ".mkv", ".ts", ".flv", ".mpg") for starts in STARTS),
        *((".avi", starts) for starts in STARTS if starts[1] == 0),
    ],
)
def test_a_flash_and_a_click_meet(tmp_path, ending, starts):
    path = write(tmp_path / f"a{ending}", *starts)
    seen, heard = flashes(path), clicks(path)
    assert len(seen) == len(heard) == len(MOMENTS)
    assert np.diff(seen) == pytest.approx(np.diff(MOMENTS), abs=1 / FPS)
    assert np.subtract(seen, heard) == pytest.approx(0, abs=0.05)
