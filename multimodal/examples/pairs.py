"""Pair tasks: the joint examples of a spoken segment, and what is asked of two parts that may belong together or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from multimodal.examples.negatives import TRIES
from multimodal.examples.packing import ALIGNED, MISALIGNED, Example, pair_sequence, sequence
from multimodal.segments import Segment
from multimodal.terms import ALIGNMENT, JOINT, NEIGHBOUR, NEXT_SEGMENT, ORDER, TEXT

if TYPE_CHECKING:
    from multimodal.examples.sampling import Examples

CLS_POSITION = 0
NEXT, PREVIOUS, OTHER = 0, 1, 2
"""Labels of a segment's neighbour."""


@dataclasses.dataclass(frozen=True)
class Spoken:
    """The spoken segment at the place ``item`` as it is read, perhaps with its neighbour, and its word-piece ids."""

    item: int
    neighbours: bool
    words: list[int]
    segment: Segment


@dataclasses.dataclass(frozen=True)
class Pairs:
    """A pair task: ``draw`` gives the joint examples of a spoken segment, ``unlearnable`` says why the segments cannot teach
    the task, or nothing where they can."""

    draw: Callable[[Examples, Spoken, np.random.Generator], list[Example]]
    unlearnable: Callable[[Examples], str] = lambda examples: ""


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
    give it away (VideoBERT, section 3.3). With ``whole_pairs`` both pairs are read as they are, beside the joint example.
    """
    if ALIGNMENT not in examples.active_terms:
        return joint_alone(examples, spoken, random)
    words, segment = spoken.words, spoken.segment
    if not segment.tokens:
        return []
    options, step = examples.options, examples.step(random)
    tokens = subsampled(step, segment.tokens, random)
    joint = examples.masked(words, tokens, JOINT, random)
    if JOINT not in examples.active_terms:
        joint = dataclasses.replace(joint, asks={}, target=None)
    asks = joint.asks
    aligned = {ALIGNMENT: [(CLS_POSITION, ALIGNED)]}
    if options.whole_pairs:
        found = [dataclasses.replace(joint, asks=asks)] if asks or joint.target else []
        found.append(_whole(examples, words, tokens, aligned))
    else:
        found = [dataclasses.replace(joint, asks=asks | aligned)]
    if random.random() < options.misaligned_rate:
        foreign_tokens = examples.negatives.misaligned(
            segment,
            options.in_video_negative_rate,
            lambda place: examples.read(place, spoken.neighbours)[1],
            lambda other: subsampled(step, other.tokens, random),
            random,
        )
        if foreign_tokens:
            misaligned = {ALIGNMENT: [(CLS_POSITION, MISALIGNED)]}
            if options.whole_pairs:
                found.append(_whole(examples, words, foreign_tokens, misaligned))
            else:
                negative = examples.masked(words, foreign_tokens, JOINT, random)
                found.append(dataclasses.replace(negative, asks=misaligned, target=None))
    return found


def _whole(
    examples: Examples, words: list[int], tokens: tuple[int, ...], asks: dict[str, list[tuple[int, ...]]]
) -> Example:
    return Example(*sequence(examples.vocabulary, words, tokens, examples.options.longest), asks)


def subsampled(step: int, tokens: tuple[int, ...], random: np.random.Generator) -> tuple[int, ...]:
    """Each ``step``-th token from a random one of the first on, one at least."""
    return tokens[int(random.integers(min(step, len(tokens)))) :: step] if step > 1 else tokens


def nothing_misaligned(examples: Examples) -> str:
    places = examples.negatives.with_tokens
    if not examples.options.misaligned_rate or not len(places):
        return ""
    random = np.random.default_rng(examples.seed)
    spoken = examples.spoken
    negatives = (
        examples.negatives.misaligned(
            spoken[place], None, spoken.__getitem__, lambda other: other.tokens, random
        )
        for place in places
    )
    if any(negatives):
        return ""
    return "alignment learns nothing: no spoken segment shows what another does not, so no pair can be misaligned"


def next_segment(examples: Examples, spoken: Spoken, random: np.random.Generator) -> list[Example]:
    """The joint example of a segment, and a pair: the segment that follows, or with probability 0.5 one of another video
    (BERT, Devlin et al. 2019, section 3.1)."""
    found = joint_alone(examples, spoken, random)
    places = consecutive(examples, spoken.item)
    if NEXT_SEGMENT not in examples.active_terms or places is None:
        return found
    first, second = places
    other = foreign_place(examples, first, random) if random.random() < 0.5 else None
    if other is not None:
        second = other
    return [*found, pair(examples, first, second, NEXT_SEGMENT, int(other is not None), random)]


def order(examples: Examples, spoken: Spoken, random: np.random.Generator) -> list[Example]:
    """The joint example of a segment, and a pair of two that follow each other, swapped with probability 0.5
    (ALBERT, Lan et al. 2020, section 3.1)."""
    found = joint_alone(examples, spoken, random)
    places = consecutive(examples, spoken.item)
    if ORDER not in examples.active_terms or places is None:
        return found
    swapped = bool(random.random() < 0.5)
    first, second = places[::-1] if swapped else places
    return [*found, pair(examples, first, second, ORDER, int(swapped), random)]


def neighbour(examples: Examples, spoken: Spoken, random: np.random.Generator) -> list[Example]:
    """The joint example of a segment, and a pair of it with the next one, the previous one, or one of another video, each
    with probability 1/3 (StructBERT, Wang et al. 2020, section 2.3)."""
    found = joint_alone(examples, spoken, random)
    places = consecutive(examples, spoken.item)
    if NEIGHBOUR not in examples.active_terms or places is None:
        return found
    label = (NEXT, PREVIOUS, OTHER)[int(random.integers(3))]
    other = foreign_place(examples, spoken.item, random) if label == OTHER else None
    if other is not None:
        first, second = spoken.item, other
    else:
        # In a library of one video there is no other one.
        label = PREVIOUS if label == PREVIOUS else NEXT
        first, second = places[::-1] if label == PREVIOUS else places
    return [*found, pair(examples, first, second, NEIGHBOUR, label, random)]


def consecutive(examples: Examples, item: int) -> tuple[int, int] | None:
    """The places of a segment and the one after it, or before it at a video's end; ``None`` where it is alone."""
    if examples.continues(item):
        return item, item + 1
    return (item - 1, item) if item and examples.continues(item - 1) else None


