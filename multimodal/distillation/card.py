"""The part of a student's model card about its teacher: sizes, the time of an answer, and what was kept of each figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import torch

from multimodal.distillation.timing import TIMED, answer_seconds
from multimodal.examples.packing import Parts
from multimodal.inference.cloze import visual_probabilities
from multimodal.inference.trained import Trained
from multimodal.joint.layout import WEIGHTS
from multimodal.library import Material
from multimodal.scoring.metrics import evaluate
from multimodal.scoring.truth import Truth

LESS_IS_BETTER = ("perplexity", "median_rank")
NOT_OF_THE_MODEL = ("_counts", "_minus_", "_limit")
"""Parts of the names of figures that are of plain methods, or differences."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Teacher and student side by side, (teacher's, student's) of each: ``layers`` and ``hidden``, ``parameters``, ``bytes`` of
    the weights, the median ``milliseconds`` of filling in a hidden clip of one of ``moments``, and of each figure on
    ``held_out`` videos its value."""

    teacher: str
    method: str
    layers: tuple[int, int]
    hidden: tuple[int, int]
    parameters: tuple[int, int]
    bytes: tuple[int, int]
    milliseconds: tuple[float, float] | None
    moments: int
    threads: int
    held_out: int
    figures: dict[str, tuple[float, float]]


def compare_models(
    teacher: Trained,
    student: Trained,
    learned: Sequence[Material],
    held_out: Sequence[Material],
    truth: Truth | None,
    method: str,
) -> Comparison:
    """Both models timed, and judged on the held-out videos by the same questions."""
    both = teacher, student
    moments = [s for m in (*held_out, *learned) for s in m.moments() if s.tokens][:TIMED]
    asked = [masked(teacher, s.text, s.tokens) for s in moments]
    shown = torch.zeros(teacher.vocabulary.visual, dtype=torch.bool)
    shown[[token for m in (*held_out, *learned) for s in m.moments() for token in s.tokens]] = True
    figures: dict[str, tuple[float, float]] = {}
    if held_out:
        theirs, own = (evaluate(t, learned, held_out, truth, lambda *_: None) for t in both)
        figures = {
            name: (figure.value, own[name].value)
            for name, figure in theirs.items()
            if not any(part in name for part in NOT_OF_THE_MODEL)
            and figure.value is not None
            and name in own
            and own[name].value is not None
        }
    milliseconds = None
    if asked:
        milliseconds = tuple(1000 * s for s in answer_seconds([partial(fill, t, shown) for t in both], asked))
    return Comparison(
        teacher.name,
        method,
        tuple(t.model.options.num_hidden_layers for t in both),
        tuple(t.model.options.hidden_size for t in both),
        tuple(sum(p.numel() for p in t.model.parameters()) for t in both),
        tuple((t.folder / WEIGHTS).stat().st_size for t in both),
        milliseconds,
        len(moments),
        torch.get_num_threads(),
        len(held_out),
        figures,
    )


def section(found: Comparison) -> str:
    """The section of the model card."""
    theirs, own = zip(found.layers, found.hidden, strict=True)
    rows = [
        "| layers × width | {} × {} | {} × {} | |".format(*theirs, *own),
        _row("parameters", found.parameters, "{:,}"),
        _row("bytes of weights", found.bytes, "{:,}"),
    ]
    notes = []
    if found.milliseconds:
        slow, fast = found.milliseconds
        rows.append(_row("ms of an answer", found.milliseconds, "{:.1f}"))
        notes.append(
            "An answer is a hidden clip of one moment, among those that the library shows: the median over "
            f"{found.moments} moments with {found.threads} threads. The teacher takes {slow / fast:.1f} times as long."
        )
    for name, both in found.figures.items():
        rows.append(_row(name, both, "{:.3f}", share=not any(part in name for part in LESS_IS_BETTER)))
    judged = (
        f"Figures are of {found.held_out} held-out videos, of both by the same questions."
        if found.held_out
        else "No video was held out, so neither was judged."
    )
    return "\n".join(
        [
            "## Distilled",
            "",
            f"By `{found.method}` from model `{found.teacher}` (`docs/distillation.md`).",
            "",
            "| | teacher | student | share |",
            "|---|---|---|---|",
            *rows,
            "",
            *notes,
            judged,
        ]
    )


def fill(trained: Trained, shown: torch.Tensor, asked: Parts) -> torch.Tensor:
    """The probabilities of the hidden clip among those that the library shows (bool, [visual tokens]), as `imagine` asks."""
    words, tokens = asked
    return visual_probabilities(trained, [words], [tokens], allowed=shown)


def masked(trained: Trained, text: str, tokens: Sequence[int]) -> Parts:
    """A moment whose last clip is hidden (−1)."""
    return trained.vocabulary.encode(text), [*tokens[:-1], -1]


def _row(name: str, both: tuple[float, float], form: str, *, share: bool = True) -> str:
    theirs, own = both
    kept = f"{own / theirs:.0%}" if share and theirs else ""
    return f"| {name} | {form.format(theirs)} | {form.format(own)} | {kept} |"
