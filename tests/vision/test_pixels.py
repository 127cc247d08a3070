"""The centre crop of a frame has the right colours and lies where it should: against formulas and Pillow's resampling."""

import av
import numpy as np
import pytest
from PIL import Image

from vision.clips import SIDE
from vision.media import VideoStream
from vision.pixels import SHORT_SIDE, center_crop

MATRICES = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
COLOURS = [(120, 90, 200), (16, 128, 128), (235, 128, 128), (81, 90, 240), (60, 180, 110)]


def stream(frame: av.VideoFrame, rotation: int = 0, aspect: float = 1.0) -> VideoStream:
    return VideoStream(
        0, "h264", frame.width, frame.height, rotation, aspect, 0.0, 1.0, None, None, frame.format.name
    )


def flat(form: str, yuv: tuple[int, int, int], width: int = 64, height: int = 48) -> av.VideoFrame:
    """A frame of one colour, given in eight bits."""
    frame = av.VideoFrame(width, height, form)
    bits = frame.format.components[0].bits
    for plane, value in zip(frame.planes, yuv, strict=True):
        kind = np.dtype(np.uint8 if bits == 8 else "<u2")
        plane.update(np.full(plane.buffer_size // kind.itemsize, value << (bits - 8), kind).tobytes())
    return frame


def true_colour(yuv, colorspace: int, full: bool) -> np.ndarray:
    """By the definition of the matrices (ITU-R BT.601, BT.709, BT.2020)."""
    red, blue = MATRICES[colorspace]
    y, u, v = yuv
    if full:
        y, u, v = y / 255, (u - 128) / 255, (v - 128) / 255
    else:
        y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    return np.clip(255 * np.array([r, (y - red * r - blue * b) / (1 - red - blue), b]), 0, 255)


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize("colorspace", MATRICES)
@pytest.mark.parametrize("full", [False, True])
def test_colours_follow_matrix_and_range(form, colorspace, full):
    for yuv in COLOURS:
        frame = flat(form, yuv)
        frame.colorspace, frame.color_range = colorspace, 2 if full else 1
        seen = center_crop(frame, stream(frame), 32)
        assert (seen == seen[0, 0]).all()
        unit = 1 if frame.format.components[0].bits == 8 or not full else 255 / 256
        exact = true_colour([part * unit if full else part for part in yuv], colorspace, full)
        assert np.abs(seen[0, 0] - exact).max() <= (1.2 if unit == 1 else 2.5)


def test_a_format_that_says_full_range_has_it():
    frame = flat("yuvj420p", (81, 90, 240))
    assert (
        np.abs(center_crop(frame, stream(frame), 8)[0, 0] - true_colour((81, 90, 240), 2, True)).max() <= 1.2
    )


@pytest.mark.parametrize(
    "form", ["rgb24", "gbrp", "nv12", "gray", "yuyv422", "yuv420p10be", "yuva420p", "pal8"]
)
def test_other_formats_are_converted_as_ffmpeg_does(form):
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(30, 220, (6, 8, 3)), np.ones((40, 40, 1))).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format="gray" if form == "pal8" else form
    )
    theirs = frame.reformat(format="rgb24").to_ndarray()[15:225, 55:265].astype(int)
    seen = center_crop(frame, stream(frame), 210).astype(int)
    assert np.abs(seen - theirs).mean() < 3 and np.percentile(np.abs(seen - theirs), 90) <= 3


def picture(width: int, height: int) -> np.ndarray:
    """Soft blobs and ramps: what a resampling of any kind keeps, so that what differs is where things are."""
    y, x = np.mgrid[0:height, 0:width] / min(width, height)
    waves = [np.sin(2 * np.pi * (a * x + b * y)) for a, b in ((3, 1), (-2, 4), (5, 2))]
    return (127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


SIZES = [
    (1920, 1080),
    (1280, 720),
    (854, 480),
    (640, 360),
    (426, 240),
    (241, 179),
    (1514, 694),
    (96, 64),
    (240, 320),
]
SHAPES = [(size, aspect, 0) for size in SIZES for aspect in (1.0, 2.0, 0.5)]
SHAPES += [((320, 240), aspect, rotation) for aspect in (1.0, 2.0) for rotation in (90, 180, 270)]


@pytest.mark.parametrize("size, aspect, rotation", SHAPES)
def test_the_crop_lies_where_pillow_finds_it(size, aspect, rotation):
    """Pillow scales a box with fractions of pixels; rounding costs less than half a pixel of the result."""
    image = picture(*size)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv444p")
    high = min(size[0] * aspect, size[1]) * SIDE / SHORT_SIDE
    wide = high / aspect
    box = ((size[0] - wide) / 2, (size[1] - high) / 2, (size[0] + wide) / 2, (size[1] + high) / 2)
    whole = Image.fromarray(frame.reformat(format="rgb24").to_ndarray())
    theirs = np.rot90(np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)), rotation // 90)
    seen = center_crop(frame, stream(frame, rotation, aspect), SIDE)
    error = np.abs(seen.astype(int) - theirs).mean()
    moved = min(np.abs(np.roll(theirs, 1, axis).astype(int) - theirs).mean() for axis in (0, 1))
    assert seen.shape == (SIDE, SIDE, 3) and error < moved / 2


def test_one_pixel_is_enough():
    frame = flat("yuv444p", (120, 90, 200), 1, 1)
    assert (center_crop(frame, stream(frame), SIDE) == center_crop(frame, stream(frame), SIDE)[0, 0]).all()


def test_fine_patterns_become_grey_not_stripes():
    """The control against aliasing: lines finer than the result are gone; taking nearest pixels shows them."""
    for width, height in ((1280, 720), (1920, 1080), (854, 480)):
        lines = np.zeros((height, width, 3), np.uint8)
        lines[:, ::2] = 255
        frame = av.VideoFrame.from_ndarray(lines, format="rgb24").reformat(format="yuv444p")
        assert center_crop(frame, stream(frame), SIDE).std() < 20
        nearest = lines[:: height // SIDE, :: round(height / SIDE) | 1]
        assert nearest.std() > 100
