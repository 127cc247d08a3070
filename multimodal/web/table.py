"""Owns the table of an evaluation's figures on a terminal: task by task, a line each."""

from __future__ import annotations

from multimodal.web.figures import lower_is_better, names_by_task, number, times_chance

WIDTH = 44
"""Of the names."""


def table(figures: dict[str, dict]) -> list[str]:
    """The lines. ↓ marks a figure of which less is better; × chance says how many times better than chance it is."""
    lines = [
        f"{'On videos held out':<{WIDTH}}{'value':>7}  {'95 % interval':^15}{'chance':>7}{'× chance':>9}{'n':>6}"
    ]
    for title, names in names_by_task(figures):
        lines += ["", title]
        lines += [_line(name, figures[name]) for name in names]
        notes = dict.fromkeys(
            f["note"] for name in names if (f := figures[name])["value"] is not None and f.get("note")
        )
        lines += [f"  ({note})" for note in notes]
    return lines


def _line(name: str, figure: dict) -> str:
    label = f"  {name.replace('_', ' ')}{' ↓' if lower_is_better(name) else ''}"
    if figure["value"] is None:
        return f"{label:<{WIDTH}}{'–':>7}  {figure['note']}"
    value, low, high, chance = (_short(figure[part]) for part in ("value", "low", "high", "chance"))
    ratio = times_chance(name, figure["value"], figure["chance"])
    times = f"{ratio:.1f}" if ratio is not None else "–"
    return f"{label:<{WIDTH}}{value:>7}  {low:>6} – {high:<6}{chance:>7}{times:>9}{figure['n']:6d}"


def _short(value: float) -> str:
    return f"{value:.3f}" if value < 100 else number(value) if value >= 1000 else f"{value:.1f}"
