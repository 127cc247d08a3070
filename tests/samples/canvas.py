"""Owns drawing: a painter that makes shaded sprites, and the pasting of a sprite under a moving camera.

Lengths are units of the finished picture (320 × 240). Colours are (red, green, blue), 0 to 255.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

WIDTH, HEIGHT = 320, 240
SPRITE_SCALE = 2  # sprite pixels per unit
SUPERSAMPLE = 2  # painter pixels per sprite pixel
PAINT_SCALE = SPRITE_SCALE * SUPERSAMPLE
SUBPIXEL_BITS = 4

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Sprite:
    """Premultiplied picture `[height, width, 4]` uint8 at SPRITE_SCALE, and its anchor in units."""

    pixels_hw4: np.ndarray
    anchor: Point


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from: `zoom` about the middle, then a shift of `dx`, `dy` units."""

    zoom: float = 1.0
    dx: float = 0.0
    dy: float = 0.0


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """`colour` with `share` (0 to 1) of `other` in it."""
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))


def closed_curve(points: list[Point], steps: int = 12) -> list[Point]:
    """A smooth closed line through the points (Catmull-Rom)."""
    knots = np.array(points, dtype=np.float64)
    before, after, beyond = np.roll(knots, 1, 0), np.roll(knots, -1, 0), np.roll(knots, -2, 0)
    curve = []
    for p0, p1, p2, p3 in zip(before, knots, after, beyond, strict=True):
        for u in np.arange(steps) / steps:
            a = 2 * p1 + (p2 - p0) * u + (2 * p0 - 5 * p1 + 4 * p2 - p3) * u**2
            curve.append(tuple((a + (3 * p1 - p0 - 3 * p2 + p3) * u**3) / 2))
    return curve


