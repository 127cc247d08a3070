"""The figures of a head as lines for people: each beside chance and the plain baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multimodal.finetuning.options import AGREEMENT, BASELINES, BY_MEAN, LAYER, LINEAR, ZERO_SHOT

TITLES = {"logistic_regression": "logistic", "nearest_neighbours": "neighbours", "majority": "majority"}


def lines(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table: a line for each figure with chance, the baselines, the head with its interval, and what it has more than the
    linear model. ``figures``: the fields of each by name."""
    if not figures:
        return []
    head = "".join(f"{TITLES[name]:>12}" for name in BASELINES)
    found = [f"{'':22}{'chance':>8}{head}{'head':>8}  {'95 % interval':17}less logistic"]
    for name in _names(figures):
        f, more = figures[name], figures[f"{name}_minus_{LINEAR}"]
        plain = "".join(f"{figures[f'{name}_{baseline}']['value']:12.3f}" for baseline in BASELINES)
        found.append(
            f"{name.replace('_', ' '):22}{f['chance']:8.3f}{plain}{f['value']:8.3f}  "
            f"{f['low']:6.3f} to {f['high']:6.3f}  {more['low']:6.3f} to {more['high']:6.3f}"
        )
        for method, title in ((BY_MEAN, "by the plain mean"), (ZERO_SHOT, "zero-shot")):
            if other := figures.get(f"{name}_{method}"):
                found.append(
                    f"  {title:20}{'':44}{other['value']:8.3f}  {other['low']:6.3f} to {other['high']:6.3f}"
                )
    layers = {name: f for name, f in figures.items() if name.startswith(LAYER)}
    if layers:
        found.append("logistic regression on each layer of the model as it is (0: the embeddings)")
    for name, f in layers.items():
        found.append(
            f"{name.replace('_', ' '):22}{f['chance']:8.3f}{'':36}{f['value']:8.3f}  {f['low']:6.3f} to {f['high']:6.3f}"
        )
    return found


def in_a_line(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The first figure in words; empty where there is none."""
    if not figures:
        return ""
    if f := figures.get(AGREEMENT):
        return (
            f"agrees with its teacher in {f['value']:.2f} ({f['low']:.2f} to {f['high']:.2f}) of {f['n']} answers about held-out "
            f"videos, chance {f['chance']:.2f}"
        )
    name = _names(figures)[0]
    f, linear = figures[name], figures[f"{name}_{LINEAR}"]
    return (
        f"{name.replace('_', ' ')} {f['value']:.2f} ({f['low']:.2f} to {f['high']:.2f}) over {f['n']} held-out answers, logistic "
        f"regression {linear['value']:.2f}, chance {f['chance']:.2f}"
    )


def _names(figures: Mapping[str, Any]) -> list[str]:
    """The names of the head's own figures."""
    return [name for name in figures if f"{name}_minus_{LINEAR}" in figures]
