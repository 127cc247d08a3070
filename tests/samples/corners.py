"""Owns the corner of the kitchen that each thing has: wall, window, counter, cloth and board."""

import math

import cv2
import numpy as np
from canvas import HEIGHT, WIDTH, Camera, Colour, Painter, Sprite, mix, paste
from things import THINGS

COUNTER_TOP = 92  # units from the upper edge


def _pattern(kind: str, ground: Colour, figure: Colour, width: float, height: float, cell: float) -> Sprite:
    p = Painter(0, 0, width, height)
    p.box(0, 0, width, height, ground)
    columns, rows = math.ceil(width / cell), math.ceil(height / cell)
    for row in range(rows):
        for column in range(columns):
            x, y = column * cell, row * cell
            match kind:
                case "tiles":
                    p.box(
                        x + 1,
                        y + 1,
                        x + cell - 1,
                        y + cell - 1,
                        mix(ground, figure, 0.5 + 0.5 * ((row * 7 + column * 3) % 4) / 4),
                    )
                case "bricks":
                    shift = cell / 2 * (row % 2)
                    p.box(
                        x + 1 - shift, y + 1, x + cell - 1 - shift, y + cell * 0.9, mix(figure, ground, 0.6)
                    )
                case "dots":
                    p.ellipse(x + cell / 2 * (1 + row % 2), y + cell / 2, cell * 0.24, cell * 0.24, figure)
                case "checks" if (row + column) % 2:
                    p.box(x, y, x + cell, y + cell, figure)
                case "zigzag":
                    p.line([(x, y), (x + cell / 2, y + cell / 2), (x + cell, y)], figure, cell * 0.2)
                case "boards" if row == 0:
                    p.box(x, 0, x + 2, height, figure)
                case "stripes" if row == 0 and column % 2:
                    p.box(x, 0, x + cell, height, figure)
    return p.finish()


def _board(kind: str, colour: Colour) -> Sprite:
    p = Painter(-120, -60, 120, 60)
    if kind == "plate":
        p.ellipse(0, 0, 112, 46, colour)
        p.ellipse(0, -2, 84, 32, mix(colour, (0, 0, 0), 0.1))
        p.ellipse(0, 0, 80, 30, colour)
    else:
        p.polygon([(-96, -34), (96, -34), (114, 34), (-114, 34)], colour)
        p.polygon([(-114, 34), (114, 34), (114, 44), (-114, 44)], mix(colour, (0, 0, 0), 0.35))
        for k in range(5):
            p.line(
                [(-98 - k * 3, -24 + k * 12), (100 + k * 3, -26 + k * 12)],
                mix(colour, (70, 40, 10), 0.22),
                1.2,
                inside=True,
            )
    return p.finish(edge=mix(colour, (0, 0, 0), 0.55))


def _window() -> Sprite:
    p = Painter(-40, -40, 40, 40)
    p.box(-38, -38, 38, 38, (250, 250, 244))
    p.box(-33, -33, 33, 33, (150, 206, 246))
    p.ellipse(-14, 34, 30, 22, (110, 180, 96), on_paint=1)
    p.ellipse(20, 36, 26, 18, (84, 160, 84), on_paint=1)
    p.ellipse(16, -14, 9, 9, (255, 226, 110))
    p.box(-2, -38, 2, 38, (250, 250, 244))
    p.box(-38, -2, 38, 2, (250, 250, 244))
    return p.finish(edge=(150, 140, 130))


def corner(name: str, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """The still picture `[240, 320, 3]` uint8 behind the thing: wall, window, counter, cloth and board."""
    thing = THINGS[name]
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    margin = 40
    kind, ground, figure = thing.wall
    wall = _pattern(kind, ground, figure, WIDTH + 2 * margin, COUNTER_TOP + margin + 4, 26)
    paste(frame, wall, -margin + rng.uniform(-6, 6), -margin, camera)
    paste(frame, _window(), 22 + rng.uniform(-4, 4), 40, camera)
    kind, ground, figure = thing.cloth
    cloth = _pattern(kind, ground, figure, WIDTH + 2 * margin, HEIGHT + margin - COUNTER_TOP, 22)
    paste(frame, cloth, -margin + rng.uniform(-6, 6), COUNTER_TOP, camera)
    edge = Painter(0, 0, WIDTH + 2 * margin, 7)
    edge.box(0, 0, WIDTH + 2 * margin, 7, mix(ground, (0, 0, 0), 0.45))
    paste(frame, edge.finish(), -margin, COUNTER_TOP - 3, camera)
    paste(frame, _board(*thing.board), WIDTH / 2, 178, camera)
    grain = cv2.GaussianBlur(rng.normal(0, 5, (HEIGHT, WIDTH, 1)).astype(np.float32), (0, 0), 1.2)
    return np.clip(frame + grain[..., None], 0, 255).astype(np.uint8)
