"""The table of a comparison: a row for each question, a cell for each system, beside chance, counts and the limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from multimodal.comparison.runs import ComparedRun
from multimodal.scoring.metrics import NEAREST

QUESTIONS = (
    ("text_cloze_with_video", "hidden word, with the video"),
    ("text_cloze_without_video", "hidden word, words alone"),
    ("action_and_thing_text_cloze_with_video", "hidden action or thing, with the video"),
    ("video_cloze_with_text", "hidden clip, with the words"),
    ("video_cloze_without_text", "hidden clip, video alone"),
    ("alignment_auc", "alignment, area under the curve"),
    ("next_token", "next clip, 1.5 s"),
    ("next_token_at_3_s", "next clip, 3 s"),
    ("next_token_at_6_s", "next clip, 6 s"),
    ("next_token_at_12_s", "next clip, 12 s"),
    ("search_recall_at_1", "moment of a sentence, first"),
    ("moment_to_text_recall_at_1", "sentence of a moment, first"),
    ("verb_zero_shot", "verb, zero-shot"),
    ("noun_zero_shot", "noun, zero-shot"),
    ("caption_micro_bleu_4", "caption, BLEU-4"),
    ("caption_micro_meteor", "caption, METEOR"),
    ("caption_micro_rouge_l", "caption, ROUGE-L"),
    ("caption_micro_cider", "caption, CIDEr"),
)
"""The figures that are compared, each with its words; all are shares from 0 to 1 but CIDEr, which goes to 10."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A figure of a system: ``value``, the mean over its seeds; ``low`` and ``high``, the means of the ends of their 95 %
    intervals over videos; ``deviation`` over the seeds, ``None`` for one seed."""

    value: float
    low: float
    high: float
    deviation: float | None

    def against(self, other: float | None) -> int:
        """1 where the whole interval is above ``other``, −1 where it is below, else 0."""
        return 0 if other is None else (self.low > other) - (self.high < other)


@dataclasses.dataclass(frozen=True)
class Row:
    """A question with the ``cells`` of the systems that answer it, by name. ``counts`` and ``limit``: those of plain counts
    (for a caption: of the nearest learned moment's words) and of the best possible answers, where they are known. ``n`` questions were asked."""

    name: str
    words: str
    chance: float
    counts: float | None
    limit: float | None
    n: int
    cells: dict[str, Cell]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a system spent in a run, in the mean over its seeds; ``seconds`` over those that are known. ``parameters`` were
    trained."""

    system: str
    parameters: int
    steps: float
    tokens: float
    seconds: float | None


def rows(runs: Sequence[ComparedRun]) -> list[Row]:
    """The rows of :data:`QUESTIONS` that at least one run answers."""
    found = []
    for name, words in QUESTIONS:
        of_system: dict[str, list[dict]] = {}
        for run in runs:
            if run.figures.get(name, {}).get("value") is not None:
                of_system.setdefault(run.system, []).append(run.figures[name])
        if of_system:
            every = [figure for figures in of_system.values() for figure in figures]
            plain = f"of_{NEAREST}" if name.startswith("caption_") else "counts"
            counts, limit = (_mean_of(runs, f"{name}_{end}") for end in (plain, "limit"))
            cells = {system: _cell(figures) for system, figures in of_system.items()}
            chance = float(np.mean([figure["chance"] for figure in every]))
            found.append(Row(name, words, chance, counts, limit, every[0]["n"], cells))
    return found


def _mean_of(runs: Sequence[ComparedRun], name: str) -> float | None:
    values = [v for run in runs if (v := run.figures.get(name, {}).get("value")) is not None]
    return float(np.mean(values)) if values else None


def _cell(figures: Sequence[dict]) -> Cell:
    value, low, high = (float(np.mean([f[key] for f in figures])) for key in ("value", "low", "high"))
    deviation = float(np.std([f["value"] for f in figures], ddof=1)) if len(figures) > 1 else None
    return Cell(value, low, high, deviation)


def costs(runs: Sequence[ComparedRun]) -> list[Cost]:
    """One for each system, in the order of the runs."""
    by_system: dict[str, list[ComparedRun]] = {}
    for run in runs:
        by_system.setdefault(run.system, []).append(run)
    found = []
    for system, own in by_system.items():
        steps, tokens = (float(np.mean([getattr(run, key) for run in own])) for key in ("steps", "tokens"))
        seconds = [run.seconds for run in own if run.seconds is not None]
        mean = float(np.mean(seconds)) if seconds else None
        found.append(Cost(system, own[0].parameters, steps, tokens, mean))
    return found


ABOVE, BELOW = "▲", "▼"
LEGEND = f"{ABOVE} above the counts by more than the interval, {BELOW} below them; ± over the seeds"
QUESTION_WIDTH, NUMBER_WIDTH, CELL_WIDTH = 39, 8, 14


def lines(runs: Sequence[ComparedRun]) -> list[str]:
    """The table for a terminal: a line for each question, then what each system cost."""
    systems = [cost.system for cost in costs(runs)]
    head = "".join(f"{name:>{NUMBER_WIDTH}}" for name in ("chance", "counts", "limit"))
    found = [f"{'':{QUESTION_WIDTH}}{head}" + "".join(f"{name:>{CELL_WIDTH}}" for name in systems)]
    for row in rows(runs):
        beside = "".join(f"{_share(value):>{NUMBER_WIDTH}}" for value in (row.chance, row.counts, row.limit))
        cells = "".join(f"{cell_words(row, row.cells.get(system)):>{CELL_WIDTH}}" for system in systems)
        found.append(f"{row.words:{QUESTION_WIDTH}}{beside}{cells}")
    for words, key in (
        ("parameters trained", "parameters"),
        ("steps", "steps"),
        ("tokens read and written", "tokens"),
        ("seconds", "seconds"),
    ):
        numbers = "".join(f"{whole(getattr(cost, key)):>{CELL_WIDTH}}" for cost in costs(runs))
        found.append(f"{words:{QUESTION_WIDTH + 3 * NUMBER_WIDTH}}{numbers}")
    return [*found, LEGEND]


def cell_words(row: Row, cell: Cell | None) -> str:
    """A cell in words: its value, its deviation over the seeds, and whether it is above the counts."""
    if cell is None:
        return "–"
    deviation = "" if cell.deviation is None else f"±{100 * cell.deviation:.1f}"
    return f"{_share(cell.value)}{deviation}{('', ABOVE, BELOW)[cell.against(row.counts)]}"


def whole(value: float | None) -> str:
    """A large number in words."""
    return "–" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
