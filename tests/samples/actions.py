"""Owns the actions of the drawn kitchen: each one is a large motion of its own tool upon the thing."""

import math
from collections.abc import Callable

import numpy as np
from canvas import Colour, Painter, Sprite, paste, strips
from things import THINGS, thing_sprite
from tools import WHITE_SALT, Look

REST = 192.0  # where the underside of a thing rests, units from the upper edge
SHREDS = 26
FLAME = [(0, -40), (13, -12), (15, 6), (0, 16), (-15, 6), (-13, -12)]


def _shape(draw: Callable[[Painter], None], reach: float = 24, round_by: float = 0) -> Sprite:
    p = Painter(-reach, -reach, reach, reach)
    draw(p)
    return p.finish(round_by)


def _peeled(thing: Sprite, inside: Colour) -> Sprite:
    pixels = thing.pixels_hw4.copy()
    rows, columns = np.indices(pixels.shape[:2])
    bare = ((rows - 0.35 * columns + 6 * np.sin(columns / 17)) % 52 < 30) & (pixels[..., 3] == 255)
    shaded = pixels[..., :3].max(axis=2, keepdims=True) / max(1, pixels[..., :3].max())
    pixels[..., :3][bare] = (np.array(inside) * (0.55 + 0.45 * shaded))[bare].astype(np.uint8)
    return Sprite(pixels, thing.anchor)


class Stage:
    """One step being filmed: the still corner behind, the thing, the tools, and chance that is fixed."""

    def __init__(
        self,
        still_hw3: np.ndarray,
        thing: str,
        look: Look,
        tools: dict[str, Sprite],
        rng: np.random.Generator,
    ) -> None:
        self.still_hw3, self.look, self.tools = still_hw3, look, tools
        self.thing = thing_sprite(thing)
        self.colours = THINGS[thing]
        self.pieces = strips(self.thing, 6)
        self.peeled = _peeled(self.thing, self.colours.inside)
        rows = np.flatnonzero(self.thing.pixels_hw4[..., 3].any(axis=1))
        self.lower = rows[-1] / 2 - self.thing.anchor[1]
        self.upper = rows[0] / 2 - self.thing.anchor[1]
        self.x = 160 + rng.uniform(-4, 4)
        self.y = REST - self.lower + rng.uniform(-3, 3)
        self.tilt = rng.uniform(-4, 4)
        self.speed = rng.uniform(0.94, 1.06)
        self.phase = rng.uniform(0, 1)
        self.chance = rng.uniform(0, 1, (SHREDS * 4, 4))
        skin, inside = self.colours.skin, self.colours.inside
        self.bits = {
            "drop": _shape(lambda p: p.blob([(0, -9), (5, 2), (0, 7), (-5, 2)], (196, 230, 255))),
            "sauce drop": _shape(lambda p: p.blob([(0, -9), (5, 2), (0, 7), (-5, 2)], (110, 50, 26))),
            "grain": _shape(lambda p: p.ellipse(0, 0, 3, 3, WHITE_SALT)),
            "curl": _shape(lambda p: p.line([(-14, 8), (-10, -6), (2, -9), (12, -2), (9, 8), (2, 6)], skin, 7), round_by=3),
            "chunk": _shape(lambda p: (p.ellipse(0, 0, 11, 10, skin), p.ellipse(-1, -1, 8, 7, inside)), round_by=3),
            "steam": _shape(lambda p: p.ellipse(0, 0, 19, 19, (250, 250, 250))),
            "flame": _shape(lambda p: (p.blob(FLAME, (250, 110, 20)), p.blob([(x * 0.55, y * 0.55 + 5) for x, y in FLAME], (255, 226, 90))), 44),
            "shine": _shape(lambda p: p.ellipse(0, 0, 40, 15, (255, 214, 90)), 44),
        }  # fmt: skip
        self.frame_hw3 = still_hw3

    def beat(self, t: float, period: float) -> float:
        """How far the motion is through its period at `t` seconds, 0 to 1."""
        return (t * self.speed / period + self.phase) % 1.0

    def put(
        self,
        sprite: Sprite,
        x: float,
        y: float,
        angle: float = 0.0,
        stretch: tuple[float, float] = (1.0, 1.0),
        opacity: float = 1.0,
    ) -> None:
        """Paste under this video's camera."""
        paste(self.frame_hw3, sprite, x, y, self.look.camera, angle, stretch, opacity)

    def show(
        self, dx: float = 0.0, dy: float = 0.0, angle: float = 0.0, stretch: tuple[float, float] = (1.0, 1.0)
    ) -> None:
        """The thing itself, moved from where it rests."""
        self.put(self.thing, self.x + dx, self.y + dy, self.tilt + angle, stretch)

    def fall(
        self, bit: str, t: float, x: float, y: float, wide: float, down: float, count: int, period: float
    ) -> None:
        """Small parts that fall from around (x, y), `wide` to each side, `down` units in a period."""
        for a, b, c, d in self.chance[:count]:
            u = (t * self.speed / period + a) % 1.0
            self.put(
                self.bits[bit],
                x + (2 * b - 1) * wide * (0.4 + 0.6 * u),
                y + down * u * (0.5 + 0.5 * u),
                360 * (c + u * (d - 0.5)),
            )

    def rise(self, t: float, count: int = 7) -> None:
        """Puffs of steam above the thing."""
        for a, b, _, d in self.chance[:count]:
            u = (t * 0.6 + a) % 1.0
            self.put(
                self.bits["steam"],
                self.x + (2 * b - 1) * 60,
                120 - 100 * u,
                0,
                (0.5 + u, 0.5 + u),
                0.5 * (1 - u) * (0.5 + d / 2),
            )


