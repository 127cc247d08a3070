"""Alignment figures: the alignment head's judgement of sentences with their own visual tokens and with others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from multimodal.inference.embedding import alignment_probability
from multimodal.inference.trained import Trained
from multimodal.scoring.intervals import MOST_QUESTIONS, Figure, ScoredQuestions, sample_questions
from multimodal.scoring.ranking import roc_auc
from multimodal.segments import Segment


def alignment_figures(trained: Trained, paired: Sequence[Segment], seed: int = 0) -> dict[str, Figure]:
    """``alignment_accuracy`` (threshold one half) and ``alignment_auc`` of positive and negative pairs.

    Each sentence is in two pairs: with its own tokens, and with those of another video's segment that shows other tokens,
    drawn by the seed. Of many sentences a sample is asked, and the negatives are drawn from it. A model without an alignment
    head has no such figures.
    """
    if not trained.has_alignment:
        return {}
    paired, note = sample_questions(paired, seed, MOST_QUESTIONS // 2, "sentences")
    random, accuracy = np.random.default_rng(seed), ScoredQuestions()
    pairs = []
    for s in paired:
        negatives = [o for o in paired if o.video != s.video and o.tokens != s.tokens]
        if negatives:
            pairs.append((s, negatives[int(random.integers(len(negatives)))]))
    if not pairs:
        return {}
    texts, videos = [s.text for s, _ in pairs], [s.video for s, _ in pairs]
    positive = alignment_probability(trained, texts, [s.tokens for s, _ in pairs])
    negative = alignment_probability(trained, texts, [o.tokens for _, o in pairs])
    for video, own, other in zip(videos, positive, negative, strict=True):
        accuracy.add(video, own > 0.5, 0.5)
        accuracy.add(video, other <= 0.5, 0.5)
    figures = {
        "alignment_accuracy": accuracy.figure(seed),
        "alignment_auc": roc_auc(positive, negative, videos, videos, seed),
    }
    return {name: dataclasses.replace(figure, note=note) for name, figure in figures.items()}
