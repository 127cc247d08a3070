"""A map of what the model learned: words and visual tokens in the one space that search compares them in."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from multimodal.finetuning.judged import map_of
from multimodal.inference.embedding import embed_texts, embed_videos
from multimodal.inference.trained import Trained

MOST_WORDS = 80
"""Words on a map at most, those that name the most visual tokens: more would hide each other."""


@dataclasses.dataclass(frozen=True)
class EmbeddingMap:
    """``words`` and visual ``tokens`` with their places, x and y from 0 to 1."""

    words: tuple[tuple[str, float, float], ...]
    tokens: tuple[tuple[int, float, float], ...]


def embedding_map(trained: Trained, tokens: Sequence[int], names: Mapping[int, str]) -> EmbeddingMap | None:
    """The ``tokens`` and the words that they are named by, each by its text or video embedding alone, on a square by t-SNE.

    ``names``: of tokens, words parted by ", ". ``None`` where there are too few of both for a map.
    """
    named = Counter(word for token in tokens for word in _words(names.get(token)))
    words = [word for word, _ in named.most_common(MOST_WORDS)]
    if not words:
        return None
    rows = [embed_texts(trained, words), embed_videos(trained, [[token] for token in tokens])]
    xy = map_of(np.concatenate(rows))
    if not xy:
        return None
    return EmbeddingMap(
        tuple((word, *place) for word, place in zip(words, xy, strict=False)),
        tuple((token, *place) for token, place in zip(tokens, xy[len(words) :], strict=True)),
    )


def _words(name: str | None) -> Iterable[str]:
    return name.split(", ") if name else ()
