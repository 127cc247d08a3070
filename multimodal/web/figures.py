"""Owns the figures of an evaluation as people read them: under their questions, beside chance, and compared."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from multimodal.catalogue import Catalogue, Video
from multimodal.library import LEAST_TO_SPLIT
from multimodal.store import Store
from multimodal.web.questions import TASKS, Question

OTHERS = "Other figures"
NUMBERS = ("perplexity", "median_rank", "cider")
"""What a figure's name holds where it is no share from 0 to 1."""
LOWER_IS_BETTER = ("perplexity", "median_rank")


def is_share(name: str) -> bool:
    return not any(part in name for part in NUMBERS)


def lower_is_better(name: str) -> bool:
    return any(part in name for part in LOWER_IS_BETTER)


def times_chance(name: str, value: float, chance: float) -> float | None:
    """How many times better than chance; ``None`` where chance is never right."""
    better, worse = (chance, value) if lower_is_better(name) else (value, chance)
    return better / worse if worse > 0 else None


@dataclasses.dataclass(frozen=True)
class Side:
    """One figure under its question. A share is from 0 to 1; ``place`` puts any figure on a scale from 0 to 1."""

    name: str
    given: str
    value: float
    low: float
    high: float
    chance: float
    n: int
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return times_chance(self.name, self.value, self.chance)

    @property
    def lower(self) -> bool:
        """Whether less is better."""
        return lower_is_better(self.name)

    @property
    def sign(self) -> int:
        """1 where the whole interval is better than chance, -1 where it is worse, 0 where it holds chance."""
        above = (self.low > self.chance) - (self.high < self.chance)
        return -above if self.lower else above

    @property
    def verdict(self) -> str:
        if not self.sign:
            return "not told apart from chance"
        if self.lower:
            return "better than chance" if self.sign > 0 else "worse than chance"
        return "above chance" if self.sign > 0 else "below chance"

    def shown(self, value: float) -> str:
        """A share as percent, any other as a number."""
        return f"{value:.1%}" if is_share(self.name) else number(value)

    def place(self, value: float) -> float:
        most = 1.0 if is_share(self.name) else max(self.high, self.chance, self.value, 1e-9)
        return min(1.0, value / most)


@dataclasses.dataclass(frozen=True)
class Answered:
    """A question with the figures that there are, what the first two say when compared, and what there is to know."""

    title: str
    explained: str
    sides: tuple[Side, ...]
    comparison: str
    notes: tuple[str, ...] = ()


def read_figures(store: Store, catalogue: Catalogue) -> dict[str, dict[str, float]] | None:
    """The current evaluation's figures by flat name; ``None`` where there is no evaluation yet."""
    name = catalogue.current("evaluation")
    path = name and store.evaluation(name.removesuffix(".json"))
    return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else None


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"


def names_by_task(figures: dict[str, dict]) -> list[tuple[str, list[str]]]:
    """The names of the figures that there are, task by task in reading order; those that no task knows come last."""
    known = [(task.title, [n for q in task.questions for n, _ in q.sides if n in figures]) for task in TASKS]
    others = sorted(set(figures) - {n for _, names in known for n in names})
    return [(title, names) for title, names in [*known, (OTHERS, others)] if names]


def answered(figures: dict[str, dict]) -> list[tuple[str, list[Answered]]]:
    """The figures under their questions, task by task; a name that no question knows is shown under its own."""
    found = []
    for title, names in names_by_task(figures):
        task = next((t for t in TASKS if t.title == title), None)
        others = tuple((name, name.replace("_", " ")) for name in names)
        questions = task.questions if task else (Question(OTHERS, "As the evaluation names them.", others),)
        some = [a for q in questions if (a := _answer(q, figures))]
        found.append((title, some))
    return found


def _answer(question: Question, figures: dict[str, dict]) -> Answered | None:
    """None where none of its figures is there."""
    there = [(name, given, figures[name]) for name, given in question.sides if name in figures]
    if not there:
        return None
    sides = tuple(Side(name, given, **f) for name, given, f in there if f["value"] is not None)
    notes = [f"{given}: {f['note']}" for _, given, f in there if f["value"] is None]
    notes += dict.fromkeys(side.note for side in sides if side.note)
    return Answered(question.title, question.explained, sides, _compare(question, sides), tuple(notes))


def _compare(question: Question, sides: Sequence[Side]) -> str:
    if not question.better or len(sides) != 2:
        return ""
    first, second = sides
    apart = abs(first.value - second.value)
    shares = is_share(first.name)
    points = f"{100 * apart:.1f} points" if shares else number(apart)
    better, worse = first.low > second.high, first.high < second.low
    if lower_is_better(first.name):
        better, worse = worse, better
    if better:
        return f"{question.better}: {points} {'more' if shares else 'less surprise'}, and the intervals do not meet."
    if worse:
        return f"{question.worse}: {points} apart, and the intervals do not meet."
    return f"The two are {points} apart, but their intervals overlap: these videos do not settle it."


def why_none(figures: dict[str, dict[str, float]] | None, used: Sequence[Video], held_out: int) -> str:
    """Why there is no figure to show, for people."""
    seen = sum(1 for video in used if video.clips)
    none = "A model is judged on videos that it has not learned from, and none was held out."
    if figures is None:
        return "The model has not been judged yet; videobert evaluate does it."
    if held_out:
        return "The videos held out to judge by hold nothing that could be asked: neither speech nor two clips in a row."
    if seen < LEAST_TO_SPLIT:
        return f"{none} With fewer than {LEAST_TO_SPLIT} videos ({seen} here) all are needed to learn from."
    return none
