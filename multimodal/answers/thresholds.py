"""Thresholds of similarity: a moment is near in meaning, or seen, where it is nearer than random questions come.

A random question is made of words of the model's vocabulary that nobody says in these videos. The threshold is a quantile
of the similarity of each random question's nearest moment, so it grows with the number of moments.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers.languages import is_stop_word

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained
    from multimodal.vocabulary import Vocabulary

QUESTIONS = 400
LENGTHS = (1, 2, 3)
"""Words of a random question: as many of each length."""
QUANTILE = 0.99
LEAST_LETTERS = 3


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """The cosines that a moment exceeds which is near in meaning, and which is seen."""

    near: float
    seen: float


def random_questions(
    vocabulary: Vocabulary, is_said: Callable[[str], bool], count: int = QUESTIONS
) -> list[str]:
    """Up to ``count`` questions of random words of the vocabulary that nobody says, by a fixed seed; no word comes twice."""
    words = [
        word
        for word in vocabulary.spellings
        if len(word) >= LEAST_LETTERS and word.isalpha() and not is_stop_word(word)
    ]
    drawn = (words[i] for i in np.random.default_rng(0).permutation(len(words)))
    unsaid = (word for word in drawn if not is_said(word))
    questions = []
    for number in range(count):
        length = LENGTHS[number % len(LENGTHS)]
        question = list(itertools.islice(unsaid, length))
        if len(question) < length:
            break
        questions.append(" ".join(question))
    return questions


def question_vectors(trained: Trained, is_said: Callable[[str], bool]) -> np.ndarray:
    """The text embeddings of random questions, float32 [n, H]."""
    from multimodal.inference.embedding import embed_texts

    return embed_texts(trained, random_questions(trained.vocabulary, is_said))


def threshold(nearest: np.ndarray) -> float:
    """The quantile of the similarity of each random question's nearest moment [n]; infinite for none."""
    return float(np.quantile(nearest, QUANTILE)) if len(nearest) else float("inf")
