"""The geometry of the report's charts: losses over steps, figures over horizons and ranks, the atlas of visual tokens."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from multimodal.maps import square_map
from multimodal.scoring.layers import MODALITY, NOUN, PLACES, POSITION, VERB, by_layer, probe_figure
from multimodal.store import reading
from multimodal.terms import TITLES
from multimodal.web.questions import HORIZON_FIGURES, RECALLS

PROBED = {
    VERB: "How often the states of a clip, read beside the words, tell the action that is shown.",
    NOUN: "How often the states of a clip, read beside the words, tell the thing that is shown.",
    MODALITY: "How often a state tells whether it is a word's or a clip's.",
    POSITION: f"How often a state tells its place among the first {PLACES} of a sequence.",
}
WIDTH, HEIGHT = 320.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 8.0, 10.0, 22.0
MOST_POINTS = 100


@dataclasses.dataclass(frozen=True)
class LossChart:
    """A term of the loss over steps, in the units of an SVG of ``WIDTH`` × ``HEIGHT``.

    ``train`` and ``held_out`` are the points "x,y …" of a polyline, ``dots`` the held-out points with their labels.
    ``first``, ``last`` and ``held_out_last`` are values of the loss.
    """

    title: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    train: str
    held_out: str
    dots: tuple[tuple[float, float, str], ...]
    first: float
    last: float
    held_out_last: float | None
    steps_per_point: int


def read_metrics(path: Path) -> list[dict]:
    """The lines of a ``metrics.jsonl``, one for each step; empty where there is no file. A half-written last line is left out."""
    if not path.exists():
        return []
    with reading(path):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


def loss_charts(metrics: Sequence[dict]) -> list[LossChart]:
    """A chart for each term that the metrics hold, those with a title first."""
    names = {
        n for line in metrics for n in line if isinstance(line[n], float | int) and n not in ("step", "learning_rate")
    }  # fmt: skip
    order = [n for n in TITLES if n in names] + sorted(names - set(TITLES))
    return [_loss_chart(name, metrics) for name in order]


def _loss_chart(name: str, metrics: Sequence[dict]) -> LossChart:
    points = np.array([(line["step"], line[name]) for line in metrics if name in line], float)
    held = np.array(
        [(line["step"], line["held_out"][name]) for line in metrics if name in line.get("held_out", {})]
    ).reshape(-1, 2)
    # a long training has more steps than a chart has pixels: each point is the mean of several
    per_point = math.ceil(len(points) / MOST_POINTS)
    means = np.array([points[i : i + per_point].mean(0) for i in range(0, len(points), per_point)])
    y_values = ticks(max(means[:, 1].max(), *held[:, 1], 1e-9))
    x_values = ticks(max(points[-1, 0], 1))
    right, top = max(x_values[-1], points[-1, 0]), y_values[-1]

    def position(step: float, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / right
        return round(x, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)

    def line(rows: np.ndarray) -> str:
        return " ".join("{},{}".format(*position(*row)) for row in rows)

    title = TITLES.get(name, name)
    return LossChart(
        title[:1].upper() + title[1:],
        tuple((position(x, 0)[0], f"{x:g}") for x in x_values),
        tuple((position(0, y)[1], f"{y:g}") for y in y_values),
        line(means),
        line(held),
        tuple((*position(step, value), f"step {step:g}: {value:.3f}") for step, value in held),
        float(means[0, 1]),
        float(means[-1, 1]),
        float(held[-1, 1]) if len(held) else None,
        per_point,
    )


@dataclasses.dataclass(frozen=True)
class Series:
    """``points``: "x,y …" of a polyline. ``dots``: x, the interval's ends and the value in the SVG's units, and a label."""

    name: str
    kind: str
    points: str
    dots: tuple[tuple[float, float, float, float, str], ...]


@dataclasses.dataclass(frozen=True)
class FigureChart:
    """Shares from 0 to 100 % over a few labels along x, in the units of an SVG of ``WIDTH`` × ``HEIGHT``."""

    title: str
    note: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    series: tuple[Series, ...]


def figure_charts(figures: Mapping[str, Mapping]) -> list[FigureChart]:
    """Next-token accuracy over the horizons, recall over the number of results, and what a probe tells over the layers, where
    there are two points at least."""
    horizons = [(n, seconds) for n, seconds in HORIZON_FIGURES if {n, f"{n}_counts"} <= figures.keys()]
    recalls = [(f"recall_at_{k}", f"first {k}") for k in RECALLS if f"search_recall_at_{k}" in figures]
    found = []
    if len(horizons) > 1:
        drawn = (("the model", "first", ""), ("table of transitions", "second", "_counts"))
        series = [(words, kind, [figures[f"{n}{end}"] for n, _ in horizons]) for words, kind, end in drawn]
        note = "How often the likeliest visual token is that of the clip so many seconds ahead."
        found.append(_figure_chart("Next clips, by horizon", note, [s for _, s in horizons], series))
    if len(recalls) > 1:
        drawn = (
            ("moment of a sentence", "first", "search_"),
            ("sentence of a moment", "second", "moment_to_text_"),
        )
        series = [(words, kind, [figures[f"{start}{n}"] for n, _ in recalls]) for words, kind, start in drawn]
        note = "How often the one that belongs to the query is among the first so many."
        found.append(_figure_chart("Visual search, recall", note, [s for _, s in recalls], series))
    for what, note in PROBED.items():
        if layers := by_layer(figures, partial(probe_figure, what)):
            found.append(layer_chart(f"What each layer knows: {what}", note, layers))
    return found


def layer_chart(title: str, note: str, layers: Sequence[Mapping]) -> FigureChart:
    """The figures of a linear probe over the layers; 0 is the embeddings."""
    series = [("linear probe", "first", layers)]
    return _figure_chart(title, note, list(map(str, range(len(layers)))), series)


def _figure_chart(
    title: str, note: str, labels: Sequence[str], series: Sequence[tuple[str, str, Sequence[Mapping]]]
) -> FigureChart:
    """``series``: name, kind and figures of each; chance is that of the first."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    xs = [round(LEFT + wide * (i + 0.5) / len(labels), 1) for i in range(len(labels))]

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - high * share, 1)

    def drawn(name: str, kind: str, values: Sequence[tuple[float, float, float]]) -> Series:
        dots = tuple(
            (x, y(low), y(high_), y(value), f"{name}, {label}: {value:.1%}")
            for x, label, (value, low, high_) in zip(xs, labels, values, strict=True)
        )
        return Series(name, kind, " ".join(f"{x},{y_}" for x, _, _, y_, _ in dots), dots)

    lines = [drawn(n, kind, [(f["value"], f["low"], f["high"]) for f in of]) for n, kind, of in series]
    lines.append(drawn("chance", "by-chance", [(f["chance"],) * 3 for f in series[0][2]]))
    shares = tuple((y(share), f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    return FigureChart(title, note, tuple(zip(xs, labels, strict=True)), shares, tuple(lines))


def ticks(largest: float, most: int = 5) -> list[float]:
    """Round numbers from 0 on, at most ``most`` steps of 1, 2 or 5 times a power of ten, the last >= ``largest``."""
    power = 10.0 ** math.floor(math.log10(largest / most))
    step = next(power * m for m in (1, 2, 5, 10, 20) if power * m * most >= largest * (1 - 1e-9))
    return [round(step * i, 12) for i in range(math.ceil(largest / step * (1 - 1e-9)) + 1)]


def atlas_positions(centroids_ND: np.ndarray, wide: float, high: float) -> np.ndarray:
    """float64 [n, 2]: x and y in [0, 1] of each token by t-SNE of the centroids; similar tokens are near each other.

    A picture takes ``wide`` × ``high`` of the map; overlapping pictures are pushed apart. One or two tokens stand in a
    row. The same centroids give the same positions.
    """
    n = len(centroids_ND)
    if n < 3:
        return np.array([[(i + 1) / (n + 1), 0.5] for i in range(n)]).reshape(n, 2)
    return _push_apart(square_map(centroids_ND), np.array([wide, high]))


def grid_positions(centroids_ND: np.ndarray, wide: float, high: float) -> np.ndarray:
    """float64 [n, 2]: x and y in [0, 1] of imported tokens, which have no centroids, in rows by number."""
    n = len(centroids_ND)
    columns = max(1, math.ceil(math.sqrt(n * high / wide)))
    rows = max(1, math.ceil(n / columns))
    return np.array([[(i % columns + 0.5) / columns, (i // columns + 0.5) / rows] for i in range(n)]).reshape(
        n, 2
    )


def _push_apart(xy_N2: np.ndarray, size_2: np.ndarray, rounds: int = 200) -> np.ndarray:
    """Pushes overlapping rectangles of ``size`` apart along the axis of their smaller overlap, inside [0, 1]."""
    order = np.arange(len(xy_N2))
    for _ in range(rounds):
        difference = xy_N2[:, None] - xy_N2[None]
        overlap = size_2 - np.abs(difference)
        touching = (overlap > 1e-6).all(-1) & (order[:, None] != order[None])
        if not touching.any():
            break
        # the axis along which the smaller push parts the two
        along_x = overlap[..., 0] / size_2[0] <= overlap[..., 1] / size_2[1]
        axis = np.stack([along_x, ~along_x], -1)
        # rectangles at the same point are parted by their order
        side = np.where(
            difference == 0, np.sign(order[:, None] - order[None])[..., None], np.sign(difference)
        )
        push = (axis * side * overlap * touching[..., None] * 0.35).sum(1)
        xy_N2 = np.clip(xy_N2 + push, 0, 1)
    return xy_N2
