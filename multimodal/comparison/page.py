"""The page of a comparison: its table, and one picture of all figures with their intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from multimodal.answers.display import html_environment
from multimodal.comparison import table
from multimodal.comparison.runs import ComparedRun
from multimodal.store import write_artefact

TEMPLATE = "comparison.html"
WIDTH, LEFT, RIGHT, TOP = 960.0, 270.0, 20.0, 24.0
NO_SHARE = "caption_micro_cider"
"""Goes to 10, so it is not on the picture."""
ROW_HEIGHT, ROW_GAP = 11.0, 14.0
"""Of a system's line, and between two questions, in the units of the SVG."""


@dataclasses.dataclass(frozen=True)
class Dot:
    """A figure on the picture: the ends of its interval and its value along x, its line, its system's number, its label."""

    low: float
    high: float
    x: float
    y: float
    system: int
    label: str


@dataclasses.dataclass(frozen=True)
class Group:
    """A question on the picture: from ``top`` to ``bottom``; ``marks`` are (x, kind, label) of chance, counts and limit."""

    words: str
    top: float
    bottom: float
    dots: tuple[Dot, ...]
    marks: tuple[tuple[float, str, str], ...]


@dataclasses.dataclass(frozen=True)
class Picture:
    """Shares from 0 to 100 % along x, in the units of an SVG of ``WIDTH`` × ``height``."""

    height: float
    ticks: tuple[tuple[float, str], ...]
    groups: tuple[Group, ...]


def picture(rows: Sequence[table.Row], systems: Sequence[str]) -> Picture:
    """A group for each question, a line in it for each system."""

    def x(share: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * share, 1)

    rows = [row for row in rows if row.name != NO_SHARE]

    groups, y = [], TOP
    for row in rows:
        top = y
        dots = []
        for number, system in enumerate(systems):
            y += ROW_HEIGHT
            if (cell := row.cells.get(system)) is not None:
                label = f"{system}, {row.words}: {cell.value:.1%} ({cell.low:.1%} to {cell.high:.1%})"
                dots.append(Dot(x(cell.low), x(cell.high), x(cell.value), y - ROW_HEIGHT / 2, number, label))
        marks = tuple(
            (x(value), kind, f"{kind}: {value:.1%}")
            for kind, value in (("chance", row.chance), ("counts", row.counts), ("limit", row.limit))
            if value is not None
        )
        groups.append(Group(row.words, top, y, tuple(dots), marks))
        y += ROW_GAP
    ticks = tuple((x(share), f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    return Picture(y, ticks, tuple(groups))


def write_page(path: Path, runs: Sequence[ComparedRun], budget: str) -> Path:
    """Writes the page, whole or not at all. ``budget``: what each run could spend, in words."""
    rows, costs = table.rows(runs), table.costs(runs)
    systems = [cost.system for cost in costs]
    page = html_environment(Path(__file__).parent).get_template(TEMPLATE)
    html = page.render(
        rows=rows, costs=costs, systems=systems, picture=picture(rows, systems), width=WIDTH, budget=budget,
        seeds=len({run.seed for run in runs}), cell_words=table.cell_words, whole=table.whole, above=table.ABOVE, below=table.BELOW,
    )  # fmt: skip
    return write_artefact(path, html.encode())
