"""Visual search figures: from a sentence to the visual tokens of its moment, and from a moment to its sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

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
from multimodal.scoring.intervals import Figure, ScoredQuestions, sample_questions
from multimodal.scoring.ranking import precision_at, retrieval_figures
from multimodal.scoring.references import ReferencedMoment
from multimodal.scoring.truth import Truth
from multimodal.segments import Segment

PRECISIONS = (1, 10)
MOST_MOMENTS = 1000
"""Moments at most that are searched among each other, as in the field's 1k splits; of more a sample."""


def visual_scores(
    trained: Trained, texts: Sequence[str], tokens: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of each text for each moment and of each moment for each text: float64 [T, M] and [M, T], higher is nearer.

    As in the visual ranking of a search: cosines of text and video embedding over the temperature, to which for the nearest
    50 of a row the log-probability of the alignment head is added; these stay before all others. Equal texts and equal runs
    of tokens get equal scores.
    """
    # each different text and run is embedded once
    distinct_texts, text_of = _distinct(texts)
    distinct_runs, run_of = _distinct([tuple(t) for t in tokens])
    cosines = (embed_texts(trained, distinct_texts) @ embed_videos(trained, distinct_runs).T).astype(
        np.float64
    )
    scaled_TM = cosines[np.ix_(text_of, run_of)] / TEMPERATURE
    # the alignment head reads a pair once for both directions
    first = [np.argsort(-scores, axis=1, kind="stable")[:, :RERANKED] for scores in (scaled_TM, scaled_TM.T)]
    wanted = {(text_of[t], run_of[m]) for t, row in enumerate(first[0]) for m in row.tolist()}
    wanted |= {(text_of[t], run_of[m]) for m, row in enumerate(first[1]) for t in row.tolist()}
    pairs = sorted(wanted)
    aligned = np.zeros((len(distinct_texts), len(distinct_runs)))
    aligned[tuple(np.array(pairs).T)] = alignment_probability(
        trained, [distinct_texts[t] for t, _ in pairs], [distinct_runs[m] for _, m in pairs]
    )
    aligned_TM = np.log(aligned[np.ix_(text_of, run_of)] + LEAST_PROBABILITY)
    return _reranked(scaled_TM, aligned_TM, first[0]), _reranked(scaled_TM.T, aligned_TM.T, first[1])


def _distinct(values: Sequence[Hashable]) -> tuple[list, list[int]]:
    """The different values, and for each value its number among them."""
    numbers: dict[Hashable, int] = {}
    by = [numbers.setdefault(value, len(numbers)) for value in values]
    return list(numbers), by


def _reranked(scaled_NM: np.ndarray, aligned_NM: np.ndarray, first_NK: np.ndarray) -> np.ndarray:
    """The sums of both for the first K of each row; all others by the first alone, below the least of these sums."""
    sums = np.take_along_axis(scaled_NM + aligned_NM, first_NK, 1)
    below = scaled_NM - scaled_NM.max(1, keepdims=True) + sums.min(1, keepdims=True) - 1
    np.put_along_axis(below, first_NK, sums, 1)
    return below


def search_figures(
    trained: Trained, paired: Sequence[Segment], truth: Truth | None, seed: int = 0
) -> dict[str, Figure]:
    """``search_…`` ranks the moments for each sentence, ``moment_to_text_…`` the sentences for each moment.

    With a truth also the precision at 1 and at 10 of the moments that show the same action and thing as the sentence's
    own. Chance is a random order.
    """
    if len(paired) < 2:
        return {}
    paired, note = sample_questions(paired, seed, MOST_MOMENTS, "moments")
    to_moments_NN, to_texts_NN = visual_scores(trained, [s.text for s in paired], [s.tokens for s in paired])
    own_NN, videos = np.eye(len(paired), dtype=bool), [s.video for s in paired]
    figures = retrieval_figures("search", to_moments_NN, own_NN, videos, seed)
    figures |= retrieval_figures("moment_to_text", to_texts_NN, own_NN, videos, seed)
    steps = [truth.at(s.video, s.start, s.end) if truth else None for s in paired]
    shows = [(s.action, s.thing) if s else None for s in steps]
    known = [i for i, what in enumerate(shows) if what]
    same = np.array([[shows[i] == what for what in shows] for i in known])
    for k in (k for k in PRECISIONS if known and k < len(paired)):
        shares = precision_at(to_moments_NN[known], same, k)
        questions = ScoredQuestions(shares.tolist(), [videos[i] for i in known], same.mean(1).tolist())
        name = "search_first_shows_the_same" if k == 1 else f"search_first_{k}_show_the_same"
        figures[name] = questions.figure(seed)
    return {name: dataclasses.replace(figure, note=note) for name, figure in figures.items()}


def reference_search_figures(
    trained: Trained, references: Sequence[ReferencedMoment], seed: int = 0
) -> dict[str, Figure]:
    """``reference_search_…`` ranks the moments for each reference sentence, ``reference_moment_to_text_…`` the sentences
    for each moment, where the best of a moment's sentences counts."""
    if len(references) < 2:
        return {}
    references, note = sample_questions(references, seed, MOST_MOMENTS, "moments")
    texts = [(sentence, i) for i, r in enumerate(references) for sentence in r.sentences]
    moments = [r.moment for r in references]
    to_moments_TM, to_texts_MT = visual_scores(trained, [t for t, _ in texts], [m.tokens for m in moments])
    own_TM = np.array([i for _, i in texts])[:, None] == np.arange(len(moments))
    videos = [m.video for m in moments]
    figures = retrieval_figures(
        "reference_search", to_moments_TM, own_TM, [videos[i] for _, i in texts], seed
    )
    figures |= retrieval_figures("reference_moment_to_text", to_texts_MT, own_TM.T, videos, seed)
    return {name: dataclasses.replace(figure, note=note) for name, figure in figures.items()}
