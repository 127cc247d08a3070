"""What the report and the page say in words: whether to trust the answers, and lengths of time."""

from __future__ import annotations

from collections.abc import Mapping

from multimodal.answers.quality import Evaluation, Kind, Quality

ANSWERS: dict[Kind, str] = {
    "caption": "Captions",
    "next": "Next clips",
    "classify": "Verbs and nouns",
    "imagine": "Imagined clips",
}
"""The kinds of answers whose quality stands at the top of the page."""


def what_to_trust(qualities: Mapping[Kind, Quality], evaluation: Evaluation) -> str:
    """How good the model is on this library, in plain sentences."""
    better = [ANSWERS[kind].lower() for kind, quality in qualities.items() if quality.verdict == "better"]
    others = [ANSWERS[kind].lower() for kind, quality in qualities.items() if quality.verdict != "better"]
    if not better and all(quality.verdict == "unknown" for quality in qualities.values()):
        why = evaluation.why_unknown
        return (
            f"Nothing says how good the model is: {why}. So words that were said and plain counts answer in its place; "
            "no probability on this page is a confidence."
        )
    said = f"On the held-out videos the model is better than plain counting in: {', '.join(better)}." if better else (
        "On the held-out videos the model is not shown to be better than plain counting in anything."
    )  # fmt: skip
    if others:
        said += f" Elsewhere words that were said and plain counts answer in its place: {', '.join(others)}."
    return f"{said} Do not rely on what is not above chance."


def clock(seconds: float) -> str:
    """``75.25`` is ``1:15``, and an hour on ``1:01:15``: as players show it."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def spoken(seconds: float) -> str:
    """``435.0`` is ``7 min 15 s``, and from an hour on ``1 h 12 min``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:,} h {minute} min" if hours else f"{minute} min {second} s"