def wash(s: Stage, t: float) -> None:
    u = s.beat(t, 0.75)
    s.show(9 * math.sin(2 * math.pi * u), 0, 7 * math.sin(2 * math.pi * u))
    p = Painter(-44, 0, 44, 160)
    p.polygon([(-26, 0), (26, 0), (36, 160), (-36, 160)], (120, 190, 250))
    for k in range(9):
        x = -28 + k * 7
        for j in range(4):
            y = (s.chance[k, 0] * 44 + j * 44 + t * 300) % 176 - 16
            p.line([(x * 0.95, y), (x, y + 20)], (232, 246, 255), 3, inside=True)
    s.put(p.finish(), s.x, 28, opacity=0.72)
    s.put(s.tools["tap"], s.x, 6)
    for a, b, c, _ in s.chance[:34]:
        v = (t * s.speed / 0.6 + a) % 1.0
        side = 1 if b > 0.5 else -1
        s.put(
            s.bits["drop"],
            s.x + side * (20 + 95 * c * v),
            s.y + s.upper + 26 - 110 * c * v * (1 - v) * 2 + 110 * v * v,
            side * 60 * (1 - v),
            (1.2, 1.2),
        )


def peel(s: Stage, t: float) -> None:
    u = s.beat(t, 0.75)
    s.put(s.peeled, s.x, s.y, s.tilt - 6)
    s.fall("curl", t, s.x, s.y + 6, 90, 90, 12, 0.9)
    out = -math.cos(2 * math.pi * u)
    s.put(s.tools["peeler"], s.x + 62 * out, s.y - 18 + 22 * out, 8, (1.15, 1.15))


def chop(s: Stage, t: float) -> None:
    u = s.beat(t, 0.5)
    for k, (piece, offset) in enumerate(s.pieces):
        s.put(piece, s.x + offset * 1.16, s.y, (k - 2.5) * 2)
    lift = abs(math.sin(math.pi * u))
    s.put(
        s.tools["knife"],
        s.x + 40 - 22 * math.sin(2 * math.pi * s.beat(t, 3.0)),
        s.y + 16 - 76 * lift,
        -14 * lift,
        (1.1, 1.1),
    )


def stir(s: Stage, t: float) -> None:
    turn = 2 * math.pi * s.beat(t, 1.0)
    s.put(s.tools["pot back"], 160, 152)
    s.put(
        s.thing,
        160 + 34 * math.cos(turn),
        138 - s.lower * 0.45 + 9 * math.sin(turn),
        s.tilt + 14 * math.sin(turn),
        (0.92, 0.92),
    )
    for k in range(3):
        angle = turn + 1.6 + k * 1.3
        s.put(s.bits["chunk"], 160 + 80 * math.cos(angle), 154 + 16 * math.sin(angle), 60 * k)
    s.rise(t, 5)
    s.put(
        s.tools["spoon"],
        160 + 62 * math.cos(turn + 2.4),
        142 + 20 * math.sin(turn + 2.4),
        10 * math.cos(turn),
    )
    s.put(s.tools["pot"], 160, 154)


