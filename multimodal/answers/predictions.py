"""Predictions: what the head of a fine-tuning task says of the moments of a video, and the forms in which it is written."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers import session
from multimodal.answers.results import PredictAnswer, PredictedMoment
from multimodal.inference.head_shapes import SCORE, SPAN, TOKEN
from multimodal.inference.heads import (
    Head,
    answer_moments,
    answer_question,
    answer_units,
    answer_whole,
    read_head,
    readable,
)
from multimodal.library import Material
from multimodal.store import InputError
from speech.cues import cues_of, write_webvtt

if TYPE_CHECKING:
    from multimodal.answers.opened_store import OpenedStore

ANSWER = "the answer"
"""The label of the time that answers a question."""
THRESHOLD = 0.5
"""The probability from which on a moment has one of several labels."""


def predict(
    store: OpenedStore, video: str, head: str, text: str | None = None, at: float | None = None
) -> PredictAnswer:
    """Of a timeline its parts in which one label goes on, of a whole video its label, of a question the seconds that answer
    it, or none; else each moment of the video, or the one at a second.

    Raises :class:`InputError` for a head that is not there or of another model, a text that a head of pairs or questions lacks
    or another one has no use for, and a video of which there is nothing to read.
    """
    moment = session.resolve(store.catalogue, video, at)
    opened = store.head(head)
    kind = opened.shape.kind
    if (text is None) == opened.shape.reads_text:
        what = "the question" if kind == SPAN else "what may fit the moments"
        lacks = f"needs --text, {what}" if text is None else "reads no --text; leave it out"
        raise InputError(f"--head {head}: is of kind {kind} and {lacks}")
    if moment.at is not None and opened.shape.is_of_whole_videos:
        raise InputError(
            f"--head {head}: is of kind {kind} and asked about a whole video; leave the second out"
        )
    figures = read_head(store.store, head)["figures"]
    material = session.material_of(store.store, store.trained, moment.video)
    if kind == SPAN:
        answer = answer_question(store.trained, opened, material, text or "")
        none: tuple[PredictedMoment, ...] = ()
        span = answer and (PredictedMoment(*answer[:2], (ANSWER,), _sigmoid(answer[2]), None, {}),)
        return PredictAnswer(moment.video, head, kind, text, span or none, figures)
    if kind == TOKEN:
        times, answers = answer_units(store.trained, opened, material)
        found = timeline(opened, times, answers)
    elif opened.shape.is_of_whole_videos:
        answers = answer_whole(store.trained, opened, material)
        if not opened.shape.several:
            answers = answers / answers.sum(1, keepdims=True)
        found = [_predicted(opened, 0.0, moment.video.seconds or 0.0, answer) for answer in answers]
    else:
        shown = readable(opened, material.moments())
        answers = answer_moments(store.trained, opened, shown, text)
        found = [_predicted(opened, m.start, m.end, a) for m, a in zip(shown, answers, strict=True)]
    if not found:
        raise InputError(
            f"video {moment.video.name}: there is nothing in it of what --head {head} reads ({opened.shape.read})"
        )
    if moment.at is not None:
        found = [_at(found, moment.at, material)]
    return PredictAnswer(moment.video, head, kind, text, tuple(found), figures)


def _sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def _predicted(head: Head, start: float, end: float, answer_C: np.ndarray) -> PredictedMoment:
    if head.shape.kind == SCORE:
        return PredictedMoment(start, end, (), None, float(answer_C[0]), {})
    ranked = {head.shape.classes[i]: float(answer_C[i]) for i in np.argsort(-answer_C, kind="stable")}
    labels = [name for name, p in ranked.items() if p >= THRESHOLD] if head.shape.several else [*ranked][:1]
    return PredictedMoment(start, end, tuple(labels), ranked[labels[0]] if labels else None, None, ranked)


def timeline(
    head: Head, times: Sequence[tuple[float, float]], answers_NC: np.ndarray
) -> list[PredictedMoment]:
    """Neighbouring clips or words of the same label as one part, with the mean of their probabilities."""
    best_N = answers_NC.argmax(1)
    starts = [0, *(np.flatnonzero(np.diff(best_N)) + 1).tolist(), len(times)] if len(times) else []
    return [
        _predicted(head, times[a][0], times[b - 1][1], answers_NC[a:b].mean(0))
        for a, b in zip(starts, starts[1:], strict=False)
    ]


def _at(found: Sequence[PredictedMoment], at: float, material: Material) -> PredictedMoment:
    """The answer about the moment that a second is in, else the nearest."""
    end = max([material.video.seconds or 0.0, *(m.end for m in found)])
    if not 0 <= at <= end:
        raise InputError(
            f"{material.video.name}@{at:g}: outside the video, which is {end:g} s long; name a second in it"
        )
    return min(found, key=lambda m: max(m.start - at, at - m.end, 0.0))


def webvtt(moments: Sequence[PredictedMoment]) -> str:
    """The answers as a WebVTT file."""
    return write_webvtt(cues_of((m.start, m.end, m.said) for m in moments))


def table(moments: Sequence[PredictedMoment]) -> str:
    """The answers as CSV: start, end, label (several parted by ``|``) and probability, or score."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    scored = any(m.score is not None for m in moments)
    rows.writerow(("start", "end", "score") if scored else ("start", "end", "label", "probability"))
    for m in moments:
        answer = (m.score,) if scored else ("|".join(m.labels), m.probability)
        rows.writerow((m.start, m.end, *answer))
    return text.getvalue()
