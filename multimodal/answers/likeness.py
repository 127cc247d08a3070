"""How alike what comes before and after each gap between the moments of a video is: in words, in what is seen, by the model.

Sources: Hearst, TextTiling (Computational Linguistics 1997) for blocks of words on both sides of a gap; BERT's section 3.1
for the question whether a segment follows another.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers.token_names import content_words
from multimodal.segments import Segment
from vision.clips import CLIP_SECONDS

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

AROUND = 8
"""Moments before and after a gap that are compared."""
CLIPS_AROUND = 16
"""Clips before and after a gap whose features are compared: 24 s."""
PAIRED = 2
"""Moments on each side of a gap of which the model is asked, each with each of the other side, whether they belong together."""


def in_words(moments: Sequence[Segment]) -> np.ndarray:
    """float64 [n - 1]: the cosine of the counts of content words on both sides of each gap."""
    return _in_counts([Counter(content_words(m.text)) for m in moments])


def in_tokens(moments: Sequence[Segment]) -> np.ndarray:
    """The same of visual tokens."""
    return _in_counts([Counter(m.tokens) for m in moments])


def in_words_and_tokens(moments: Sequence[Segment]) -> np.ndarray:
    """The mean of both."""
    return (in_words(moments) + in_tokens(moments)) / 2


def in_features(moments: Sequence[Segment], values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The cosine of the mean features of the clips on both sides; ``values`` [clips, d], ``starts`` [clips] in seconds."""
    unit = values.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=-1, keepdims=True), 1e-12)
    found = []
    for moment in moments[1:]:
        place = int(np.searchsorted(starts + CLIP_SECONDS / 2, moment.start))
        before, after = unit[max(0, place - CLIPS_AROUND) : place], unit[place : place + CLIPS_AROUND]
        found.append(_cosine(before.sum(0), after.sum(0)))
    return np.array(found)


def by_embeddings(trained: Trained, moments: Sequence[Segment]) -> np.ndarray:
    """The mean cosine of the text embeddings and of the video embeddings on both sides."""
    from multimodal.inference.embedding import embed_texts, embed_videos

    both = embed_texts(trained, [m.text for m in moments]), embed_videos(trained, [m.tokens for m in moments])
    return np.mean([_in_sums(vectors) for vectors in both], axis=0)


def by_pairs(trained: Trained, moments: Sequence[Segment]) -> np.ndarray | None:
    """The model's mean log-odds that moments on both sides belong together; ``None`` where it learned no such task."""
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
    # Where nothing could be asked nothing is known to change.
    usual = sums.sum() / max(counts.sum(), 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), usual)


def by_model(trained: Trained, moments: Sequence[Segment]) -> np.ndarray:
    """The embeddings' likeness and, where the model learned a pair task that tells, that of its pairs; both standardised."""
    embedded, paired = by_embeddings(trained, moments), by_pairs(trained, moments)
    return standardised(embedded) + (0.0 if paired is None else standardised(paired))


def standardised(alike: np.ndarray) -> np.ndarray:
    """Of mean 0 and spread 1, so that several can be added; 0 where all are equal."""
    spread = alike.std() if len(alike) else 0.0
    return (alike - alike.mean()) / spread if spread > 1e-12 else np.zeros_like(alike)


def _in_counts(counts: Sequence[Counter]) -> np.ndarray:
    found = []
    for gap in range(1, len(counts)):
        before = sum(counts[max(0, gap - AROUND) : gap], Counter())
        after = sum(counts[gap : gap + AROUND], Counter())
        norm = math.sqrt(sum(n * n for n in before.values()) * sum(n * n for n in after.values()))
        found.append(sum(n * after[key] for key, n in before.items()) / norm if norm else 1.0)
    return np.array(found)


def _in_sums(vectors: np.ndarray) -> np.ndarray:
    return np.array(
        [
            _cosine(vectors[max(0, gap - AROUND) : gap].sum(0), vectors[gap : gap + AROUND].sum(0))
            for gap in range(1, len(vectors))
        ]
    )


def _cosine(before: np.ndarray, after: np.ndarray) -> float:
    """1 where one side has nothing: nothing changes there."""
    norm = float(np.linalg.norm(before) * np.linalg.norm(after))
    return float(before @ after) / norm if norm else 1.0
