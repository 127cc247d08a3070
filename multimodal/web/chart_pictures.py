"""The charts of the report as pictures by themselves, for a page that shows Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from multimodal.answers.display import html_environment
from multimodal.pictures import data_url
from multimodal.store import Store
from multimodal.web import charts

COLOURS = {"first": "blue", "second": "orange, dashed", "by-chance": "grey, dotted"}


@dataclasses.dataclass(frozen=True)
class ChartPicture:
    """``note``: what the lines of the chart are. ``svg``: a file of :data:`multimodal.web.charts.WIDTH` × ``HEIGHT`` pixels."""

    title: str
    note: str
    svg: str

    @property
    def data_url(self) -> str:
        """The picture as a ``data:`` URL."""
        return data_url(self.svg.encode(), "svg+xml")


def chart_pictures(store: Store, model: str, figures: Mapping[str, Mapping]) -> Iterator[ChartPicture]:
    """The charts of the figures of an evaluation, then those of the losses of the model's training. No video is named."""
    drawn = html_environment(Path(__file__).parent).get_template("charts.html").module
    for chart in charts.figure_charts(figures):
        names = ", ".join(f"{series.name} ({COLOURS[series.kind]})" for series in chart.series)
        svg = drawn.file(chart, charts, drawn.of_figures(chart, charts))
        yield ChartPicture(chart.title, f"{chart.note} Lines: {names}.", str(svg))
    for chart in charts.loss_charts(charts.read_metrics(store.model(model) / "metrics.jsonl")):
        note = f"Loss from {chart.first:.2f} to {chart.last:.2f}"
        if chart.held_out_last is not None:
            note += f"; held out (orange, dashed) {chart.held_out_last:.2f} in the end"
        svg = drawn.file(chart, charts, drawn.of_losses(chart, charts))
        yield ChartPicture(chart.title, f"{note}.", str(svg))