def season(s: Stage, t: float) -> None:
    u = s.beat(t, 0.3)
    s.show()
    for a, b, _, _ in s.chance[:18]:
        s.put(s.bits["grain"], s.x + (2 * a - 1) * 44, s.y + s.upper * (0.3 + 0.5 * b))
    shake = math.sin(2 * math.pi * u)
    s.fall("grain", t, s.x + 4, 76, 46, 120, 70, 0.6)
    s.put(s.tools["shaker"], s.x + 10 + 5 * shake, 62 + 15 * shake, 20 + 8 * shake, (1.15, 1.15))


def flip(s: Stage, t: float) -> None:
    u = s.beat(t, 1.0)
    height = 4 * u * (1 - u)
    for k in range(6):
        flicker = 1.0 + 0.3 * math.sin(20 * t + 2 * k)
        s.put(s.bits["flame"], 85 + 30 * k, 226, 0, (1.0, flicker))
    dip = 12 * math.cos(2 * math.pi * u)
    s.put(s.tools["pan"], 160, 188 + dip, -5 * math.cos(2 * math.pi * u), (1.12, 1.12))
    s.put(s.thing, s.x, 178 - s.lower * 0.75 + dip - 92 * height, 360 * u, (0.9, 0.9))


def press(s: Stage, t: float) -> None:
    u = s.beat(t, 1.0)
    squash = 0.62 + 0.38 * abs(math.cos(math.pi * u)) ** 1.5
    base = REST - 2
    s.put(s.thing, s.x, base - s.lower * squash, 0, (1 + 0.45 * (1 - squash), squash))
    s.put(
        s.tools["press"],
        s.x,
        base - (s.lower - s.upper) * squash - 2 - 30 * max(0, math.cos(2 * math.pi * u)),
    )


def roll(s: Stage, t: float) -> None:
    u = s.beat(t, 1.1)
    s.show(0, 14, 0, (1.25, 0.7))
    out = math.sin(2 * math.pi * u)
    s.put(s.tools["pin"], s.x + 74 * out, s.y - 4, 3 * out, (1.0, 0.95))


def brush(s: Stage, t: float) -> None:
    u = s.beat(t, 0.8)
    s.show()
    for k in range(4):
        s.put(s.bits["shine"], s.x - 24 + 16 * k, s.y + s.upper * 0.5 + 18 * (k % 3), 12, (0.8, 0.7), 0.5)
    out = math.sin(2 * math.pi * u)
    s.put(s.tools["brush"], s.x - 6 + 56 * out, s.y - 24 - 10 * abs(out), 22 * out, (1.2, 1.2))


def cover(s: Stage, t: float) -> None:
    u = s.beat(t, 1.5)
    s.show()
    s.rise(t)
    lift = 0.5 - 0.5 * math.cos(2 * math.pi * u)
    s.put(s.tools["lid"], s.x, 200 - 96 * lift, -14 * lift, (1.12, 1.28))


def heat(s: Stage, t: float) -> None:
    s.show(1.5 * math.sin(40 * t), -16)
    s.put(s.tools["burner"], 160, 186)
    for k in range(9):
        flicker = 1.25 + 0.45 * math.sin(17 * t * s.speed + 2.3 * k) + 0.2 * math.sin(29 * t + k)
        s.put(s.bits["flame"], 64 + 24 * k, 206, 6 * math.sin(13 * t + k), (1.3, flicker * 1.2))
    s.rise(t, 12)


def dip(s: Stage, t: float) -> None:
    u = s.beat(t, 1.2)
    down = 0.5 - 0.5 * math.cos(2 * math.pi * u)
    s.put(s.tools["bowl back"], 160, 166)
    s.put(s.thing, s.x, 58 + 78 * down, 90 + s.tilt, (0.9, 0.9))
    s.fall("sauce drop", t, s.x, 120, 20, 40, 6, 0.8)
    s.put(s.tools["bowl"], 160, 170)


ACTIONS: dict[str, Callable[[Stage, float], None]] = {
    "wash": wash,
    "peel": peel,
    "chop": chop,
    "stir": stir,
    "season": season,
    "flip": flip,
    "press": press,
    "roll": roll,
    "brush": brush,
    "cover": cover,
    "heat": heat,
    "dip": dip,
}


def film(stage: Stage, action: str, t: float) -> np.ndarray:
    """The picture `[240, 320, 3]` uint8 at `t` seconds into the step."""
    stage.frame_hw3 = stage.still_hw3.copy()
    ACTIONS[action](stage, t)
    return stage.frame_hw3
