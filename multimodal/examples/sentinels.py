"""T5's span corruption: spans are read as sentinels, and a decoder writes each sentinel with what it stands for.

Source: Raffel et al., T5 (JMLR 2020), section 3.1.4 and the authors' `random_spans_noise_mask`: a density of 0.15, spans of 3 in the
mean, sentinels that count down from the end of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multimodal.examples.corruption import content_positions
from multimodal.examples.packing import Example, written
from multimodal.vocabulary import Vocabulary

MEAN_SPAN = 3.0


def noise_mask(count: int, density: float, random: np.random.Generator) -> np.ndarray:
    """bool [count]: ``round(density · count)`` places (one at least, all but one at most) in spans of :data:`MEAN_SPAN` in the mean.

    Spans and what is between them are cut at random; the mask is turned round by a random number of places, so that the first
    may be in a span (the authors' ``random_roll``).
    """
    if count < 2:
        return np.ones(count, bool)
    noise = min(max(1, round(density * count)), count - 1)
    spans = min(max(1, round(noise / MEAN_SPAN)), count - noise)
    lengths = np.stack([_segments(count - noise, spans, random), _segments(noise, spans, random)], 1)
    mask = np.repeat(np.tile([False, True], spans), lengths.ravel())
    return np.roll(mask, int(random.integers(count)))


def _segments(count: int, parts: int, random: np.random.Generator) -> np.ndarray:
    """The lengths of ``parts`` random parts of ``count`` items, none empty."""
    cuts = np.sort(random.permutation(count - 1)[: parts - 1]) + 1
    return np.diff([0, *cuts, count])


def mask_sentinels(
    vocabulary: Vocabulary,
    ids: list[int],
    types: list[int],
    term: str,
    random: np.random.Generator,
    share: float,
    used: Sequence[int] | None = None,
) -> Example:
    """Span corruption over words and visual tokens alike. A span that reaches over ``[>]`` or another mark is one on either side."""
    places = content_positions(vocabulary, ids)
    chosen = np.array(places, int)[noise_mask(len(places), share, random)]
    return with_sentinels(vocabulary, ids, types, term, chosen.tolist())


def with_sentinels(
    vocabulary: Vocabulary, ids: list[int], types: list[int], term: str, chosen: Sequence[int]
) -> Example:
    """Each run of ``chosen`` positions as a sentinel. The decoder writes the sentinels with their tokens, then one sentinel more."""
    new_ids, new_types, target = [], [], []
    hidden, spans = set(chosen), 0
    for position, token in enumerate(ids):
        if position not in hidden:
            new_ids.append(token)
            new_types.append(types[position])
            continue
        if position - 1 not in hidden:
            new_ids.append(vocabulary.sentinel(spans))
            new_types.append(types[position])
            target.append(vocabulary.sentinel(spans))
            spans += 1
        target.append(token)
    target += [vocabulary.sentinel(spans), vocabulary.sep]
    return Example(new_ids, new_types, target=written(vocabulary, target, term))
