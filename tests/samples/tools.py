"""Owns the tools of the drawn kitchen, each in the hand of the video's cook."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from canvas import Camera, Colour, Painter, Sprite, mix

STEEL, DARK_STEEL = (206, 212, 220), (120, 128, 140)
WOOD = (196, 142, 84)
EDGE = (40, 34, 44)
WHITE_SALT = (252, 252, 255)


@dataclass(frozen=True)
class Look:
    """What stays the same within a video: the cook's hand and sleeve, and how the picture is taken."""

    hand: Colour
    sleeve: Colour
    camera: Camera


def _arm(p: Painter, look: Look, x: float, y: float, angle: float) -> None:
    """A fist at (x, y) with its arm going off at `angle` degrees (0 right, 90 down)."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    p.line([(x, y), (x + 44 * c, y + 44 * s)], look.hand, 22)
    p.line([(x + 40 * c, y + 40 * s), (x + 200 * c, y + 200 * s)], look.sleeve, 32)
    p.line(
        [(x + 40 * c - 15 * s, y + 40 * s + 15 * c), (x + 40 * c + 15 * s, y + 40 * s - 15 * c)],
        mix(look.sleeve, (255, 255, 255), 0.5),
        5,
    )
    p.ellipse(x, y, 19, 16, look.hand, angle)
    for k in (-9, -3, 3, 9):
        across, along = k, -9
        fx, fy = x + along * c - across * s, y + along * s + across * c
        p.line([(fx, fy), (fx + 11 * c, fy + 11 * s)], mix(look.hand, (60, 20, 10), 0.3), 1.5, inside=True)


def _tool(look: Look, draw: Callable[[Painter], None], hand: tuple[float, float, float] | None) -> Sprite:
    p = Painter(-200, -200, 200, 200)
    draw(p)
    if hand:
        _arm(p, look, *hand)
    return p.finish(round_by=5, edge=EDGE, edge_width=1.2)


def _knife(p: Painter) -> None:
    p.polygon([(-92, -34), (34, -34), (34, 4), (-40, 6), (-78, -8)], STEEL)
    p.polygon([(-78, -8), (-40, 6), (34, 4), (34, -4), (-44, -2)], (240, 244, 250))
    p.box(34, -32, 92, -12, (60, 40, 36))


def _peeler(p: Painter) -> None:
    p.line([(0, 0), (-26, -24), (-26, 24), (0, 0)], DARK_STEEL, 7)
    p.line([(-26, -26), (-26, 26)], STEEL, 9)
    p.line([(0, 0), (56, -20)], (30, 150, 90), 17)


def _spoon(p: Painter) -> None:
    p.line([(0, 0), (40, -140)], WOOD, 11)
    p.ellipse(-3, 8, 20, 28, WOOD, 16)
    p.ellipse(-3, 6, 12, 19, mix(WOOD, (60, 30, 10), 0.3), 16)


def _shaker(p: Painter) -> None:
    p.polygon([(-26, -58), (26, -58), (20, 2), (-20, 2)], (236, 242, 250))
    p.polygon([(-22, -30), (22, -30), (18, 0), (-18, 0)], WHITE_SALT)
    p.blob([(-22, 0), (22, 0), (16, 20), (-16, 20)], DARK_STEEL)
    for x in (-9, 0, 9):
        p.ellipse(x, 13, 2.4, 2.4, EDGE)


def _pan(p: Painter) -> None:
    p.line([(84, 4), (190, -6)], (40, 40, 44), 17)
    p.ellipse(0, 0, 100, 36, (62, 62, 70))
    p.ellipse(0, -4, 88, 27, (36, 36, 42))
    p.ellipse(-20, -8, 50, 10, (90, 90, 100), on_paint=0.5)


def _press(p: Painter) -> None:
    p.box(-82, -14, 82, 6, STEEL)
    p.box(-82, -2, 82, 6, DARK_STEEL)
    p.line([(-50, -12), (-44, -64), (44, -64), (50, -12)], DARK_STEEL, 9)
    p.box(-14, -100, 14, -60, (206, 40, 60))


def _pin(p: Painter) -> None:
    p.line([(-4, -118), (4, 118)], (150, 92, 48), 15)
    p.line([(-2, -72), (2, 72)], (226, 178, 118), 44)


def _brush(p: Painter) -> None:
    p.line([(0, 0), (90, -84)], (40, 96, 200), 14)
    p.polygon([(14, -26), (26, -14), (-14, 38), (-42, 12)], (246, 230, 196))
    p.polygon([(24, -36), (36, -24), (24, -8), (6, -26)], STEEL)
    for k in range(6):
        p.line([(18 - k * 1.5, -18 + k), (-38 + k * 5, 14 + k * 4.6)], (190, 150, 96), 1.4, inside=True)


def _lid(p: Painter) -> None:
    dome = [(math.cos(a) * 98, -math.sin(a) * 92) for a in np.linspace(0, math.pi, 40)]
    p.polygon(dome, (190, 198, 210))
    p.polygon([(x * 0.8 - 8, y * 0.86) for x, y in dome[22:36]] + [(-40, -20)], (244, 248, 252), on_paint=0.7)
    p.box(-106, -5, 106, 6, DARK_STEEL)
    p.ellipse(0, -98, 13, 11, (30, 30, 36))


def _bowl(p: Painter) -> None:
    p.blob(
        [(-106, -4), (-96, 36), (-52, 64), (52, 64), (96, 36), (106, -4), (60, 15), (0, 20), (-60, 15)],
        (70, 130, 170),
    )
    p.line([(-106, -3), (-60, 16), (0, 21), (60, 16), (106, -3)], (180, 220, 240), 6)


def _bowl_back(p: Painter) -> None:
    p.ellipse(0, 0, 107, 26, (110, 160, 196))
    p.ellipse(0, 3, 98, 21, (110, 50, 26))
    p.ellipse(-24, 0, 40, 5, (170, 96, 60), on_paint=0.8)


def _pot(p: Painter) -> None:
    p.blob(
        [(-108, 0), (-104, 44), (-96, 76), (96, 76), (104, 44), (108, 0), (60, 20), (0, 25), (-60, 20)],
        (176, 186, 198),
    )
    p.line([(-108, 2), (-60, 21), (0, 26), (60, 21), (108, 2)], (236, 240, 246), 6)
    for side in (-1, 1):
        p.line([(side * 102, 26), (side * 124, 26), (side * 124, 40), (side * 102, 40)], DARK_STEEL, 6)


def _pot_back(p: Painter) -> None:
    p.ellipse(0, 0, 110, 32, (150, 160, 172))
    p.ellipse(0, 3, 100, 25, (250, 226, 150))
    p.ellipse(0, 6, 92, 20, (236, 200, 110))


def _tap(p: Painter) -> None:
    p.line([(70, -60), (70, -8), (62, 2), (0, 2)], STEEL, 22)
    p.line([(0, 0), (0, 22)], STEEL, 24)
    p.ellipse(70, -18, 20, 9, (60, 130, 220))


def _burner(p: Painter) -> None:
    p.box(-110, -4, 110, 6, (34, 34, 40))
    for x in (-80, -40, 0, 40, 80):
        p.box(x - 4, -10, x + 4, 26, (34, 34, 40))


TOOLS: dict[str, tuple[Callable[[Painter], None], tuple[float, float, float] | None]] = {
    "knife": (_knife, (74, -22, -18)),
    "peeler": (_peeler, (44, -16, -14)),
    "spoon": (_spoon, (34, -118, -32)),
    "shaker": (_shaker, (12, -44, -28)),
    "pan": (_pan, None),
    "press": (_press, (0, -92, -52)),
    "pin": (_pin, None),
    "brush": (_brush, (74, -70, -30)),
    "lid": (_lid, (0, -106, -44)),
    "bowl": (_bowl, None),
    "bowl back": (_bowl_back, None),
    "pot": (_pot, None),
    "pot back": (_pot_back, None),
    "tap": (_tap, None),
    "burner": (_burner, None),
}


def tools_for(look: Look) -> dict[str, Sprite]:
    """Every tool as this video's cook holds it."""
    return {name: _tool(look, draw, hand) for name, (draw, hand) in TOOLS.items()}
