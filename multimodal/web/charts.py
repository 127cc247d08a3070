"""Owns the geometry of the report's drawings: figures and losses as curves, and the places of the visual tokens in the atlas."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from multimodal.web.questions import HORIZONS, RECALLS

WIDTH, HEIGHT = 320.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 8.0, 10.0, 22.0
MOST_POINTS = 100
TERMS = {
    "loss": ("All together", "the weighted sum of the others, which training lowers"),
    "text": ("Hidden words", "to be found from the other words"),
    "video": ("Hidden visual tokens", "to be found from the other pictures"),
    "joint": ("Hidden words and tokens", "to be found from words and pictures together"),
    "alignment": ("Belonging", "does this sentence belong to this picture? A coin gives 0.69"),
    "contrast": ("Telling apart", "finding a sentence's own picture among the others"),
}


@dataclasses.dataclass(frozen=True)
class Chart:
    """A term of the loss over steps, in the units of an SVG of ``WIDTH`` × ``HEIGHT``.

    ``learned`` and ``held`` are the points "x,y …" of a polyline; ``dots`` the held-out points with their words.
    """

    title: str
    note: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    learned: str
    held: str
    dots: tuple[tuple[float, float, str], ...]
    first: float
    last: float
    held_last: float | None
    steps_a_point: int


def read_metrics(path: Path) -> list[dict]:
    """The lines of a ``metrics.jsonl``, a step each; none where there is no file. A half-written last line is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def charts(metrics: Sequence[dict]) -> list[Chart]:
    """A chart for each term that the metrics hold, the known ones first."""
    names = {
        n for line in metrics for n in line if isinstance(line[n], float | int) and n not in ("step", "learning_rate")
    }  # fmt: skip
    order = [n for n in TERMS if n in names] + sorted(names - set(TERMS))
    return [_chart(name, metrics) for name in order]


