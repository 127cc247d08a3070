"""Pair tasks: the joint examples of a spoken segment, and what is asked of two parts that may belong together or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from multimodal.examples.packing import ALIGNED, MISALIGNED, Example
from multimodal.segments import Segment
from multimodal.terms import ALIGNMENT, JOINT

if TYPE_CHECKING:
    from multimodal.examples.sampling import Examples

CLS_POSITION = 0


@dataclasses.dataclass(frozen=True)
class Spoken:
    """The spoken segment at the place ``item`` as it is read, perhaps with its neighbour, and its word-piece ids."""

    item: int
    neighbours: bool
    words: list[int]
    segment: Segment


Pairs = Callable[["Examples", Spoken, np.random.Generator], list[Example]]
"""A pair task: the joint examples of a spoken segment."""


def joint_alone(examples: Examples, spoken: Spoken, random: np.random.Generator) -> list[Example]:
    """The joint example of a segment that has tokens, and no pair."""
    segment = spoken.segment
    if not segment.tokens or JOINT not in examples.active_terms:
        return []
    tokens = subsampled(examples.step(random), segment.tokens, random)
    return [examples.masked(spoken.words, tokens, JOINT, random)]


def alignment(examples: Examples, spoken: Spoken, random: np.random.Generator) -> list[Example]:
    """The joint example of a segment and, by chance, its negative pair: the same words with a foreign video.

    The foreign segment is read with its neighbour where the own one was and in the same steps, so that length does not
    give it away (VideoBERT, section 3.3).
    """
    if ALIGNMENT not in examples.active_terms:
        return joint_alone(examples, spoken, random)
    words, segment = spoken.words, spoken.segment
    if not segment.tokens:
        return []
    options, step = examples.options, examples.step(random)
    joint = examples.masked(words, subsampled(step, segment.tokens, random), JOINT, random)
    asks = dict(joint.asks) if JOINT in examples.active_terms else {}
    found = [Example(joint.ids, joint.types, asks | {ALIGNMENT: [(CLS_POSITION, ALIGNED)]})]
    if random.random() < options.misaligned_rate:
        foreign_tokens = examples.negatives.misaligned(
            segment,
            options.in_video_negative_rate,
            lambda place: examples.read(place, spoken.neighbours)[1],
            lambda other: subsampled(step, other.tokens, random),
            random,
        )
        if foreign_tokens:
            negative = examples.masked(words, foreign_tokens, JOINT, random)
            misaligned = {ALIGNMENT: [(CLS_POSITION, MISALIGNED)]}
            found.append(Example(negative.ids, negative.types, misaligned))
    return found


def subsampled(step: int, tokens: tuple[int, ...], random: np.random.Generator) -> tuple[int, ...]:
    """Each ``step``-th token from a random one of the first on, one at least."""
    return tokens[int(random.integers(min(step, len(tokens)))) :: step] if step > 1 else tokens


PAIRS: dict[str, Pairs] = {"alignment": alignment, "none": joint_alone}
"""By the ``pair_task`` of a system."""
