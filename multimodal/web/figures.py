"""Owns the words for the figures of an evaluation: which question each one answers, and which belong side by side."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from multimodal.catalogue import Catalogue, Video
from multimodal.library import LEAST_TO_SPLIT
from multimodal.store import Store


@dataclasses.dataclass(frozen=True)
class Question:
    """``sides``: the figures that answer it, each by name with what was given; ``better`` and ``worse`` say which of two won."""

    title: str
    explained: str
    sides: tuple[tuple[str, str], ...]
    better: str = ""
    worse: str = ""


_CLOZE_CHANCE = "Chance: always saying the most frequent one."
QUESTIONS = (
    Question(
        "Find a hidden word",
        f"One word of a sentence is covered; does the model name exactly that word? {_CLOZE_CHANCE}",
        (("text_cloze_with_video", "seeing the picture"), ("text_cloze_without_video", "words alone")),
        "Seeing the picture helps",
        "Seeing the picture does harm",
    ),
    Question(
        "Find a hidden action or thing",
        f"The same, only for words that name an action or a thing of this corpus. {_CLOZE_CHANCE}",
        (
            ("action_and_thing_text_cloze_with_video", "seeing the picture"),
            ("action_and_thing_text_cloze_without_video", "words alone"),
        ),
        "Seeing the picture helps",
        "Seeing the picture does harm",
    ),
    Question(
        "Find a hidden visual token",
        f"One clip of 1.5 s is covered; does the model name its visual token? {_CLOZE_CHANCE}",
        (("video_cloze_with_text", "hearing the words"), ("video_cloze_without_text", "picture alone")),
        "Hearing the words helps",
        "Hearing the words does harm",
    ),
    Question(
        "Find the moment of a sentence by sight alone",
        "A sentence is looked up among the pictures of all held-out moments; is its own among the first? "
        "Chance: a blind draw.",
        (
            ("search_recall_at_1", "in the first place"),
            ("search_recall_at_5", "in the first 5"),
            ("search_recall_at_10", "in the first 10"),
        ),
    ),
    Question(
        "Does this sentence belong to this picture?",
        "A sentence is shown with its own picture or with a stranger's; yes or no. Chance: a coin.",
        (("alignment_accuracy", "yes or no"),),
    ),
    Question(
        "Find any moment that shows the same",
        "A sentence is looked up by sight; does the first moment show the action and the thing that the sentence is about? "
        "Chance: a blind draw.",
        (("search_first_shows_the_same", "in the first place"),),
    ),
    Question(
        "Name the action that is seen",
        "The model picks one of the known actions for a picture; it was never taught their names as labels. "
        "Chance: a blind pick.",
        (
            ("verb_zero_shot", "seeing the picture"),
            ("verb_zero_shot_without_video", "guessing with eyes shut"),
        ),
        "Seeing the picture helps",
        "Seeing the picture does harm",
    ),
    Question(
        "Name the thing that is seen",
        "The same for the known things. Chance: a blind pick.",
        (
            ("noun_zero_shot", "seeing the picture"),
            ("noun_zero_shot_without_video", "guessing with eyes shut"),
        ),
        "Seeing the picture helps",
        "Seeing the picture does harm",
    ),
    Question(
        "What comes next?",
        "The visual token of the very next clip of 1.5 s. Chance: always saying the most frequent token.",
        (("next_token", "the model"), ("next_token_bigram_table", "a table of what mostly follows what")),
        "The model beats the table",
        "The table beats the model",
    ),
)


@dataclasses.dataclass(frozen=True)
class Side:
    """One figure under its question; ``value``, ``low``, ``high`` and ``chance`` are shares from 0 to 1."""

    name: str
    given: str
    value: float
    low: float
    high: float
    chance: float
    n: int

    @property
    def ratio(self) -> float | None:
        return self.value / self.chance if self.chance > 0 else None

    @property
    def verdict(self) -> str:
        if self.low > self.chance:
            return "above chance"
        return "below chance" if self.high < self.chance else "not told apart from chance"


@dataclasses.dataclass(frozen=True)
class Answered:
    """A question with the figures that there are, and what the first two say when compared."""

    title: str
    explained: str
    sides: tuple[Side, ...]
    comparison: str


def read_figures(store: Store, catalogue: Catalogue) -> dict[str, dict[str, float]] | None:
    """The current evaluation's figures by flat name; ``None`` where there is no evaluation yet."""
    name = catalogue.current("evaluation")
    path = name and store.evaluation(name.removesuffix(".json"))
    return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else None


def answered(figures: dict[str, dict[str, float]]) -> list[Answered]:
    """The figures under their questions, in reading order; a name that no question knows is shown under its own."""
    known = {name for question in QUESTIONS for name, _ in question.sides}
    others = tuple((name, name.replace("_", " ")) for name in sorted(figures) if name not in known)
    asked = (*QUESTIONS, Question("Other figures", "As the evaluation names them.", others))
    found = []
    for question in asked:
        sides = tuple(Side(name, given, **figures[name]) for name, given in question.sides if name in figures)
        if sides:
            found.append(Answered(question.title, question.explained, sides, _compare(question, sides)))
    return found


def _compare(question: Question, sides: Sequence[Side]) -> str:
    if not question.better or len(sides) != 2:
        return ""
    first, second = sides
    points = f"{100 * abs(first.value - second.value):.1f} points"
    if first.low > second.high:
        return f"{question.better}: {points} more, and the intervals do not meet."
    if first.high < second.low:
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
