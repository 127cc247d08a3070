"""Videos whose every frame paints its own time stamp, made at test time with PyAV and libx264."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

SAMPLES = Path(__file__).parents[1] / "samples"
CELLS = 4  # the code is a 4 x 4 grid of black and white cells: 16 bits, milliseconds


def code_image(milliseconds: int, width: int, height: int) -> np.ndarray:
    """uint8 [height, width, 3]: grey, with the code over the central square that the reader crops."""
    image = np.full((height, width, 3), 128, np.uint8)
    square = min(width, height) * 7 / 8
    top, left, cell = (height - square) / 2, (width - square) / 2, square / CELLS
    for bit in range(CELLS * CELLS):
        y, x = top + bit // CELLS * cell, left + bit % CELLS * cell
        shade = 235 if milliseconds >> bit & 1 else 16
        image[round(y) : round(y + cell), round(x) : round(x + cell)] = shade
    return image


def read_code(frame: np.ndarray) -> int:
    """The milliseconds that a square frame shows."""
    cell = frame.shape[0] / CELLS
    centres = ((np.arange(CELLS) + 0.5) * cell).astype(int)
    bits = frame[np.ix_(centres, centres)].mean(-1).reshape(-1) > 125
    return int(bits @ (1 << np.arange(CELLS * CELLS)))


def write_painted(
    path: Path,
    times: list[float],
    *,
    size: tuple[int, int] = (160, 120),
    rotation: int = 0,
    squeeze: int = 1,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    last: float = 0.05,
    base: int = 90_000,
    container: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    sound: float | None = None,
) -> Path:
    """A video that shows a frame at each of `times`, seconds; the file's own time base may round them.

    `rotation` is stored as a display matrix over a picture turned the other way, `squeeze` as a pixel aspect.
    With `sound`, two seconds of silence start at that second.
    """
    width, height = size
    steps = np.diff([*times, times[-1] + last])
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=Fraction(1 / float(np.median(steps))).limit_denominator(1001))
        stored = (height, width) if rotation % 180 else (width, height)
        stream.width, stream.height = stored[0] // squeeze, stored[1]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, base)
        stream.codec_context.thread_count = 1
        stream.options = (
            {"preset": "ultrafast", "crf": "18", "threads": "1"} | (options or {})
            if codec == "libx264"
            else (options or {})
        )
        if squeeze != 1:
            stream.codec_context.sample_aspect_ratio = Fraction(squeeze)
        if rotation:
            stream.set_display_rotation(rotation)
        if sound is not None:
            beside = output.add_stream("aac", rate=16_000, layout="mono")
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 32_000), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts, silence.time_base = (
                16_000,
                round(sound * 16_000),
                Fraction(1, 16_000),
            )
            output.mux([*beside.encode(silence), *beside.encode()])
        for time, step in zip(times, steps, strict=True):
            image = code_image(round(time * 1000), width, height)
            image = np.ascontiguousarray(np.rot90(image, -rotation // 90)[:, ::squeeze])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time * base), Fraction(1, base)
            frame.duration = round(step * base)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def write_sound(path: Path, seconds: int = 6) -> Path:
    """A file of silence, AAC, without a picture."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=16_000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, seconds * 16_000), np.float32), "fltp", "mono")
        silence.sample_rate = 16_000
        output.mux([*stream.encode(silence), *stream.encode()])
    return path


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of sample videos, kitchen-000.mp4 and on."""
    return SAMPLES


@pytest.fixture(scope="session")
def sound_only():
    return write_sound


@pytest.fixture(scope="session")
def painted():
    return write_painted


@pytest.fixture(scope="session")
def code():
    return read_code
