"""Corruption: the tokens of a sequence that are hidden, and the labels to be found in their places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multimodal.examples.packing import IGNORED
from multimodal.vocabulary import Vocabulary


def masked(
    vocabulary: Vocabulary,
    ids: list[int],
    random: np.random.Generator,
    share: float,
    used: Sequence[int] | None = None,
) -> tuple[list[int], list[int]]:
    """BERT's 80/10/10 on ``max(1, round(share · n))`` of the n words and visual tokens: new ids and their labels.

    Specials and ``[>]`` are never chosen; a replacement comes from the same modality and is never a special, nor a visual
    token that is not ``used`` (``None``: all are), which no clip has and which would tell that something was replaced.
    """
    used = used or range(vocabulary.visual)
    places = content_places(vocabulary, ids)
    labels = [IGNORED] * len(ids)
    if not places:
        return ids, labels
    chosen = random.choice(places, size=max(1, round(share * len(places))), replace=False)
    ids = list(ids)
    for place, dice in zip(chosen.tolist(), random.random(len(chosen)).tolist(), strict=True):
        labels[place] = ids[place]
        if dice < 0.8:
            ids[place] = vocabulary.mask
        elif dice < 0.9 and ids[place] >= vocabulary.first_visual:
            ids[place] = vocabulary.first_visual + used[int(random.integers(len(used)))]
        elif dice < 0.9:
            ids[place] = vocabulary.replaceable_words[int(random.integers(len(vocabulary.replaceable_words)))]
    return ids, labels


def content_places(vocabulary: Vocabulary, ids: Sequence[int]) -> list[int]:
    """The places of words and visual tokens: all but ``[CLS]``, ``[SEP]``, ``[MASK]``, ``[PAD]``, ``[UNK]`` and ``[>]``."""
    return [i for i, token in enumerate(ids) if token not in vocabulary.specials]
