"""How well moments in a row make one chapter: what their words, their visual tokens, their features and the model say of it.

Each table is float64 [n, n] of n moments: at (a, b), a ≤ b, the evidence in nats that the moments a to b are one chapter, so
that the chapters of a video are the rows of stretches with the largest sum (:mod:`multimodal.answers.chapters`). Below the
diagonal nothing is meant.

Source: Eisenstein and Barzilay, Bayesian Unsupervised Topic Segmentation (EMNLP 2008), section 3, for words; the others are ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers.token_names import content_words
from multimodal.segments import Segment

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

PRIOR = 1.0
"""The symmetric Dirichlet prior of the words, and of the visual tokens, of a chapter: each as if met once before."""
PAIRED = 2
"""Moments on each side of a gap of which the model is asked, each with each of the other side, whether they belong together."""


def of_words(moments: Sequence[Segment]) -> np.ndarray:
    """By the content words of the moments, each counted once a moment."""
    return of_counts([sorted(set(content_words(m.text))) for m in moments])


def of_tokens(moments: Sequence[Segment]) -> np.ndarray:
    """By their visual tokens, each counted once a moment: a step lasts several clips, which are no independent evidence."""
    return of_counts([sorted(set(m.tokens)) for m in moments])


def of_counts(items: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """The marginal likelihood of the items of a to b, drawn from one distribution with a Dirichlet prior."""
    places = {item: n for n, item in enumerate(dict.fromkeys(itertools.chain.from_iterable(items)))}
    n = len(items)
    counts, totals, evidence = np.zeros((n, len(places)), np.float32), np.zeros(n), np.zeros(n)
    table = np.zeros((n, n))
    for last, some in enumerate(items):
        begun = slice(last + 1)  # the stretches that begin here or before
        for place in (places[item] for item in some):
            evidence[begun] += np.log((counts[begun, place] + PRIOR) / (totals[begun] + len(places) * PRIOR))
            counts[begun, place] += 1
            totals[begun] += 1
        table[begun, last] = evidence[begun]
    return table


def of_vectors(vectors: np.ndarray) -> np.ndarray:
    """By vectors [n, d], one a moment: the log-density about their mean, the variance being that of all n.

    A moment without a vector has a row of NaN, and says nothing.
    """
    known = ~np.isnan(vectors).any(1)
    table = np.zeros((len(vectors), len(vectors)))
    if not known.any():
        return table
    x = np.where(known[:, None], vectors - vectors[known].mean(0), 0.0)
    # The squares around the mean of a stretch are Σ|x|² − |Σx|² / m; |Σx|² is the sum of a block of the Gram matrix.
    squares = np.concatenate([[0.0], (x**2).sum(1).cumsum()])
    blocks = np.zeros((len(x) + 1,) * 2)
    blocks[1:, 1:] = (x @ x.T).cumsum(0).cumsum(1)
    corner = blocks.diagonal()
    sums = corner[None, 1:] - blocks[:-1, 1:] - blocks[1:, :-1].T + corner[:-1, None]
    counted = np.concatenate([[0], known.cumsum()])
    m = np.maximum(counted[None, 1:] - counted[:-1, None], 1)
    within = squares[None, 1:] - squares[:-1, None] - sums / m
    whole = within[0, -1]
    return np.triu(-within / (2 * whole / known.sum())) if whole > 1e-9 else table


def of_features(moments: Sequence[Segment], features: np.ndarray) -> np.ndarray:
    """By the mean of the ``features`` [clips, d] of each moment, each clip's of length 1."""
    unit = features.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=-1, keepdims=True), 1e-12)
    vectors = np.full((len(moments), unit.shape[1]), np.nan)
    for n, m in enumerate(moments):
        if m.clips:
            vectors[n] = unit[list(m.clips)].mean(0)
    return of_vectors(vectors)


def of_embeddings(trained: Trained, moments: Sequence[Segment]) -> np.ndarray:
    """By the model's text embeddings and its video embeddings."""
    from multimodal.inference.embedding import embed_texts, embed_videos

    said, shown = (
        [n for n, m in enumerate(moments) if part(m)] for part in (lambda m: m.text, lambda m: m.tokens)
    )
    table = np.zeros((len(moments),) * 2)
    for places, vectors in (
        (said, embed_texts(trained, [moments[n].text for n in said])),
        (shown, embed_videos(trained, [moments[n].tokens for n in shown])),
    ):
        if places:
            rows = np.full((len(moments), vectors.shape[1]), np.nan)
            rows[places] = vectors
            table += of_vectors(rows)
    return table


def of_pairs(trained: Trained, moments: Sequence[Segment]) -> np.ndarray | None:
    """float64 [n − 1]: the model's mean log-odds that moments on both sides of each gap belong together, in deviations from their
    mean; ``None`` where it learned no such task. Where nothing can be asked, 0.

    BERT's section 3.1 is the source of the question whether a segment follows another.
    """
    from multimodal.inference.pairs import together

    asked = [
        (gap, before, after)
        for gap in range(1, len(moments))
        for before in range(max(0, gap - PAIRED), gap)
        for after in range(gap, min(gap + PAIRED, len(moments)))
    ]
    odds = together(trained, [(moments[before], moments[after]) for _, before, after in asked])
    if odds is None:
        return None
    sums, counts = np.zeros(len(moments) - 1), np.zeros(len(moments) - 1)
    for (gap, _, _), value in zip(asked, odds, strict=True):
        if np.isfinite(value):
            sums[gap - 1] += value
            counts[gap - 1] += 1
    means = sums[counts > 0] / counts[counts > 0]
    found = np.zeros(len(sums))
    if len(means) and means.std() > 1e-12:
        found[counts > 0] = (means - means.mean()) / means.std()
    return found


def plain(moments: Sequence[Segment], features: np.ndarray | None = None) -> np.ndarray:
    """By words, visual tokens and, where they are known, features."""
    table = of_words(moments) + of_tokens(moments)
    return table if features is None else table + of_features(moments, features)


def by_model(trained: Trained, moments: Sequence[Segment], features: np.ndarray | None = None) -> np.ndarray:
    """The same and the model's embeddings; where it learned a pair task that tells, a chapter begins the more easily the less
    likely moments on both sides belong together."""
    table, paired = plain(moments, features) + of_embeddings(trained, moments), of_pairs(trained, moments)
    if paired is not None:
        table[1:] -= paired[:, None]
    return table
