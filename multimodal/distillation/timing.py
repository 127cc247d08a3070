"""The time of an answer of teacher and student."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Asked = TypeVar("Asked")
TIMED = 30
"""Answers whose time is taken."""
TURN = 10
"""Answers of a turn."""


def answer_seconds(answers: Sequence[Callable[[Asked], object]], asked: Sequence[Asked]) -> list[float]:
    """The median seconds in which each of ``answers`` answers a question. They take turns of ``TURN`` questions, so that none
    has the quieter machine; the first question of a turn is asked once more before, as it finds the weights of the others in the
    processor's caches, where a model in use finds its own."""
    took: list[list[float]] = [[] for _ in answers]
    for first in range(0, len(asked), TURN):
        turn = asked[first : first + TURN]
        for times, answer in zip(took, answers, strict=True):
            answer(turn[0])
            for one in turn:
                began = time.perf_counter()
                answer(one)
                times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in took]
