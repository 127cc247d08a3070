"""Owns the things of the drawn kitchen: how each is drawn, and the colours of its corner."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from canvas import Colour, Painter, Sprite, closed_curve, mix

WHITE = (255, 255, 255)
LEAF = (58, 148, 62)


def carrot(p: Painter) -> None:
    for angle, length in ((-34, 34), (-12, 44), (10, 42), (32, 34)):
        c, s = math.cos(math.radians(180 + angle)), math.sin(math.radians(180 + angle))
        p.ellipse(
            -52 + c * length / 2,
            s * length / 2,
            length / 2,
            8,
            mix(LEAF, (20, 90, 40), abs(angle) / 60),
            angle,
        )
    p.blob(
        [(-56, -22), (-62, 0), (-56, 22), (-20, 25), (30, 17), (84, 3), (84, -3), (30, -17), (-20, -25)],
        (243, 126, 24),
    )
    for x, y, half in ((-38, -8, 9), (-16, 10, 10), (4, -7, 8), (24, 6, 7), (44, -2, 5)):
        p.line([(x, y - half), (x + 2, y + half)], (205, 92, 12), 1.8, inside=True)
    p.ellipse(-8, -13, 42, 4, (255, 190, 110), 4, on_paint=0.6)


def tomato(p: Painter) -> None:
    p.blob(
        [
            (0, -48),
            (38, -50),
            (62, -20),
            (60, 18),
            (34, 48),
            (0, 54),
            (-34, 48),
            (-60, 18),
            (-62, -20),
            (-38, -50),
        ],
        (222, 36, 30),
    )
    p.ellipse(-30, -12, 13, 19, (255, 170, 150), 30, on_paint=0.65)
    for k in range(5):
        angle = math.radians(-90 + 72 * k + 16)
        tip = (math.cos(angle) * 34, -44 + math.sin(angle) * 17)
        side = (math.cos(angle + 0.9) * 9, -44 + math.sin(angle + 0.9) * 6)
        other = (math.cos(angle - 0.9) * 9, -44 + math.sin(angle - 0.9) * 6)
        p.polygon([side, tip, other, (0, -44)], LEAF)
    p.line([(0, -44), (3, -62)], (48, 120, 52), 6)


def egg(p: Painter) -> None:
    p.blob(
        [
            (0, -62),
            (28, -46),
            (44, -8),
            (44, 22),
            (24, 50),
            (0, 56),
            (-24, 50),
            (-44, 22),
            (-44, -8),
            (-28, -46),
        ],
        (252, 240, 222),
    )
    p.ellipse(-16, -20, 10, 20, WHITE, 18, on_paint=0.9)
    for k in range(14):
        p.ellipse(34 * math.sin(k * 2.4), -30 + k * 6, 1.6, 1.6, (222, 190, 160), on_paint=0.7)


def cabbage(p: Painter) -> None:
    ring = [
        (math.cos(a) * (62 + 6 * math.sin(5 * a)), math.sin(a) * (54 + 5 * math.cos(7 * a)))
        for a in np.arange(40) / 40 * 2 * math.pi
    ]
    p.blob(ring, (112, 176, 74))
    for dx, dy, size, colour in (
        (-18, 12, 46, (140, 198, 92)),
        (20, 6, 42, (158, 210, 106)),
        (0, -6, 34, (188, 226, 138)),
    ):
        leaf = [
            (
                dx + math.cos(a) * (size + 4 * math.sin(6 * a)),
                dy + math.sin(a) * (size * 0.86 + 4 * math.cos(5 * a)),
            )
            for a in np.arange(32) / 32 * 2 * math.pi
        ]
        p.blob(leaf, colour)
        p.line([*closed_curve(leaf, 3), leaf[0]], (92, 150, 60), 1.6)
    for k in range(7):
        angle = math.radians(-170 + 27 * k)
        p.line(
            [
                (0, 40),
                (math.cos(angle) * 22, 6 + math.sin(angle) * 22),
                (math.cos(angle) * 52, math.sin(angle) * 44),
            ],
            (232, 246, 200),
            2.2,
            inside=True,
        )


def onion(p: Painter) -> None:
    p.blob(
        [
            (0, -66),
            (7, -46),
            (34, -34),
            (58, -2),
            (44, 36),
            (0, 52),
            (-44, 36),
            (-58, -2),
            (-34, -34),
            (-7, -46),
        ],
        (150, 50, 130),
    )
    for k in range(-4, 5):
        bend = k * 14.5
        p.line(
            [(k * 1.2, -60), (bend * 0.6, -32), (bend, 2), (bend * 0.7, 34), (0, 52)],
            (196, 112, 180),
            2,
            inside=True,
        )
    for k in range(-3, 4):
        p.line([(k * 2, 50), (k * 6, 64)], (224, 202, 160), 1.6)
    p.ellipse(-24, -6, 8, 18, (240, 200, 235), 20, on_paint=0.6)


def banana(p: Painter) -> None:
    p.blob(
        [
            (-80, -36),
            (-70, -42),
            (-54, -10),
            (-18, 16),
            (26, 16),
            (60, -10),
            (76, -40),
            (86, -36),
            (78, 4),
            (44, 42),
            (-6, 52),
            (-52, 28),
        ],
        (250, 214, 44),
    )
    p.line([(-72, -34), (-52, 4), (-14, 32), (28, 32), (62, 6), (78, -34)], (214, 168, 24), 2.4, inside=True)
    p.blob([(-82, -38), (-76, -50), (-68, -46), (-70, -34)], (96, 66, 30))
    p.blob([(76, -38), (80, -48), (88, -44), (85, -34)], (96, 66, 30))
    for x, y in ((-30, 30), (6, 40), (34, 28), (52, 12)):
        p.ellipse(x, y, 3.4, 2, (140, 96, 30), 20, on_paint=0.7)


def fish(p: Painter) -> None:
    p.polygon([(44, 0), (88, -36), (78, 0), (88, 36)], (60, 116, 176))
    p.polygon([(-20, -30), (10, -54), (34, -22)], (60, 116, 176))
    p.blob(
        [(-82, 4), (-58, -24), (-14, -36), (34, -18), (58, 0), (34, 18), (-14, 34), (-58, 24)],
        (132, 184, 220),
    )
    p.blob(
        [(-78, 10), (-40, 18), (10, 14), (48, 4), (20, 24), (-16, 33), (-56, 26)],
        (230, 240, 246),
        on_paint=0.8,
    )
    for row in range(3):
        for k in range(6):
            x, y = -28 + k * 13 + row % 2 * 6, -18 + row * 14
            p.line([(x, y), (x + 6, y + 5), (x, y + 11)], (74, 126, 176), 1.4, inside=True)
    p.line([(-46, -22), (-38, 0), (-46, 24)], (60, 100, 150), 2, inside=True)
    p.ellipse(-62, -6, 7, 7, WHITE)
    p.ellipse(-62, -6, 4, 4, (20, 30, 40))


def bread(p: Painter) -> None:
    p.blob(
        [
            (-78, 32),
            (-82, 0),
            (-66, -30),
            (-30, -42),
            (20, -44),
            (62, -32),
            (82, -2),
            (78, 32),
            (30, 38),
            (-30, 38),
        ],
        (190, 120, 54),
    )
    for x in (-46, -12, 22, 54):
        p.blob([(x - 14, -12), (x + 2, -36), (x + 10, -34), (x - 2, -6), (x - 10, 6)], (242, 208, 144))
    p.ellipse(0, 30, 70, 7, (120, 70, 30), on_paint=0.4)


def cheese(p: Painter) -> None:
    p.polygon([(-76, 2), (60, -52), (80, -10), (80, 6)], (255, 226, 110))
    p.polygon([(-76, 2), (80, -8), (80, 46), (-76, 46)], (246, 196, 50))
    for x, y, r in ((-48, 26, 9), (-16, 14, 6), (6, 34, 10), (40, 12, 8), (60, 34, 6), (30, -16, 6)):
        p.ellipse(x, y, r, r * 0.85, (204, 148, 24))
        p.ellipse(x + 1.5, y + 1.5, r * 0.7, r * 0.6, (226, 170, 36))


def mushroom(p: Painter) -> None:
    p.blob([(-20, 0), (-16, 34), (-24, 60), (24, 60), (16, 34), (20, 0)], (240, 226, 204))
    p.blob(
        [
            (-74, 2),
            (-66, -28),
            (-36, -54),
            (0, -62),
            (36, -54),
            (66, -28),
            (74, 2),
            (40, 14),
            (0, 16),
            (-40, 14),
        ],
        (150, 88, 62),
    )
    p.ellipse(0, 8, 58, 8, (226, 200, 170))
    for x, y, r in ((-38, -24, 9), (-6, -42, 10), (30, -30, 11), (52, -8, 7), (0, -14, 8), (-54, -4, 6)):
        p.ellipse(x, y, r, r * 0.8, (250, 236, 220))


def potato(p: Painter) -> None:
    p.blob(
        [
            (-72, 6),
            (-62, -30),
            (-22, -44),
            (24, -34),
            (62, -38),
            (78, -2),
            (62, 34),
            (20, 40),
            (-20, 48),
            (-58, 36),
        ],
        (196, 152, 96),
    )
    for k in range(18):
        x, y = -64 + k * 37 % 132, -30 + k * 23 % 64
        p.ellipse(x, y, 3.6, 2.2, (128, 88, 48), k * 40, on_paint=0.8)


def lemon(p: Painter) -> None:
    p.blob(
        [
            (-84, 4),
            (-70, -10),
            (-40, -42),
            (8, -48),
            (50, -30),
            (72, -8),
            (84, 0),
            (72, 12),
            (48, 36),
            (4, 48),
            (-44, 40),
            (-70, 14),
        ],
        (216, 228, 40),
    )
    for k in range(40):
        x, y = 56 * math.sin(k * 2.4), 36 * math.sin(k * 1.7 + 1)
        p.ellipse(x, y, 1.4, 1.4, (172, 184, 20), on_paint=0.7)
    p.ellipse(-22, -20, 24, 8, (250, 252, 180), -20, on_paint=0.7)


@dataclass(frozen=True)
class Thing:
    """One thing: how it is drawn, the colour of its skin and of its inside, and its corner of the kitchen."""

    draw: Callable[[Painter], None]
    skin: Colour
    inside: Colour
    wall: tuple[str, Colour, Colour]
    cloth: tuple[str, Colour, Colour]
    board: tuple[str, Colour]


THINGS = {
    "carrot": Thing(carrot, (243, 126, 24), (255, 176, 92), ("tiles", (150, 206, 214), (226, 244, 246)), ("stripes", (24, 108, 128), (232, 240, 232)), ("plank", (222, 196, 148))),
    "tomato": Thing(tomato, (222, 36, 30), (250, 130, 110), ("bricks", (244, 238, 226), (206, 194, 176)), ("checks", (40, 40, 46), (240, 240, 240)), ("plate", (250, 250, 250))),
    "egg": Thing(egg, (240, 214, 186), (255, 204, 60), ("dots", (26, 54, 122), (86, 128, 206)), ("plain", (32, 70, 150), (32, 70, 150)), ("plate", (60, 110, 200))),
    "cabbage": Thing(cabbage, (112, 176, 74), (220, 242, 180), ("boards", (246, 206, 216), (222, 166, 184)), ("dots", (232, 110, 150), (255, 236, 242)), ("plate", (255, 226, 234))),
    "onion": Thing(onion, (150, 50, 130), (240, 214, 240), ("zigzag", (250, 222, 110), (236, 188, 52)), ("stripes", (246, 178, 30), (255, 240, 190)), ("plank", (134, 82, 44))),
    "banana": Thing(banana, (250, 214, 44), (255, 246, 206), ("boards", (58, 48, 62), (86, 72, 90)), ("checks", (96, 62, 120), (140, 106, 168)), ("plank", (44, 42, 50))),
    "fish": Thing(fish, (132, 184, 220), (250, 200, 190), ("zigzag", (226, 120, 84), (246, 170, 130)), ("plain", (170, 60, 44), (170, 60, 44)), ("plate", (240, 226, 206))),
    "bread": Thing(bread, (190, 120, 54), (250, 226, 178), ("dots", (196, 226, 196), (120, 176, 130)), ("checks", (46, 124, 74), (236, 244, 232)), ("plank", (238, 222, 190))),
    "cheese": Thing(cheese, (246, 196, 50), (255, 236, 150), ("bricks", (150, 74, 66), (190, 120, 108)), ("stripes", (120, 30, 40), (226, 190, 180)), ("plank", (92, 58, 40))),
    "mushroom": Thing(mushroom, (150, 88, 62), (250, 240, 224), ("tiles", (36, 96, 92), (70, 140, 132)), ("dots", (16, 66, 66), (120, 190, 180)), ("plate", (40, 48, 52))),
    "potato": Thing(potato, (196, 152, 96), (250, 232, 170), ("zigzag", (206, 206, 214), (160, 160, 174)), ("plain", (90, 96, 110), (90, 96, 110)), ("plate", (206, 40, 50))),
    "lemon": Thing(lemon, (216, 228, 40), (252, 252, 190), ("tiles", (196, 176, 230), (240, 234, 250)), ("zigzag", (110, 80, 170), (190, 170, 226)), ("plank", (240, 240, 246))),
}  # fmt: skip


def thing_sprite(name: str) -> Sprite:
    """The thing, shaded and outlined, anchored at its middle."""
    painter = Painter(-104, -76, 104, 76)
    THINGS[name].draw(painter)
    return painter.finish(round_by=16, edge=mix(THINGS[name].skin, (20, 10, 20), 0.75))
