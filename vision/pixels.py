"""Pixels: a decoded frame as RGB in its display orientation, cropped and scaled.

`center_crop` makes the frames of clips: the central square of the frame, 7/8 of its shorter side. It crops first and
works on the planes that the decoder gives, so that nothing is scaled or converted that is cut away, and colours are
converted at the small size only. Scaling halves the size by means of 2 x 2 pixels while that fits; the last step, by less
than 3/2, is linear, or a mean over areas where it would be larger.

Colours follow the stream's own matrix and range. A stream that names no matrix has BT.601's, as in FFmpeg and decord.
HDR becomes SDR (`vision.hdr`).
"""

from __future__ import annotations

from functools import cache

import av
import cv2
import numpy as np

from vision.clips import SIDE
from vision.hdr import to_sdr
from vision.media import VideoStream

VERSION = 1
"""Raise it when the same frame would give other pixels: it is part of the features' address."""
SHORT_SIDE = 256
"""The Kinetics networks were trained on frames scaled to this shorter side, of which SIDE x SIDE was cropped."""
MAX_LINEAR_SCALE = 1.5
"""A linear filter reads two pixels a side, so a larger step would skip pixels and alias."""
_LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
"""AVColorSpace -> the luma weights of red and blue."""
_BT601 = (0.299, 0.114)
_FULL_RANGE = 2
_NOT_YUV = {0, 8, 14, 15, 16}
"""AVColorSpace of RGB, YCgCo, ICtCp and the like."""


def scaled_size(video: VideoStream, short_side: int) -> tuple[int, int]:
    """Width and height of the picture on display when its shorter side is `short_side`."""
    width, height = video.display_size
    scale = short_side / min(width, height)
    return max(round(width * scale), short_side), max(round(height * scale), short_side)


def to_display_orientation(frame: av.VideoFrame, video: VideoStream, short_side: int) -> np.ndarray:
    """uint8 [height, width, 3] RGB: the whole frame, rotated for display, its shorter side scaled to `short_side`."""
    width, height = scaled_size(video, short_side)
    if video.rotation % 180:  # scaled as it is coded, then rotated
        width, height = height, width
    if video.hdr:
        deep = frame.reformat(width, height, format="rgb48le", interpolation="BILINEAR").to_ndarray()
        scaled = to_sdr(deep.astype(np.float32) / 65535, video.hdr)
    else:
        scaled = frame.reformat(width, height, format="rgb24", interpolation="BILINEAR").to_ndarray()
    return np.rot90(scaled, video.rotation // 90)


def center_crop(frame: av.VideoFrame, video: VideoStream, side: int) -> np.ndarray:
    """uint8 [side, side, 3] RGB: the central square, SIDE / SHORT_SIDE of the frame's shorter side, rotated for display."""
    bits = _yuv_bit_depth(frame)
    if bits is None:
        rgb = frame.reformat(format="rgb24")
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        image = rows[: plane.height, : 3 * plane.width].reshape(plane.height, plane.width, 3)
        square = _crop_and_scale(image, frame, video.pixel_aspect, side)
    else:
        planes = [
            _crop_and_scale(_plane_array(plane, bits), frame, video.pixel_aspect, side)
            for plane in frame.planes[:3]
        ]
        full_range = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
        merged, matrix = cv2.merge(planes), _yuv_to_rgb(frame.colorspace, full_range, bits)
        if video.hdr:
            square = to_sdr(cv2.transform(merged.astype(np.float32), matrix) / 255, video.hdr)
        else:
            square = cv2.transform(merged, matrix)
        if bits > 8 and not video.hdr:  # 16-bit arrays, which cv2.transform does not clip at 255
            square = np.minimum(square, 255).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(square, video.rotation // 90))


def _yuv_bit_depth(frame: av.VideoFrame) -> int | None:
    """Bits of a sample where the frame has planes of Y, U and V that numpy can read in place, else None."""
    layout = frame.format
    components = layout.components
    is_readable = layout.is_planar and not layout.is_rgb and not layout.is_big_endian and len(components) >= 3
    if not is_readable or len(frame.planes) < 3 or frame.colorspace in _NOT_YUV or components[0].bits > 16:
        return None
    return components[0].bits


def _plane_array(plane: av.video.plane.VideoPlane, bits: int) -> np.ndarray:
    """[height, width] of a plane, without copying."""
    dtype = np.dtype(np.uint8 if bits == 8 else "<u2")
    rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
    return rows[: plane.height, : plane.width]


def _crop_and_scale(image: np.ndarray, frame: av.VideoFrame, aspect: float, side: int) -> np.ndarray:
    """[side, side, ...]: the central square of one plane of the frame as coded, whose pixels are `aspect` wide."""
    shown = min(frame.width * aspect, frame.height) * SIDE / SHORT_SIDE
    height, width = image.shape[:2]
    # In the plane's own samples, which subsampling of colour and wide pixels make fewer than the frame's.
    crop_height = shown * height / frame.height
    crop_width = shown / aspect * width / frame.width
    if min(crop_height, crop_width) < side:
        # Enlarging: sample positions may lie between pixels, so nothing has to be rounded.
        steps = np.array([crop_width, crop_height]) / side
        first = np.array([width - crop_width, height - crop_height]) / 2 + steps / 2 - 0.5
        return cv2.warpAffine(
            image, np.column_stack([np.diag(steps), first]), (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
    rows, columns = _central_slice(crop_height, height, side), _central_slice(crop_width, width, side)
    return _downscale(image[rows, columns], side)


def _central_slice(length: float, whole: int, side: int) -> slice:
    """The central `length` pixels of `whole`, rounded to a length that halves without remainder down to about `side`."""
    unit = max(1 << int(np.log2(length / side)), 2)
    # An odd rest on one side only would move the centre by half a pixel, which shows where no halving follows.
    odd = whole % 2 if length < 2 * side else 0
    kept = round((length - odd) / unit) * unit + odd
    return slice((whole - kept) // 2, (whole - kept) // 2 + kept)


def _downscale(image: np.ndarray, side: int) -> np.ndarray:
    """[side, side, ...] of an image that is not smaller."""
    while max(image.shape[:2]) >= 2 * side:
        height, width = (size // 2 if size >= 2 * side else size for size in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    filter_ = cv2.INTER_AREA if max(image.shape[:2]) > MAX_LINEAR_SCALE * side else cv2.INTER_LINEAR
    return cv2.resize(image, (side, side), interpolation=filter_)


@cache
def _yuv_to_rgb(colorspace: int, full_range: bool, bits: int) -> np.ndarray:
    """float32 [3, 4]: the affine map of (Y, U, V, 1) to R, G, B in 0 to 255, by ITU-R BT.601, BT.709 and BT.2020."""
    red, blue = _LUMA.get(colorspace, _BT601)
    green = 1 - red - blue
    unit = 1 << (bits - 8)
    if full_range:
        black, luma, chroma = 0, 256 * unit - 1, 256 * unit - 1
    else:
        black, luma, chroma = 16 * unit, 219 * unit, 224 * unit
    matrix = np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * (1 - blue) * blue / green, -2 * (1 - red) * red / green],
            [1, 2 * (1 - blue), 0],
        ]
    ) * (255 / np.array([luma, chroma, chroma]))
    offset = matrix @ -np.array([black, 128 * unit, 128 * unit])
    return np.hstack([matrix, offset[:, None]]).astype(np.float32)
