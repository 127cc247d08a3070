"""The figures of an evaluation as people read them: under their questions and beside chance, on a page and on a terminal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import partial

from multimodal.catalogue import Catalogue, Video
from multimodal.library import LEAST_TO_SPLIT
from multimodal.scoring.layers import PROBE, PROPERTIES, by_layer, probe_figure
from multimodal.store import Store, reading
from multimodal.web.questions import HORIZON_FIGURES, TASKS, Question

OTHERS = "Other figures"
NUMBERS = ("perplexity", "median_rank", "cider")
"""Parts of the names of figures that are no shares from 0 to 1."""
LOWER_IS_BETTER = ("perplexity", "median_rank")
NAME_WIDTH = 44
"""Characters of a figure's name in the table on a terminal."""
BESIDE = ("counts", "limit")
"""Figures of the same questions by other methods, ``NAME_counts`` and ``NAME_limit``, shown beside ``NAME``."""


def is_share(name: str) -> bool:
    return not any(part in name for part in NUMBERS)


LEAST_DIVISOR = 0.0005
"""A smaller figure is shown as 0, and how many times another one it is says nothing."""


def lower_is_better(name: str) -> bool:
    return any(part in name for part in LOWER_IS_BETTER)


def times_chance(name: str, value: float, chance: float) -> float | None:
    """How many times better than chance; ``None`` where chance is as good as never right."""
    better, worse = (chance, value) if lower_is_better(name) else (value, chance)
    return better / worse if worse >= LEAST_DIVISOR else None


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"


@dataclasses.dataclass(frozen=True)
class QuestionFigure:
    """One figure of a question. ``given``: what the model was given, for people. A share is from 0 to 1.

    ``counts`` and ``limit``: the values of plain counts and of the best possible answers, where the question has no figures
    of their own for them.
    """

    name: str
    given: str
    value: float
    low: float
    high: float
    chance: float
    n: int
    note: str = ""
    counts: float | None = None
    limit: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better than chance; ``None`` where chance is never right."""
        return times_chance(self.name, self.value, self.chance)

    @property
    def sign(self) -> int:
        """1 where the whole interval is better than chance, −1 where it is worse, 0 where it holds chance."""
        above = (self.low > self.chance) - (self.high < self.chance)
        return -above if lower_is_better(self.name) else above

    @property
    def verdict(self) -> str:
        """The sign in words."""
        if not self.sign:
            return "the interval includes chance"
        if lower_is_better(self.name):
            return "better than chance" if self.sign > 0 else "worse than chance"
        return "above chance" if self.sign > 0 else "below chance"

    def formatted(self, value: float) -> str:
        """A share as percent, any other as a number."""
        return f"{value:.1%}" if is_share(self.name) else number(value)

    def position(self, value: float) -> float:
        """The place of ``value`` on a scale from 0 to 1; 1 is 100 %, or the largest number that is shown."""
        most = 1.0 if is_share(self.name) else max(self.high, self.chance, self.value, 1e-9)
        return min(1.0, value / most)


@dataclasses.dataclass(frozen=True)
class QuestionResult:
    """A question with its figures, the comparison of two of them in words, and notes on how they were measured."""

    title: str
    explained: str
    figures: tuple[QuestionFigure, ...]
    comparison: str
    notes: tuple[str, ...] = ()


def read_evaluation(store: Store, catalogue: Catalogue) -> dict[str, dict[str, float]] | None:
    """The current evaluation's figures by flat name; ``None`` where there is no evaluation yet."""
    name = catalogue.current("evaluation")
    path = name and store.evaluation(name.removesuffix(".json"))
    if not path or not path.exists():
        return None
    with reading(path):
        return json.loads(path.read_text(encoding="utf-8"))


def names_by_task(figures: dict[str, dict]) -> list[tuple[str, list[str]]]:
    """The names of the figures that there are, task by task in reading order; those of no known task come last. Those of a probe
    by layer are left out: they have charts, and a table of their own."""
    known = [
        (
            task.title,
            list(
                dict.fromkeys(
                    n for q in task.questions for name, _ in q.figures for n in _family(name, figures)
                )
            ),
        )
        for task in TASKS
    ]
    others = sorted(
        n for n in figures.keys() - {n for _, names in known for n in names} if not n.startswith(PROBE)
    )
    return [(title, names) for title, names in [*known, (OTHERS, others)] if names]


