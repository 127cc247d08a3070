"""Turns a decoded frame into RGB pixels as shown: upright, square pixels, its own colours, scaled.

`middle` is what clips are made of: the middle of the frame, 7/8 of its shorter side, scaled to a square. It crops
first and works on the planes that the decoder gives, so that what is cut away is never scaled or converted, and
colours are computed on the small picture alone. Scaling halves with plain means while that fits and ends with one
linear step of less than 3/2, or means over areas where that step would be longer.

Colours follow the stream's own matrix and range; a stream that names no matrix has BT.601's, as FFmpeg and decord
have it.
"""

from __future__ import annotations

from functools import cache

import av
import cv2
import numpy as np

from vision.media import VideoStream

VERSION = 1
"""Raise it when the same frame would give other pixels."""
SIDE = 224
SHORT_SIDE = 256
"""Scaled to this, then SIDE cut out: the geometry that the Kinetics networks were trained with."""
LONGEST_LINEAR_STEP = 1.5
_LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
"""The weights of red and blue by AVColorSpace."""
_BT601 = (0.299, 0.114)
_FULL_RANGE = 2
_NOT_YUV = {0, 8, 14, 15, 16}
"""AVColorSpace of planes that are RGB, YCgCo, ICtCp or the like."""


def scaled_size(video: VideoStream, short_side: int) -> tuple[int, int]:
    """Width and height of the picture as shown when its shorter side is `short_side`."""
    width, height = video.display_size
    scale = short_side / min(width, height)
    return max(round(width * scale), short_side), max(round(height * scale), short_side)


def upright(frame: av.VideoFrame, video: VideoStream, short_side: int) -> np.ndarray:
    """uint8 [height, width, 3]: the whole frame as shown, scaled so that its shorter side is `short_side`."""
    width, height = scaled_size(video, short_side)
    if video.rotation % 180:
        width, height = height, width
    scaled = frame.reformat(width, height, format="rgb24", interpolation="BILINEAR").to_ndarray()
    return np.rot90(scaled, video.rotation // 90)


def middle(frame: av.VideoFrame, video: VideoStream, side: int) -> np.ndarray:
    """uint8 [side, side, 3] RGB: the middle of the frame as shown, SIDE / SHORT_SIDE of its shorter side."""
    depth = _depth(frame)
    if depth is None:
        packed = frame.reformat(format="rgb24")
        plane = packed.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        image = rows[: plane.height, : 3 * plane.width].reshape(plane.height, plane.width, 3)
        square = _square(image, frame, video.pixel_aspect, side)
    else:
        planes = [
            _square(_samples(plane, depth), frame, video.pixel_aspect, side) for plane in frame.planes[:3]
        ]
        full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
        square = cv2.transform(cv2.merge(planes), _to_rgb(frame.colorspace, full, depth))
        if depth > 8:
            square = np.minimum(square, 255).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(square, video.rotation // 90))


def _depth(frame: av.VideoFrame) -> int | None:
    """Bits of a sample where the frame is planes of Y, U and V that can be read as they lie, else None."""
    form = frame.format
    parts = form.components
    readable = form.is_planar and not form.is_rgb and not form.is_big_endian and len(parts) >= 3
    if not readable or len(frame.planes) < 3 or frame.colorspace in _NOT_YUV or parts[0].bits > 16:
        return None
    return parts[0].bits


def _samples(plane: av.video.plane.VideoPlane, depth: int) -> np.ndarray:
    """[height, width] of a plane, without copying."""
    kind = np.dtype(np.uint8 if depth == 8 else "<u2")
    rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
    return rows[: plane.height, : plane.width]


def _square(image: np.ndarray, frame: av.VideoFrame, aspect: float, side: int) -> np.ndarray:
    """[side, side, ...]: the middle of a plane of the frame as it is coded, whose pixels are `aspect` wide."""
    shown = min(frame.width * aspect, frame.height) * SIDE / SHORT_SIDE
    height, width = image.shape[:2]
    high, wide = shown * height / frame.height, shown / aspect * width / frame.width
    if min(high, wide) < side:
        steps = np.array([wide, high]) / side
        first = np.array([width - wide, height - high]) / 2 + steps / 2 - 0.5
        return cv2.warpAffine(
            image, np.column_stack([np.diag(steps), first]), (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
    rows, columns = _centred(high, height, side), _centred(wide, width, side)
    return _shrunk(image[rows, columns], side)


def _centred(length: float, whole: int, side: int) -> slice:
    """About `length` places right in the middle of `whole`, so many that they halve without remainder near to `side`."""
    unit = max(1 << int(np.log2(length / side)), 2)
    odd = whole % 2 if length < 2 * side else 0
    kept = round((length - odd) / unit) * unit + odd
    return slice((whole - kept) // 2, (whole - kept) // 2 + kept)


def _shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """[side, side, ...] of what is not smaller."""
    while max(image.shape[:2]) >= 2 * side:
        height, width = (size // 2 if size >= 2 * side else size for size in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    coarse = max(image.shape[:2]) > LONGEST_LINEAR_STEP * side
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if coarse else cv2.INTER_LINEAR)


@cache
def _to_rgb(colorspace: int, full: bool, depth: int) -> np.ndarray:
    """float32 [3, 4] that takes Y, U, V and 1 to R, G, B of 0 to 255."""
    red, blue = _LUMA.get(colorspace, _BT601)
    green = 1 - red - blue
    unit = 1 << (depth - 8)
    black, luma, chroma = (
        (0, (256 * unit - 1), (256 * unit - 1)) if full else (16 * unit, 219 * unit, 224 * unit)
    )
    matrix = np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * (1 - blue) * blue / green, -2 * (1 - red) * red / green],
            [1, 2 * (1 - blue), 0],
        ]
    ) * (255 / np.array([luma, chroma, chroma]))
    offset = matrix @ -np.array([black, 128 * unit, 128 * unit])
    return np.hstack([matrix, offset[:, None]]).astype(np.float32)