class Painter:
    """Draws on a transparent sheet; (0, 0) is the anchor of the sprite to be."""

    def __init__(self, left: float, top: float, right: float, bottom: float) -> None:
        size = (math.ceil((bottom - top) * PAINT_SCALE), math.ceil((right - left) * PAINT_SCALE))
        self.origin = np.array([left, top])
        self.anchor = (-left, -top)
        self.rgb = np.zeros((*size, 3), np.uint8)
        self.alpha = np.zeros(size, np.uint8)

    def _fixed(self, points: list[Point]) -> np.ndarray:
        scaled = (np.array(points, dtype=np.float64) - self.origin) * PAINT_SCALE
        return np.round(scaled * (1 << SUBPIXEL_BITS)).astype(np.int32)[None]

    def polygon(self, points: list[Point], colour: Colour, on_paint: float = 0.0) -> None:
        """Fill a polygon; with `on_paint` it only tints (that share) what is painted already."""
        corners = self._fixed(points)
        if not on_paint:
            cv2.fillPoly(self.rgb, corners, colour, cv2.LINE_8, SUBPIXEL_BITS)
            cv2.fillPoly(self.alpha, corners, 255, cv2.LINE_8, SUBPIXEL_BITS)
            return
        mask = np.zeros_like(self.alpha)
        cv2.fillPoly(mask, corners, 255, cv2.LINE_8, SUBPIXEL_BITS)
        where = (mask > 0) & (self.alpha > 0)
        tinted = self.rgb[where] * (1 - on_paint) + np.array(colour) * on_paint
        self.rgb[where] = np.round(tinted).astype(np.uint8)

    def blob(self, points: list[Point], colour: Colour, on_paint: float = 0.0) -> None:
        """Fill a smooth closed curve through the points."""
        self.polygon(closed_curve(points), colour, on_paint)

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        colour: Colour,
        angle: float = 0.0,
        on_paint: float = 0.0,
    ) -> None:
        """Fill an ellipse turned by `angle` degrees."""
        turn = np.arange(64) / 64 * 2 * math.pi
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        px, py = rx * np.cos(turn), ry * np.sin(turn)
        self.polygon(list(zip(x + px * c - py * s, y + px * s + py * c, strict=True)), colour, on_paint)

    def line(self, points: list[Point], colour: Colour, width: float, inside: bool = False) -> None:
        """An open line; `inside` keeps it within what is painted already."""
        kept = self.alpha.copy()
        thick = max(1, round(width * PAINT_SCALE))
        for sheet, value in ((self.rgb, colour), (self.alpha, 255)):
            cv2.polylines(sheet, self._fixed(points), False, value, thick, cv2.LINE_8, SUBPIXEL_BITS)
        if inside:
            self.alpha = kept

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Fill a rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def finish(self, round_by: float = 0.0, edge: Colour | None = None, edge_width: float = 1.6) -> Sprite:
        """The sprite: rounded by shading over `round_by` units from its rim, with a drawn edge."""
        rgb, alpha = self.rgb.astype(np.float32), self.alpha
        if round_by:
            rim = cv2.distanceTransform(alpha, cv2.DIST_L2, 5) / (round_by * PAINT_SCALE)
            height, width = alpha.shape
            slope = np.linspace(0.1, -0.12, height)[:, None] + np.linspace(0.06, -0.06, width)[None]
            light = 0.72 + 0.3 * np.sqrt(np.clip(rim, 0, 1)) + slope
            rgb = np.clip(rgb * light[..., None].astype(np.float32), 0, 255)
        if edge is not None:
            reach = 2 * round(edge_width * PAINT_SCALE) + 1
            grown = cv2.dilate(alpha, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
            rgb[(grown > 0) & (alpha == 0)] = edge
            alpha = grown
        sheet = np.dstack([rgb * (alpha[..., None] / np.float32(255)), alpha.astype(np.float32)])
        size = (alpha.shape[1] // SUPERSAMPLE, alpha.shape[0] // SUPERSAMPLE)
        small = cv2.resize(sheet, size, interpolation=cv2.INTER_AREA)
        return Sprite(np.round(small).astype(np.uint8), self.anchor)


def strips(sprite: Sprite, count: int) -> list[tuple[Sprite, float]]:
    """The sprite cut into upright strips, each with its middle's distance from the old anchor."""
    used = np.flatnonzero(sprite.pixels_hw4[..., 3].any(axis=0))
    cuts = np.linspace(used[0], used[-1] + 1, count + 1).astype(int)
    pieces = []
    for left, right in zip(cuts[:-1], cuts[1:], strict=True):
        middle = (left + right) / 2 / SPRITE_SCALE
        pixels = np.ascontiguousarray(sprite.pixels_hw4[:, left:right])
        pieces.append(
            (Sprite(pixels, (middle - left / SPRITE_SCALE, sprite.anchor[1])), middle - sprite.anchor[0])
        )
    return pieces


def paste(
    frame_hw3: np.ndarray,
    sprite: Sprite,
    x: float,
    y: float,
    camera: Camera,
    angle: float = 0.0,
    stretch: Point = (1.0, 1.0),
    opacity: float = 1.0,
) -> None:
    """Lay the sprite on the frame with its anchor at (x, y), turned clockwise by `angle` degrees."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[c * stretch[0], -s * stretch[1]], [s * stretch[0], c * stretch[1]]]) * camera.zoom
    place = np.array(
        [
            (x - WIDTH / 2) * camera.zoom + WIDTH / 2 + camera.dx,
            (y - HEIGHT / 2) * camera.zoom + HEIGHT / 2 + camera.dy,
        ]
    )
    height, width = sprite.pixels_hw4.shape[:2]
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) / SPRITE_SCALE - sprite.anchor
    seen = corners @ turn.T + place
    x0, y0 = np.maximum(np.floor(seen.min(axis=0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(seen.max(axis=0)).astype(int) + 1, (WIDTH, HEIGHT))
    if x0 >= x1 or y0 >= y1:
        return
    linear = turn / SPRITE_SCALE
    shift = place - turn @ np.array(sprite.anchor) - (x0, y0)
    matrix = np.hstack([linear, shift[:, None]])
    warped = cv2.warpAffine(sprite.pixels_hw4, matrix, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR)
    under = frame_hw3[y0:y1, x0:x1].astype(np.uint16)
    if opacity < 1:
        warped = (warped * np.float32(opacity)).astype(np.uint8)
    keep = 255 - warped[..., 3:].astype(np.uint16)
    frame_hw3[y0:y1, x0:x1] = np.minimum(warped[..., :3] + (under * keep + 127) // 255, 255).astype(np.uint8)
