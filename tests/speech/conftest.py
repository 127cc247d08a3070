"""The sample corpus with its truth, the real Whisper tiny.en, and files made with PyAV whose clicks are at known times."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from speech import transcribe
from speech.audio import Audio, read

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="session")
def sample() -> Path:
    """A video of 19.5 s, H.264 at 25 frames a second with AAC at 22.05 kHz, in which six sentences are spoken."""
    return SAMPLES / "kitchen-000.mp4"


@pytest.fixture(scope="session")
def sample_audio(sample) -> Audio:
    return read(sample)


@pytest.fixture(scope="session")
def sample_truth(sample) -> list[tuple[float, float, str]]:
    """Start, end and text of the sample's sentences, in seconds from the first picture."""
    videos = json.loads((SAMPLES / "truth.json").read_text())["videos"]
    steps = next(video["steps"] for video in videos if video["file"] == sample.name)
    return [(step["spoken_start"], step["spoken_end"], step["sentence"]) for step in steps]


@pytest.fixture(scope="session")
def narration() -> np.ndarray:
    """Narration of 40 s, float32 at 16 kHz: two samples one after the other."""
    return np.concatenate([read(SAMPLES / f"kitchen-00{n}.mp4").samples for n in range(2)])


@pytest.fixture(scope="session")
def tiny_en_file(weights_or_skip) -> Path:
    return weights_or_skip("whisper-tiny.en")


@pytest.fixture(scope="session")
def tiny_en(tiny_en_file) -> transcribe.SpeechModel:
    return transcribe.load("tiny.en", tiny_en_file.parent, "cpu")


def click_track(clicks: Sequence[float], seconds: float, rate: int) -> np.ndarray:
    """float32 [n]: silence with a burst of 10 ms of 1 kHz that is loudest at each of `clicks`, in seconds."""
    samples = np.zeros(round(seconds * rate), np.float32)
    length = rate // 100
    burst = 0.8 * np.hanning(length) * np.sin(2 * np.pi * 1000 * np.arange(length) / rate)
    for click in clicks:
        first = round(click * rate) - length // 2
        samples[first : first + length] += burst
    return samples


def find_clicks(samples: np.ndarray, rate: int = 16_000) -> list[float]:
    """When the clicks are loudest, in seconds from the first sample."""
    loud = np.convolve(np.abs(samples), np.ones(rate // 100) / (rate // 100), "same")
    times = []
    while loud.max() > 0.1:
        peak = int(loud.argmax())
        times.append(peak / rate)
        loud[max(0, peak - rate // 5) : peak + rate // 5] = 0
    return sorted(times)


def write_sound(
    path: Path,
    parts: Sequence[tuple[float, np.ndarray]],
    *,
    rate: int = 44_100,
    layout: str = "mono",
    codec: str = "aac",
    picture_seconds: float = 0,
) -> Path:
    """A file whose sound has each of `parts`, (time of its first sample in seconds, float32 [n] or
    [channels, n]), with black pictures from 0 on for `picture_seconds`."""
    with av.open(str(path), "w") as container:
        if picture_seconds:
            picture = container.add_stream("mpeg4", rate=10)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout=layout)
        if picture_seconds:
            for n in range(round(picture_seconds * 10)):
                frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
                frame.pts, frame.time_base = n, Fraction(1, 10)
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        size = 1024
        for start, samples in parts:
            planes = np.atleast_2d(samples).astype(np.float32)
            for first in range(0, planes.shape[1], size):
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(planes[:, first : first + size]), "fltp", layout
                )
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = round(start * rate) + first
                container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


@pytest.fixture(scope="session")
def clicks() -> SimpleNamespace:
    """`track` makes clicks, `write` puts them into a file, `find` finds them in samples."""
    return SimpleNamespace(track=click_track, write=write_sound, find=find_clicks)
