"""How good the answers are on this library: the stored evaluation of exactly this model decides which method answers.

A model's answer is shown where it is better than the plain one on held-out videos: the 95 % interval of the difference,
paired over the same questions, lies above 0. Else the plain answer is, and a line says why.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from multimodal.catalogue import Catalogue
from multimodal.library import LEAST_TO_SPLIT, usable
from multimodal.store import DamagedFile, InputError, Store, reading

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

By = Literal["auto", "model", "plain"]
Kind = Literal["caption", "next", "classify", "imagine"]
LEAST_VIDEOS = 3
"""Fewer held-out videos have no interval."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A method of the model beside the plain one: the names of both figures and of their difference."""

    method: str
    figure: str
    plain: str
    difference: str


def _counted(name: str) -> Comparison:
    return Comparison("model", name, f"{name}_counts", f"{name}_minus_counts")


_NEAREST = "caption_micro_cider_of_nearest_neighbour"
COMPARISONS: dict[Kind, tuple[tuple[Comparison, ...], ...]] = {
    "next": ((_counted("next_token"),),),
    # what people know of the videos says more than what is said in them, where there is such a truth
    "classify": ((_counted("verb_and_noun_zero_shot"),), (_counted("said_word"),)),
    "imagine": ((_counted("imagined_clip"),),),
    "caption": (
        (
            Comparison("captioner", "caption_micro_cider", _NEAREST, "caption_micro_cider_minus_nearest_neighbour"),
            Comparison("template", "caption_micro_cider_of_template", _NEAREST,
                       "caption_micro_cider_of_template_minus_nearest_neighbour"),
        ),
    ),
}  # fmt: skip
"""By kind of answer: the comparisons of an evaluation that judge it, those of the first group that it has."""
ASKED = {
    "next_token": "next clip",
    "verb_and_noun_zero_shot": "verbs and nouns",
    "said_word": "words told from those not said",
    "imagined_clip": "clips of a sentence",
    "caption_micro_cider": "captions (CIDEr)",
    "caption_micro_cider_of_template": "captions (CIDEr)",
}
PLAIN = {
    "next": "table of transitions",
    "classify": "counts of words",
    "imagine": "counts of words",
    "caption": "words that were said",
}
"""The plain method of each kind, for people."""


@dataclasses.dataclass(frozen=True)
class NamedFigure:
    """A figure of the evaluation (docs/formats.md, Evaluations)."""

    name: str
    value: float
    low: float
    high: float
    chance: float
    n: int


@dataclasses.dataclass(frozen=True)
class Quality:
    """How good an answer is. ``verdict`` on the model: ``better`` than the plain answer, ``not better``, or ``unknown``.

    ``method``: the method that answers: ``captioner``, ``template`` or ``model``, else ``plain``. ``above_chance``: its
    held-out figure lies above chance with its whole interval; where it does not, a probability is no confidence. ``line``
    says it for people. ``figures``: of the model, of the plain answer, their difference; those that there are.
    """

    verdict: Literal["better", "not better", "unknown"]
    method: str
    above_chance: bool
    line: str
    figures: tuple[NamedFigure, ...] = ()

    @property
    def to_say(self) -> list[str]:
        """The line, where an answer is not to be taken as it stands; none where the model is better than the plain one."""
        return [] if self.verdict == "better" and self.method != "plain" else [self.line]