def _chart(name: str, metrics: Sequence[dict]) -> Chart:
    points = np.array([(line["step"], line[name]) for line in metrics if name in line], float)
    held = np.array(
        [(line["step"], line["held_out"][name]) for line in metrics if name in line.get("held_out", {})]
    ).reshape(-1, 2)
    a_point = math.ceil(len(points) / MOST_POINTS)
    means = np.array([points[i : i + a_point].mean(0) for i in range(0, len(points), a_point)])
    y_values = ticks(max(means[:, 1].max(), *held[:, 1], 1e-9))
    x_values = ticks(max(points[-1, 0], 1))
    right, top = max(x_values[-1], points[-1, 0]), y_values[-1]

    def place(step: float, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / right
        return round(x, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)

    def line(rows: np.ndarray) -> str:
        return " ".join("{},{}".format(*place(*row)) for row in rows)

    title, note = TERMS.get(name, (name, ""))
    return Chart(
        title,
        note,
        tuple((place(x, 0)[0], f"{x:g}") for x in x_values),
        tuple((place(0, y)[1], f"{y:g}") for y in y_values),
        line(means),
        line(held),
        tuple((*place(step, value), f"step {step:g}: {value:.3f}") for step, value in held),
        float(means[0, 1]),
        float(means[-1, 1]),
        float(held[-1, 1]) if len(held) else None,
        a_point,
    )


@dataclasses.dataclass(frozen=True)
class Series:
    """``points``: "x,y …" of a polyline. ``dots``: x, the interval's ends, the value (all in the SVG's units), words."""

    name: str
    kind: str
    points: str
    dots: tuple[tuple[float, float, float, float, str], ...]


@dataclasses.dataclass(frozen=True)
class Curve:
    """Shares, from 0 to 100 %, at some places along x, in the units of an SVG of ``WIDTH`` × ``HEIGHT``."""

    title: str
    note: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    series: tuple[Series, ...]


def curves(figures: Mapping[str, Mapping]) -> list[Curve]:
    """What the figures say of next clips by horizon and of search by how many places are looked at, where they are there."""
    ahead = [(name, seconds) for name, seconds in HORIZONS if name in figures]
    looked = [(f"recall_at_{k}", f"first {k}") for k in RECALLS if f"search_recall_at_{k}" in figures]
    found = []
    if len(ahead) > 1:
        drawn = (("the model", "first", ""), ("a table of transitions", "second", "_bigram_table"))
        shown = [(words, kind, [figures[f"{n}{end}"] for n, _ in ahead]) for words, kind, end in drawn]
        note = "How often the likeliest visual token is the one that comes, so many seconds ahead."
        found.append(_curve("Next clips, by how far ahead", note, [s for _, s in ahead], shown))
    if len(looked) > 1:
        drawn = (
            ("a sentence's moment", "first", "search_"),
            ("a moment's sentence", "second", "moment_to_text_"),
        )
        shown = [(words, kind, [figures[f"{start}{n}"] for n, _ in looked]) for words, kind, start in drawn]
        note = "How often what belongs to it is found by sight alone, among the first so many."
        found.append(
            _curve("Search by sight, by how many are looked at", note, [s for _, s in looked], shown)
        )
    return found


def _curve(
    title: str, note: str, labels: Sequence[str], shown: Sequence[tuple[str, str, Sequence[Mapping]]]
) -> Curve:
    """``shown``: words, kind and figures of each series; chance is that of the first."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    xs = [round(LEFT + wide * (i + 0.5) / len(labels), 1) for i in range(len(labels))]

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - high * share, 1)

    def series(name: str, kind: str, values: Sequence[tuple[float, float, float]]) -> Series:
        dots = tuple(
            (x, y(low), y(high_), y(value), f"{name}, {label}: {value:.1%}")
            for x, label, (value, low, high_) in zip(xs, labels, values, strict=True)
        )
        return Series(name, kind, " ".join(f"{x},{y_}" for x, _, _, y_, _ in dots), dots)

    lines = [series(n, kind, [(f["value"], f["low"], f["high"]) for f in of]) for n, kind, of in shown]
    lines.append(series("chance", "by-chance", [(f["chance"],) * 3 for f in shown[0][2]]))
    shares = tuple((y(share), f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    return Curve(title, note, tuple(zip(xs, labels, strict=True)), shares, tuple(lines))


def ticks(largest: float, most: int = 5) -> list[float]:
    """Round numbers from 0 on, at most ``most`` steps of 1, 2 or 5 times a power of ten, the last >= ``largest``."""
    power = 10.0 ** math.floor(math.log10(largest / most))
    step = next(power * m for m in (1, 2, 5, 10, 20) if power * m * most >= largest * (1 - 1e-9))
    return [round(step * i, 12) for i in range(math.ceil(largest / step * (1 - 1e-9)) + 1)]


def places(centroids_ND: np.ndarray, wide: float, high: float) -> np.ndarray:
    """float64 [n, 2]: where each token lies, x and y in [0, 1], by t-SNE; alike tokens lie near each other.

    A picture takes ``wide`` × ``high`` of the map; those that would cover each other are pushed apart.
    Two tokens or one have no neighbourhood: they stand in a row. The same centroids give the same places.
    """
    n = len(centroids_ND)
    if n < 3:
        return np.array([[(i + 1) / (n + 1), 0.5] for i in range(n)]).reshape(n, 2)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (n - 1) / 3)
    near = TSNE(
        2, perplexity=perplexity, init="pca", learning_rate="auto", method="exact", random_state=0
    ).fit_transform(np.asarray(centroids_ND, np.float64))
    near = near - near.min(0)
    xy = (near / np.maximum(near.max(0), 1e-9)).astype(np.float64)
    return _apart(xy, np.array([wide, high]))


def in_rows(centroids_ND: np.ndarray, wide: float, high: float) -> np.ndarray:
    """float64 [n, 2]: the places of tokens that nothing is known of but their number, in rows."""
    n = len(centroids_ND)
    columns = max(1, math.ceil(math.sqrt(n * high / wide)))
    rows = max(1, math.ceil(n / columns))
    return np.array([[(i % columns + 0.5) / columns, (i // columns + 0.5) / rows] for i in range(n)]).reshape(
        n, 2
    )


def _apart(xy_N2: np.ndarray, size_2: np.ndarray, rounds: int = 200) -> np.ndarray:
    """Pushes rectangles of ``size`` that overlap apart along their shorter overlap, inside [0, 1]."""
    order = np.arange(len(xy_N2))
    for _ in range(rounds):
        difference = xy_N2[:, None] - xy_N2[None]
        overlap = size_2 - np.abs(difference)
        touching = (overlap > 1e-6).all(-1) & (order[:, None] != order[None])
        if not touching.any():
            break
        along_x = overlap[..., 0] / size_2[0] <= overlap[..., 1] / size_2[1]
        axis = np.stack([along_x, ~along_x], -1)
        side = np.where(
            difference == 0, np.sign(order[:, None] - order[None])[..., None], np.sign(difference)
        )
        push = (axis * side * overlap * touching[..., None] * 0.35).sum(1)
        xy_N2 = np.clip(xy_N2 + push, 0, 1)
    return xy_N2