def _family(name: str, figures: dict[str, dict]) -> list[str]:
    """A figure, the same questions by other methods, and its differences from others; those that there are."""
    own = [n for n in (name, *(f"{name}_{end}" for end in BESIDE)) if n in figures]
    return own + [n for n in figures if n.startswith(f"{name}_minus_")]


def _beside(name: str, figures: dict[str, dict]) -> dict[str, float | None]:
    """The values of ``NAME_counts`` and ``NAME_limit``, ``None`` where there is none."""
    return {end: figures.get(f"{name}_{end}", {}).get("value") for end in BESIDE}


def results_by_task(figures: dict[str, dict]) -> list[tuple[str, list[QuestionResult]]]:
    """The figures under their questions, task by task; one of no known question is shown under its own name."""
    found = []
    for title, names in names_by_task(figures):
        task = next((t for t in TASKS if t.title == title), None)
        others = tuple((name, name.replace("_", " ")) for name in names)
        questions = task.questions if task else (Question(OTHERS, "As the evaluation names them.", others),)
        found.append((title, [result for q in questions if (result := _result(q, figures))]))
    return found


def _result(question: Question, figures: dict[str, dict]) -> QuestionResult | None:
    """``None`` where the evaluation has none of the question's figures."""
    there = [(name, given, figures[name]) for name, given in question.figures if name in figures]
    if not there:
        return None
    own = {name for name, _ in question.figures}
    computed = tuple(
        QuestionFigure(
            name, given, **f,
            **{end: value for end, value in _beside(name, figures).items() if f"{name}_{end}" not in own},
        )
        for name, given, f in there
        if f["value"] is not None
    )  # fmt: skip
    notes = [f"{given}: {f['note']}" for _, given, f in there if f["value"] is None]
    notes += dict.fromkeys(figure.note for figure in computed if figure.note)
    return QuestionResult(
        question.title, question.explained, computed, _comparison(question, computed, figures), tuple(notes)
    )


def _comparison(question: Question, computed: Sequence[QuestionFigure], figures: dict[str, dict]) -> str:
    """Which of the first two figures is better, in words; empty where a question has no two to compare.

    By the interval of their difference where the evaluation has it, else by whether their own intervals overlap.
    """
    if not question.better or len(computed) < 2:
        return ""
    first, second = computed[:2]
    difference = abs(first.value - second.value)
    share = is_share(first.name)
    size = f"{100 * difference:.1f} points" if share else f"{number(difference)} of perplexity"
    paired = figures.get(f"{first.name}_minus_{second.name.removeprefix(first.name).strip('_')}")
    if paired is not None:
        better, worse = paired["low"] > 0, paired["high"] < 0
        why = (
            f"95 % interval of the difference {100 * paired['low']:.1f} to {100 * paired['high']:.1f} points"
        )
        overlap = why
    else:
        better, worse = first.low > second.high, first.high < second.low
        if lower_is_better(first.name):
            better, worse = worse, better
        why, overlap = "the intervals do not overlap", "the intervals overlap"
    if better:
        return f"{question.better}: {size} {'more' if share else 'less'}; {why}."
    if worse:
        return f"{question.worse}: {size} {'less' if share else 'more'}; {why}."
    return f"The difference is {size}, but {overlap}: these videos do not settle it."


def reason_for_no_figures(
    figures: dict[str, dict[str, float]] | None, used: Sequence[Video], held_out: int
) -> str:
    """Why there is no figure to show, for people."""
    with_clips = sum(1 for video in used if video.clips)
    none = "A model is evaluated on videos that it was not trained on, and none was held out."
    if figures is None:
        return "The model has not been evaluated yet; videobert evaluate does it."
    if held_out:
        return "The held-out videos hold nothing that could be asked: neither speech nor two clips in a row."
    if with_clips < LEAST_TO_SPLIT:
        return (
            f"{none} With fewer than {LEAST_TO_SPLIT} videos ({with_clips} here) all are used for training."
        )
    return none


