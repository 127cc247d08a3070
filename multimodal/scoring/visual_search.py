"""Visual search figures: from a sentence to the visual tokens of its moment, and from a moment to its sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from multimodal.answers.alignment import RERANKED
from multimodal.inference.embedding import (
    LEAST_PROBABILITY,
    TEMPERATURE,
    alignment_probability,
    embed_texts,
    embed_videos,
)
from multimodal.inference.trained import Trained
from multimodal.known_world.inference import BestAnswers
from multimodal.scoring.intervals import Figure, ScoredQuestions, sample_questions
from multimodal.scoring.ranking import precision_at, retrieval_figures
from multimodal.scoring.references import ReferencedMoment
from multimodal.scoring.truth import Truth
from multimodal.segments import Segment

PRECISIONS = (1, 10)
MOST_MOMENTS = 1000
"""Moments at most that are searched, as in the field's 1k splits; of more a sample."""
MOST_QUERIES = 250
"""Queries at most in each direction. Each costs 50 passes of the alignment head."""


def visual_scores(
    trained: Trained,
    texts: Sequence[str],
    tokens: Sequence[Sequence[int]],
    asked_texts: Sequence[int] | None = None,
    asked_moments: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of each asked text for each moment and of each asked moment for each text: float64 [Q, M] and [R, T], higher
    is nearer. ``asked_texts`` and ``asked_moments`` are the numbers of those that are asked; ``None``: all.

    As in the visual ranking of a search: cosines of text and video embedding over the temperature, to which for the nearest
    50 of a row the log-probability of the alignment head is added; these stay before all others. Equal texts and equal runs
    of tokens get equal scores. Without an alignment head they are the cosines alone.
    """
    asked_Q = np.arange(len(texts)) if asked_texts is None else np.array(asked_texts)
    asked_R = np.arange(len(tokens)) if asked_moments is None else np.array(asked_moments)
    # each different text and run is embedded once
    distinct_texts, text_of = _distinct(texts)
    distinct_runs, run_of = _distinct([tuple(t) for t in tokens])
    cosines = (embed_texts(trained, distinct_texts) @ embed_videos(trained, distinct_runs).T).astype(
        np.float64
    )
    scaled_TM = cosines[np.ix_(text_of, run_of)] / TEMPERATURE
    scaled = scaled_TM[asked_Q], scaled_TM.T[asked_R]
    if not trained.has_alignment:
        return scaled
    # the alignment head reads a pair once for both directions
    first = [np.argsort(-scores, axis=1, kind="stable")[:, :RERANKED] for scores in scaled]
    wanted = {(text_of[t], run_of[m]) for t, row in zip(asked_Q, first[0], strict=True) for m in row.tolist()}
    wanted |= {
        (text_of[t], run_of[m]) for m, row in zip(asked_R, first[1], strict=True) for t in row.tolist()
    }
    pairs = sorted(wanted)
    aligned = np.zeros((len(distinct_texts), len(distinct_runs)))
    aligned[tuple(np.array(pairs).T)] = alignment_probability(
        trained, [distinct_texts[t] for t, _ in pairs], [distinct_runs[m] for _, m in pairs]
    )
    aligned_TM = np.log(aligned[np.ix_(text_of, run_of)] + LEAST_PROBABILITY)
    return _reranked(scaled[0], aligned_TM[asked_Q], first[0]), _reranked(
        scaled[1], aligned_TM.T[asked_R], first[1]
    )


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
    trained: Trained,
    paired: Sequence[Segment],
    truth: Truth | None,
    seed: int = 0,
    best: BestAnswers | None = None,
) -> dict[str, Figure]:
    """``search_…`` ranks the moments for each sentence, ``moment_to_text_…`` the sentences for each moment.

    With a truth also the precision at 1 and at 10 of the moments that show the same action and thing as the sentence's
    own. With ``best`` answers both rankings have their limit, ``…_limit``. Chance is a random order.
    """
    if len(paired) < 2:
        return {}
    paired, note = sample_questions(paired, seed, MOST_MOMENTS, "moments")
    asked, note = _queries(len(paired), seed, note)
    texts, tokens = [s.text for s in paired], [s.tokens for s in paired]
    to_moments_QN, to_texts_QN = visual_scores(trained, texts, tokens, asked, asked)
    own_QN, videos = np.eye(len(paired), dtype=bool)[asked], [paired[i].video for i in asked]
    figures = retrieval_figures("search", to_moments_QN, own_QN, videos, seed)
    figures |= retrieval_figures("moment_to_text", to_texts_QN, own_QN, videos, seed)
    if best is not None:
        figures |= _limits(best, paired, asked, own_QN, videos, seed)
    steps = [truth.at(s.video, s.start, s.end) if truth else None for s in paired]
    shows = [(s.action, s.thing) if s else None for s in steps]
    known = [q for q, i in enumerate(asked) if shows[i]]
    same = np.array([[shows[asked[q]] == what for what in shows] for q in known])
    for k in (k for k in PRECISIONS if known and k < len(paired)):
        shares = precision_at(to_moments_QN[known], same, k)
        questions = ScoredQuestions(shares.tolist(), [videos[i] for i in known], same.mean(1).tolist())
        name = "search_first_shows_the_same" if k == 1 else f"search_first_{k}_show_the_same"
        figures[name] = questions.figure(seed)
    return {name: dataclasses.replace(figure, note=note) for name, figure in figures.items()}


def _limits(
    best: BestAnswers,
    paired: Sequence[Segment],
    asked: Sequence[int],
    own_QN: np.ndarray,
    videos: Sequence[str],
    seed: int,
) -> dict[str, Figure]:
    """The best possible rankings by pairs: by the likelihood of the query as that of the candidate's own moment."""
    both_NN, text_N, run_N = best.log_likelihoods(
        [s.text.split() for s in paired], [s.tokens for s in paired]
    )
    found = retrieval_figures("search", (both_NN - run_N)[asked], own_QN, videos, seed)
    found |= retrieval_figures("moment_to_text", (both_NN.T - text_N)[asked], own_QN, videos, seed)
    return {f"{name}_limit": figure for name, figure in found.items()}


def reference_search_figures(
    trained: Trained, references: Sequence[ReferencedMoment], seed: int = 0
) -> dict[str, Figure]:
    """``reference_search_…`` ranks the moments for each reference sentence, ``reference_moment_to_text_…`` the sentences
    for each moment, where the best of a moment's sentences counts."""
    if len(references) < 2:
        return {}
    references, note = sample_questions(references, seed, MOST_MOMENTS, "moments")
    asked_moments, note = _queries(len(references), seed, note)
    texts = [(sentence, i) for i, r in enumerate(references) for sentence in r.sentences]
    asked_texts, _ = _queries(len(texts), seed, note)
    moments = [r.moment for r in references]
    to_moments_QM, to_texts_RT = visual_scores(
        trained, [t for t, _ in texts], [m.tokens for m in moments], asked_texts, asked_moments
    )
    own_TM = np.array([i for _, i in texts])[:, None] == np.arange(len(moments))
    videos = [m.video for m in moments]
    of_texts, of_moments = [videos[texts[t][1]] for t in asked_texts], [videos[m] for m in asked_moments]
    figures = retrieval_figures("reference_search", to_moments_QM, own_TM[asked_texts], of_texts, seed)
    figures |= retrieval_figures(
        "reference_moment_to_text", to_texts_RT, own_TM.T[asked_moments], of_moments, seed
    )
    return {name: dataclasses.replace(figure, note=note) for name, figure in figures.items()}


def _queries(count: int, seed: int, note: str) -> tuple[list[int], str]:
    """The numbers of at most :data:`MOST_QUERIES` of ``count`` queries, in order, and what is said of it after ``note``."""
    asked, sampled = sample_questions(list(range(count)), seed, MOST_QUERIES, "queries")
    return sorted(asked), "; ".join(filter(None, [note, sampled]))
