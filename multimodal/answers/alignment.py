"""Moments put in order by the alignment head, which reads a text and a moment's visual tokens together.

It is the dearest part of a search, so it reads each different pair once, and for a search the moments nearest by cosine in
blocks until enough of them fit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from multimodal.answers.fusion import Ranking
from multimodal.answers.moments import Moments
from multimodal.segments import Segment

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

RERANKED = 50
"""Moments that are read for a question at most."""
BLOCK = 10
"""Moments that are read at a time where it is asked which of them fit."""
LEAST_ALIGNMENT = 0.5
"""The alignment head's probability from which on a picture belongs to a text."""

Pair = Callable[[Segment], tuple[str, Sequence[int]]]
"""The text and the visual tokens that are read together for a moment."""


def rerank(trained: Trained, moments: Moments, ranking: Ranking, pair: Pair) -> Ranking:
    """A ranking with its first :data:`RERANKED` ordered by cosine and by alignment; as it was where the model has no alignment
    head."""
    if not trained.has_alignment:
        return ranking
    first = ranking.order[:RERANKED].tolist()
    (aligned,) = _read(trained, moments, [(first, pair)])
    order = np.concatenate([_best_first(ranking.cosines, aligned), ranking.order[RERANKED:]])
    return dataclasses.replace(ranking, order=order, aligned=aligned)


def fitting(
    trained: Trained, moments: Moments, asked: Sequence[tuple[Ranking, Pair]], wanted: Sequence[int]
) -> list[Ranking]:
    """Of each ranking the moments that the alignment head takes for what the text says, ordered by cosine and by alignment; all
    where there is no head.

    It reads block after block until as many as are ``wanted`` fit, or none of a block does: they come by falling cosine.
    """
    if not trained.has_alignment:
        return [ranking for ranking, _ in asked]
    aligned: list[dict[int, float]] = [{} for _ in asked]
    going_on = set(range(len(asked)))
    for begin in range(0, RERANKED, BLOCK):
        blocks = {n: asked[n][0].order[begin : begin + BLOCK].tolist() for n in sorted(going_on)}
        read = _read(trained, moments, [(block, asked[n][1]) for n, block in blocks.items()])
        for n, of_block in zip(blocks, read, strict=True):
            aligned[n] |= of_block
            if not _fit(of_block) or len(_fit(aligned[n])) >= wanted[n]:
                going_on.discard(n)
    return [
        dataclasses.replace(ranking, order=_best_first(ranking.cosines, _fit(of)), aligned=of)
        for (ranking, _), of in zip(asked, aligned, strict=True)
    ]


def _fit(aligned: dict[int, float]) -> dict[int, float]:
    return {i: probability for i, probability in aligned.items() if probability >= LEAST_ALIGNMENT}


def _best_first(cosines: dict[int, float], aligned: dict[int, float]) -> np.ndarray:
    """The ids that were read, by the sum of two log-probabilities: cosine over temperature, as trained, and the head's."""
    from multimodal.inference.embedding import rerank_scores

    ids = np.array(list(aligned), np.int64)
    near = np.array([cosines[i] for i in aligned], np.float32)
    return ids[np.argsort(-rerank_scores(near, np.array(list(aligned.values()))), kind="stable")]


def _read(
    trained: Trained, moments: Moments, asked: Sequence[tuple[Sequence[int], Pair]]
) -> list[dict[int, float]]:
    """For each (ids, pair) the alignment head's probability of the pair that each moment gives; removed ones are left out.

    In bfloat16 where that is fast. Equal pairs are read once.
    """
    from multimodal.inference.embedding import alignment_probability

    keys: list[dict[int, tuple[str, tuple[int, ...]]]] = []
    for ids, pair in asked:
        found = moments.get(ids)
        keys.append({i: (text, tuple(run)) for i in ids if i in found for text, run in [pair(found[i])]})
    distinct = dict.fromkeys(key for of in keys for key in of.values())
    if not distinct:
        return [{} for _ in asked]
    texts, runs = zip(*distinct, strict=True)
    probabilities = alignment_probability(trained, texts, runs, autocast=True).tolist()
    known = dict(zip(distinct, probabilities, strict=True))
    return [{i: known[key] for i, key in of.items()} for of in keys]
