"""Alignment figures: the alignment head's judgement of sentences with their own visual tokens and with others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from multimodal.inference.embedding import alignment_probability
from multimodal.inference.trained import Trained
from multimodal.known_world.inference import BestAnswers
from multimodal.scoring.alignment_counts import Pair, alignment_by_counts
from multimodal.scoring.intervals import (
    MOST_QUESTIONS,
    Figure,
    ScoredQuestions,
    compared,
    sample_questions,
)
from multimodal.scoring.ranking import auc_difference, roc_auc
from multimodal.segments import Segment
from multimodal.vocabulary import Vocabulary


def alignment_figures(
    trained: Trained,
    paired: Sequence[Segment],
    train: Sequence[Segment],
    seed: int = 0,
    best: BestAnswers | None = None,
) -> dict[str, Figure]:
    """``alignment_accuracy`` (threshold one half) and ``alignment_auc`` of positive and negative pairs.

    Each sentence is in two pairs: with its own tokens, and with those of another video's segment that shows other tokens,
    drawn by the seed. Of many sentences a sample is asked, and the negatives are drawn from it. A model without an alignment
    head has no such figures. ``…_counts`` are by what is said and shown together in ``train`` segments
    (:mod:`multimodal.scoring.alignment_counts`), ``…_minus_counts`` the difference. With ``best`` answers both have their
    limit: the pairs are told apart by the ratio of their likelihoods.
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
    model = _Scores(*(alignment_probability(trained, texts, runs) for runs in (own, other)), 0.5)
    counts = _counted(trained.vocabulary, train, texts, own, other, seed)
    figures = compared("alignment_accuracy", model.judged(videos), counts.judged(videos), seed)
    figures["alignment_auc"] = roc_auc(model.own, model.other, videos, videos, seed)
    figures["alignment_auc_counts"] = roc_auc(counts.own, counts.other, videos, videos, seed)
    figures["alignment_auc_minus_counts"] = auc_difference(
        (model.own, model.other), (counts.own, counts.other), videos, videos, seed
    )
    if best is not None:
        said = [text.split() for text in texts]
        limit = _Scores(*(_log_ratios(best, said, runs) for runs in (own, other)), 0.0)
        figures["alignment_accuracy_limit"] = limit.judged(videos).figure(seed)
        figures["alignment_auc_limit"] = roc_auc(limit.own, limit.other, videos, videos, seed)
    return {name: dataclasses.replace(figure, note=note) for name, figure in figures.items()}


@dataclasses.dataclass(frozen=True)
class _Scores:
    """The scores of the sentences with their ``own`` tokens and with ``other`` ones, float64 [n]; above ``threshold`` a pair
    is taken for aligned."""

    own: np.ndarray
    other: np.ndarray
    threshold: float

    def judged(self, videos: Sequence[str]) -> ScoredQuestions:
        judged = ScoredQuestions()
        for video, own, other in zip(videos, self.own, self.other, strict=True):
            judged.add(video, own > self.threshold, 0.5)
            judged.add(video, other <= self.threshold, 0.5)
        return judged


def _counted(
    vocabulary: Vocabulary,
    train: Sequence[Segment],
    texts: Sequence[str],
    own: Sequence[Sequence[int]],
    other: Sequence[Sequence[int]],
    seed: int,
) -> _Scores:
    def pair(video: str, text: str, tokens: Sequence[int]) -> Pair:
        return Pair(video, frozenset(vocabulary.encode(text)), frozenset(tokens))

    learned = [pair(s.video, s.text, s.tokens) for s in train if s.tokens]
    asked = [pair("", text, run) for runs in (own, other) for text, run in zip(texts, runs, strict=True)]
    found = alignment_by_counts(learned, asked, seed)
    return _Scores(found.scores[: len(texts)], found.scores[len(texts) :], found.threshold)


def _log_ratios(
    best: BestAnswers, said: Sequence[Sequence[str]], runs: Sequence[Sequence[int]]
) -> np.ndarray:
    """float64 [n]: log of how much likelier each sentence and its tokens are as an aligned pair than as a misaligned one."""
    both_NN, text_N, run_N = best.log_likelihoods(said, runs)
    return np.diagonal(both_NN) - text_N - run_N
