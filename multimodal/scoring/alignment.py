"""Alignment figures: the alignment head's judgement of sentences with their own visual tokens and with others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from multimodal.inference.embedding import alignment_probability
from multimodal.inference.trained import Trained
from multimodal.known_world.inference import BestAnswers
from multimodal.scoring.intervals import MOST_QUESTIONS, Figure, ScoredQuestions, sample_questions
from multimodal.scoring.ranking import roc_auc
from multimodal.segments import Segment


def alignment_figures(
    trained: Trained, paired: Sequence[Segment], seed: int = 0, best: BestAnswers | None = None
) -> dict[str, Figure]:
    """``alignment_accuracy`` (threshold one half) and ``alignment_auc`` of positive and negative pairs.

    Each sentence is in two pairs: with its own tokens, and with those of another video's segment that shows other tokens,
    drawn by the seed. Of many sentences a sample is asked, and the negatives are drawn from it. A model without an alignment
    head has no such figures. With ``best`` answers both have their limit: the pairs are told apart by the ratio of their
    likelihoods.
    """
    if not trained.has_alignment:
        return {}
    paired, note = sample_questions(paired, seed, MOST_QUESTIONS // 2, "sentences")
    random = np.random.default_rng(seed)
    pairs = []
    for s in paired:
        negatives = [o for o in paired if o.video != s.video and o.tokens != s.tokens]
        if negatives:
            pairs.append((s, negatives[int(random.integers(len(negatives)))]))
    if not pairs:
        return {}
    texts, videos = [s.text for s, _ in pairs], [s.video for s, _ in pairs]
    own, other = [s.tokens for s, _ in pairs], [o.tokens for _, o in pairs]
    positive, negative = (alignment_probability(trained, texts, runs) for runs in (own, other))
    figures = _figures("", positive, negative, 0.5, videos, seed)
    if best is not None:
        said = [text.split() for text in texts]
        positive, negative = (_log_ratios(best, said, runs) for runs in (own, other))
        figures |= _figures("_limit", positive, negative, 0.0, videos, seed)
    return {name: dataclasses.replace(figure, note=note) for name, figure in figures.items()}


def _figures(
    end: str, positive: np.ndarray, negative: np.ndarray, threshold: float, videos: Sequence[str], seed: int
) -> dict[str, Figure]:
    accuracy = ScoredQuestions()
    for video, own, other in zip(videos, positive, negative, strict=True):
        accuracy.add(video, own > threshold, 0.5)
        accuracy.add(video, other <= threshold, 0.5)
    return {
        f"alignment_accuracy{end}": accuracy.figure(seed),
        f"alignment_auc{end}": roc_auc(positive, negative, videos, videos, seed),
    }


def _log_ratios(
    best: BestAnswers, said: Sequence[Sequence[str]], runs: Sequence[Sequence[int]]
) -> np.ndarray:
    """float64 [n]: log of how much likelier each sentence and its tokens are as an aligned pair than as a misaligned one."""
    both_NN, text_N, run_N = best.log_likelihoods(said, runs)
    return np.diagonal(both_NN) - text_N - run_N