class Evaluation:
    """The stored evaluation of a model and captioner; ``figures`` is ``None`` where they were not evaluated.

    ``why_unknown``: in words, why there is nothing to judge the model by.
    """

    def __init__(self, figures: Mapping[str, Mapping] | None, why_unknown: str, has_captioner: bool):
        self.figures, self.why_unknown, self.has_captioner = figures, why_unknown, has_captioner

    @classmethod
    def read(cls, store: Store, catalogue: Catalogue, trained: Trained) -> Evaluation:
        name, captioner = catalogue.current("evaluation"), catalogue.current("captioner")
        if name is None or not name.startswith(evaluation_prefix(trained, captioner)):
            return cls(None, "this model is not evaluated yet: run `videobert evaluate`", bool(captioner))
        try:
            path = store.evaluation(name.removesuffix(".json"))
            with reading(path):
                figures = json.loads(path.read_text(encoding="utf-8"))
        except DamagedFile:
            return cls(None, "its evaluation cannot be read: run `videobert evaluate`", bool(captioner))
        if any(name in figures for name in _of_the_model()):
            return cls(figures, "the held-out videos hold nothing to judge this by", bool(captioner))
        count = sum(1 for video in usable(catalogue) if video.clips)
        if count < LEAST_TO_SPLIT:
            noun = "video" if count == 1 else "videos"
            why = f"{count} {noun}: too few to hold any out (it takes {LEAST_TO_SPLIT})"
            return cls(figures, why, bool(captioner))
        return cls(figures, "no video is held out", bool(captioner))

    def quality(self, kind: Kind, by: By = "auto") -> Quality:
        """The quality of the answers of a kind, and the method that gives them where ``by`` is asked for."""
        figures = self.figures or {}
        groups = COMPARISONS[kind]
        if kind == "caption" and not self.has_captioner:
            # the template is then the method that the figures without a method's name are of
            groups = ((dataclasses.replace(groups[0][0], method="template"),),)
        group = next((g for g in groups if any(c.figure in figures for c in g)), groups[-1])
        judged = [c for c in group if figures.get(c.figure, {}).get("value") is not None]
        better = [c for c in judged if figures.get(c.difference, {"low": 0})["low"] > 0]
        best = max(better or judged, key=lambda c: figures[c.figure]["value"], default=None)
        if best is None:
            return self._unknown(kind, by, groups[-1][0])
        verdict = "better" if better else "not better"
        method = best.method if by == "model" or (by == "auto" and better) else "plain"
        shown = figures.get(best.plain if method == "plain" else best.figure)
        above_chance = shown is not None and shown["low"] > shown["chance"]
        return Quality(
            verdict, method, above_chance, self._line(kind, best, verdict, method, above_chance),
            _named(figures, (best.figure, best.plain, best.difference)),
        )  # fmt: skip

    def _line(self, kind: Kind, best: Comparison, verdict: str, method: str, above_chance: bool) -> str:
        model, plain, more = ((self.figures or {}).get(n) for n in (best.figure, best.plain, best.difference))
        line = f"Held-out {ASKED[best.figure]}: {best.method} {model['value']:.2f}"
        if plain is not None:
            line += f", {PLAIN[kind]} {plain['value']:.2f}"
        line += f", chance {model['chance']:.2f}, n = {model['n']}"
        if verdict == "better":
            line += "; the model is better"
        elif more is not None and more["value"] > 0:
            line += "; too few to tell whether the model is better"
        else:
            line += "; the model is not better"
        return line + _answered(kind, method, above_chance)

    def _unknown(self, kind: Kind, by: By, comparison: Comparison) -> Quality:
        method = comparison.method if by == "model" else "plain"
        plain = (self.figures or {}).get(comparison.plain)
        line = f"{self.why_unknown[:1].upper()}{self.why_unknown[1:]}, so nothing says how good the model is"
        if method != "plain" or plain is None or plain["value"] is None:
            return Quality("unknown", method, False, line + _answered(kind, method, False))
        above_chance = plain["low"] > plain["chance"]
        line += (
            f"; {ASKED[comparison.figure]} by {PLAIN[kind]}, each video by the others: {plain['value']:.2f}, "
            f"chance {plain['chance']:.2f}, n = {plain['n']}{_answered(kind, method, above_chance)}"
        )
        return Quality("unknown", method, above_chance, line, _named(self.figures or {}, (comparison.plain,)))


def _answered(kind: Kind, method: str, above_chance: bool) -> str:
    said = f"; answered by {PLAIN[kind] if method == 'plain' else 'the model'}"
    return f"{said}." if above_chance else f"{said}, not shown to be above chance: do not rely on it."


def evaluation_prefix(trained: Trained, captioner: str | None) -> str:
    """How the names of the evaluations of a model and a captioner begin."""
    own = captioner.rpartition(".")[2] if captioner else "none"
    return f"{trained.name}.{trained.folder.name}.{own}."


def check_by(by: By, to_the_model: Mapping[str, object] | None = None) -> By:
    """Who is asked: ``by``, and the model where an option is given (not ``None``) that goes to it alone.

    Raises :class:`InputError` where ``by`` is none of the ways, or ``plain`` beside such an option.
    """
    if by not in ("auto", "model", "plain"):
        raise InputError(f"--by {by}: auto, model or plain; auto takes what is better on held-out videos")
    given = [option for option, value in (to_the_model or {}).items() if value is not None]
    if given and by == "plain":
        raise InputError(f"{given[0]}: goes to the model; leave {given[0]} or --by plain out")
    return "model" if given else by


def _of_the_model() -> set[str]:
    return {c.figure for groups in COMPARISONS.values() for group in groups for c in group}


def _named(figures: Mapping[str, Mapping], names: Sequence[str]) -> tuple[NamedFigure, ...]:
    return tuple(
        NamedFigure(name, *(figures[name][part] for part in ("value", "low", "high", "chance", "n")))
        for name in names
        if figures.get(name, {}).get("value") is not None
    )