def foreign_place(examples: Examples, place: int, random: np.random.Generator) -> int | None:
    """The place of a segment of another video, ``None`` where :data:`TRIES` draws found none."""
    own = examples.spoken.video(place)
    for _ in range(TRIES):
        other = int(random.integers(len(examples.spoken)))
        if examples.spoken.video(other) != own:
            return other
    return None


def pair(
    examples: Examples, first: int, second: int, term: str, label: int, random: np.random.Generator
) -> Example:
    """Two segments in a sequence under the system's corruption: cloze in both, and ``term`` at ``[CLS]``."""
    step = examples.step(random)
    parts = []
    for words, segment in (examples.read(first, False), examples.read(second, False)):
        parts.append((words, subsampled(step, segment.tokens, random)))
    ids, types = pair_sequence(examples.vocabulary, *parts, examples.options.longest)
    cloze = JOINT if any(tokens for _, tokens in parts) else TEXT
    hidden = examples.hidden(ids, types, cloze, random)
    asks = {name: asked for name, asked in hidden.asks.items() if name in examples.active_terms}
    target = hidden.target if cloze in examples.active_terms else None
    return dataclasses.replace(hidden, asks=asks | {term: [(CLS_POSITION, label)]}, target=target)


def nothing_follows(examples: Examples) -> str:
    if not len(examples.spoken) or any(map(examples.continues, range(len(examples.spoken)))):
        return ""
    return f"{examples.system.pair_task} learns nothing: no video has two spoken segments, so none follows another"


def nothing_foreign(examples: Examples) -> str:
    why = nothing_follows(examples)
    if why or len(set(examples.spoken.video_numbers().tolist())) != 1:
        return why
    return "next-segment learns nothing: there is one video, so every segment follows the one before it"


PAIRS = {
    "alignment": Pairs(alignment, nothing_misaligned),
    "next-segment": Pairs(next_segment, nothing_foreign),
    "order": Pairs(order, nothing_follows),
    "neighbour": Pairs(neighbour, nothing_follows),
    "none": Pairs(joint_alone),
}
"""By the ``pair_task`` of a system."""
