"""The time of an answer of teacher and student."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Asked = TypeVar("Asked")
TIMED = 30
"""Answers whose time is taken."""


def answer_seconds(answers: Sequence[Callable[[Asked], object]], asked: Sequence[Asked]) -> list[float]:
    """The median seconds in which each of ``answers`` answers a question, in turn, so that none has the quieter machine."""
    took: list[list[float]] = [[] for _ in answers]
    for one in [asked[0], *asked]:  # the first warms up
        for times, answer in zip(took, answers, strict=True):
            began = time.perf_counter()
            answer(one)
            times.append(time.perf_counter() - began)
    return [statistics.median(times[1:]) for times in took]
