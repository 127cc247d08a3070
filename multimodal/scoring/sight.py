"""Owns the questions of search by sight alone: from a text to its moment, and from a moment to its text."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np

from multimodal.answers.search import RERANKED
from multimodal.inference.embedding import (
    LEAST_PROBABILITY,
    TEMPERATURE,
    alignment_probability,
    embed_texts,
    embed_videos,
)
from multimodal.inference.trained import Trained
from multimodal.scoring.intervals import Answers, Figure
from multimodal.scoring.ranking import precision, retrieval
from multimodal.scoring.references import Asked
from multimodal.scoring.truth import Truth
from multimodal.segments import Segment

T = TypeVar("T")

PRECISIONS = (1, 10)
MOST = 1000
"""Moments at most that are looked up among each other, as in the field's 1k splits; of more, the seed draws so many."""


def sight_scores(
    trained: Trained, texts: Sequence[str], tokens: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """How near each text is to each moment and each moment to each text: float64 [T, M] and [M, T], higher is nearer.

    As search ranks by sight: log-probabilities of the video-only embedding, to which for the nearest 50 of a row the
    alignment head's is added; these stay before all others. What is the same gets the same score.
    """
    said, said_by = _distinct(texts)
    shown, shown_by = _distinct([tuple(t) for t in tokens])
    near_TM = (embed_texts(trained, said) @ embed_videos(trained, shown).T).astype(np.float64)
    near_TM = near_TM[np.ix_(said_by, shown_by)] / TEMPERATURE
    firsts = [np.argsort(-near, axis=1, kind="stable")[:, :RERANKED] for near in (near_TM, near_TM.T)]
    wanted = {(said_by[t], shown_by[m]) for t, row in enumerate(firsts[0]) for m in row.tolist()}
    wanted |= {(said_by[t], shown_by[m]) for m, row in enumerate(firsts[1]) for t in row.tolist()}
    both = sorted(wanted)
    aligned = np.zeros((len(said), len(shown)))
    aligned[tuple(np.array(both).T)] = alignment_probability(
        trained, [said[t] for t, _ in both], [shown[m] for _, m in both]
    )
    aligned_TM = np.log(aligned[np.ix_(said_by, shown_by)] + LEAST_PROBABILITY)
    return _in_two_stages(near_TM, aligned_TM, firsts[0]), _in_two_stages(near_TM.T, aligned_TM.T, firsts[1])


def _distinct(values: Sequence[Hashable]) -> tuple[list, list[int]]:
    """The different values, and for each value its number among them."""
    numbers: dict[Hashable, int] = {}
    by = [numbers.setdefault(value, len(numbers)) for value in values]
    return list(numbers), by


def _in_two_stages(near_NM: np.ndarray, aligned_NM: np.ndarray, first_NK: np.ndarray) -> np.ndarray:
    sums = np.take_along_axis(near_NM + aligned_NM, first_NK, 1)
    below = near_NM - near_NM.max(1, keepdims=True) + sums.min(1, keepdims=True) - 1
    np.put_along_axis(below, first_NK, sums, 1)
    return below


def sight(
    trained: Trained, paired: Sequence[Segment], truth: Truth | None, seed: int = 0
) -> dict[str, Figure]:
    """``search_…`` looks each sentence up among the moments of all, ``moment_to_text_…`` each moment among the sentences.

    With the truth known, also whether the first moments show the same action and thing as the sentence's own: the
    first, and the share of the first ten. Chance is a blind draw.
    """
    if len(paired) < 2:
        return {}
    paired, note = _drawn(paired, seed)
    to_moments_NN, to_texts_NN = sight_scores(trained, [s.text for s in paired], [s.tokens for s in paired])
    own_NN, videos = np.eye(len(paired), dtype=bool), [s.video for s in paired]
    figures = retrieval("search", to_moments_NN, own_NN, videos, seed)
    figures |= retrieval("moment_to_text", to_texts_NN, own_NN, videos, seed)
    steps = [truth.at(s.video, s.start, s.end) if truth else None for s in paired]
    shows = [(s.action, s.thing) if s else None for s in steps]
    asked = [i for i, what in enumerate(shows) if what]
    same = np.array([[shows[i] == what for what in shows] for i in asked])
    for k in (k for k in PRECISIONS if asked and k < len(paired)):
        shares = precision(to_moments_NN[asked], same, k)
        answers = Answers(shares.tolist(), [videos[i] for i in asked], same.mean(1).tolist())
        name = "search_first_shows_the_same" if k == 1 else f"search_first_{k}_show_the_same"
        figures[name] = answers.figure(seed)
    return {name: dataclasses.replace(figure, note=note) for name, figure in figures.items()}


def _drawn(moments: Sequence[T], seed: int) -> tuple[Sequence[T], str]:
    """At most :data:`MOST` of them, in their order, and a note where some are left out."""
    if len(moments) <= MOST:
        return moments, ""
    kept = np.sort(np.random.default_rng(seed).choice(len(moments), MOST, replace=False))
    return [moments[i] for i in kept], f"{MOST} of {len(moments)} moments, drawn by the seed"


def reference_sight(trained: Trained, references: Sequence[Asked], seed: int = 0) -> dict[str, Figure]:
    """``reference_search_…`` looks each reference sentence up among the moments that have some, ``reference_moment_to_text_…`` the other way.

    A moment with several sentences has found its text where the best of them is found.
    """
    if len(references) < 2:
        return {}
    references, note = _drawn(references, seed)
    of_text = [(sentence, i) for i, asked in enumerate(references) for sentence in asked.sentences]
    moments = [asked.moment for asked in references]
    to_moments_TM, to_texts_MT = sight_scores(trained, [t for t, _ in of_text], [m.tokens for m in moments])
    own_TM = np.array([i for _, i in of_text])[:, None] == np.arange(len(moments))
    videos = [m.video for m in moments]
    figures = retrieval("reference_search", to_moments_TM, own_TM, [videos[i] for _, i in of_text], seed)
    figures |= retrieval("reference_moment_to_text", to_texts_MT, own_TM.T, videos, seed)
    return {name: dataclasses.replace(figure, note=note) for name, figure in figures.items()}