def figures_table(figures: dict[str, dict]) -> list[str]:
    """The figures as lines for a terminal, task by task.

    ↓ marks a figure of which less is better; × chance says how many times better than chance it is. Counts and the limit
    stand in columns beside the model, where there are any.
    """
    beside = {f"{name}_{end}": end for name in figures for end in BESIDE if f"{name}_{end}" in figures}
    columns = [end for end in BESIDE if end in beside.values()]
    lines = [
        f"{'On videos held out':<{NAME_WIDTH}}{'value':>7}  {'95 % interval':^15}{'chance':>7}"
        f"{''.join(f'{end:>7}' for end in columns)}{'× chance':>9}{'n':>6}"
    ]
    for title, names in names_by_task(figures):
        lines += ["", title]
        lines += [_line(name, figures, columns) for name in names if name not in beside]
        computed = [figures[name] for name in names if figures[name]["value"] is not None]
        lines += [f"  ({note})" for note in dict.fromkeys(f["note"] for f in computed if f.get("note"))]
    lines += _by_layer(figures)
    return [*lines, "", told] if (told := worth(figures)) else lines


def _by_layer(figures: dict[str, dict]) -> list[str]:
    """What each layer knows, a line for each property; empty where no layer was probed."""
    probed = {what: by_layer(figures, partial(probe_figure, what)) for what in PROPERTIES}
    layers = max(map(len, probed.values()))
    if not layers:
        return []
    return [
        "",
        f"{'What each layer knows (0: the embeddings)':<{NAME_WIDTH}}{'chance':>7}"
        + "".join(f"{layer:>7}" for layer in range(layers)),
        *(
            f"  {what:<{NAME_WIDTH - 2}}{found[0]['chance']:7.3f}"
            + "".join(f"{f['value']:7.3f}" for f in found)
            for what, found in probed.items()
            if found
        ),
    ]


WORTH = (
    ("cloze", ("text_cloze_with_video", "text_cloze_without_video", "video_cloze_with_text", "video_cloze_without_text")),
    ("alignment", ("alignment_auc",)),
    ("next clip", tuple(name for name, _ in HORIZON_FIGURES)),
)  # fmt: skip
"""By task the figures by which a model is compared with counts."""


def worth(figures: dict[str, dict]) -> str:
    """In words: in which tasks the model is better than plain counts on this library; empty where nothing tells it.

    Better is a figure whose difference from that of counts lies above 0 with its whole interval, worse one below 0.
    """
    found = []
    for task, names in WORTH:
        there = [figures[f"{n}_minus_counts"] for n in names if f"{n}_minus_counts" in figures]
        better, worse = sum(f["low"] > 0 for f in there), sum(f["high"] < 0 for f in there)
        if not there:
            continue
        of = f" in {better} of {len(there)}" if 0 < better < len(there) else ""
        words = f"better{of}" if better else "not better"
        if worse:
            words += f", worse in {worse} of {len(there)}"
        found.append(f"{task} {words}")
    return f"The model against counts of the same videos: {'; '.join(found)}." if found else ""


def _line(name: str, figures: dict[str, dict], columns: Sequence[str]) -> str:
    figure, others = figures[name], _beside(name, figures)
    label = f"  {name.replace('_', ' ')}{' ↓' if lower_is_better(name) else ''}"
    if len(label) > NAME_WIDTH and "_minus_" in name:
        # the line of the figure itself stands above
        label = f"    minus {name.partition('_minus_')[2].replace('_', ' ')}"
    if figure["value"] is None:
        return f"{label:<{NAME_WIDTH}}{'–':>7}  {figure['note']}"
    value, low, high, chance = (_short(figure[part]) for part in ("value", "low", "high", "chance"))
    ratio = times_chance(name, figure["value"], figure["chance"])
    times = f"{ratio:.1f}" if ratio is not None else "–"
    there = "".join(f"{'–' if others[end] is None else _short(others[end]):>7}" for end in columns)
    return (
        f"{label:<{NAME_WIDTH}}{value:>7}  {low:>6} – {high:<6}{chance:>7}{there}{times:>9}{figure['n']:6d}"
    )


def _short(value: float) -> str:
    return f"{value:.3f}" if value < 100 else number(value) if value >= 1000 else f"{value:.1f}"
