"""What is asked of a masked sequence beside its masked tokens: one function for each of a system's extra terms.

Such a function takes a masked example and may change what is read. It draws from the generator that it is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from multimodal.examples.corruption import content_positions
from multimodal.examples.packing import Example
from multimodal.terms import BOUNDARY, REPLACED, SHUFFLED
from multimodal.vocabulary import Vocabulary

ExtraTerm = Callable[[Vocabulary, Example, np.random.Generator], Example]

BOUNDARY_PLACES = 20
"""Places of a span that the boundary objective knows; later ones are not asked (SpanBERT, the authors' code)."""
TRIGRAM = 3
SHUFFLED_SHARE = 0.05
"""Share of the unmasked trigrams that are shuffled."""


def nothing(vocabulary: Vocabulary, masked: Example, random: np.random.Generator) -> Example:
    """The masked example as it is."""
    return masked


def from_boundaries(vocabulary: Vocabulary, masked: Example, random: np.random.Generator) -> Example:
    """SpanBERT's boundary objective (Joshi et al. 2020, section 3.2): each masked token again, from its span's boundaries.

    A span is as many masked positions in a row as there are. Asks under ``boundary``: (the position before the span, the one
    after it, the token's position, the token). Neither boundary is masked.
    """
    asked: list[tuple[int, ...]] = []
    labels = _labels(masked)
    positions = sorted(labels)
    ends = [n for n, (one, other) in enumerate(pairwise(positions), 1) if other > one + 1]
    for first, last in pairwise([0, *ends, len(positions)] if positions else []):
        span = positions[first:last]
        asked += [(span[0] - 1, span[-1] + 1, p, labels[p]) for p in span[:BOUNDARY_PLACES]]
    return dataclasses.replace(masked, asks=masked.asks | {BOUNDARY: asked})


def shuffle_trigrams(
    vocabulary: Vocabulary,
    masked: Example,
    random: np.random.Generator,
    share: float = SHUFFLED_SHARE,
) -> Example:
    """StructBERT's word structural objective (Wang et al. 2020, section 2.2): trigrams put back in order.

    ``share`` of the unmasked trigrams are permuted, without overlap, all six orders as likely. A trigram is three word pieces
    or three visual tokens in a row of which none is asked for already; it never crosses ``[>]``. Their number is rounded at
    random, so that short sequences get their share over many draws. Asks under ``shuffled`` for each place of a trigram:
    (position, the token that stood there).
    """
    candidates = set(content_positions(vocabulary, masked.ids)) - _labels(masked).keys()
    starts = sorted(p for p in candidates if candidates.issuperset(range(p, p + TRIGRAM)))
    wanted = int(share * len(starts) + random.random())
    new_ids, asked = list(masked.ids), []
    while wanted and starts:
        first = starts[int(random.integers(len(starts)))]
        places = range(first, first + TRIGRAM)
        for place, other in zip(places, random.permutation(places).tolist(), strict=True):
            new_ids[place] = masked.ids[other]
            asked.append((place, masked.ids[place]))
        starts = [p for p in starts if abs(p - first) >= TRIGRAM]
        wanted -= 1
    return dataclasses.replace(masked, ids=new_ids, asks=masked.asks | {SHUFFLED: sorted(asked)})


def replaced_or_original(vocabulary: Vocabulary, masked: Example, random: np.random.Generator) -> Example:
    """ELECTRA's input (Clark et al. 2020, section 2): every masked token is read as [MASK], which a generator will fill.

    Asks under ``replaced`` for each token of the sequence: (position, the original token).
    """
    labels = _labels(masked)
    new_ids = [vocabulary.mask if p in labels else i for p, i in enumerate(masked.ids)]
    asked = [(p, labels.get(p, i)) for p, i in enumerate(masked.ids)]
    return dataclasses.replace(masked, ids=new_ids, asks=masked.asks | {REPLACED: asked})


def _labels(masked: Example) -> dict[int, int]:
    """The masked tokens by their positions."""
    return {position: label for asks in masked.asks.values() for position, label in asks}


EXTRAS: dict[str, ExtraTerm] = {
    "none": nothing,
    BOUNDARY: from_boundaries,
    SHUFFLED: shuffle_trigrams,
    REPLACED: replaced_or_original,
}
"""By the ``extra_terms`` of a system."""
