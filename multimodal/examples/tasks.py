"""Tasks of the systems with a decoder, as text to text: what is read, and what is written.

T5 (Raffel et al. 2020, section 2.4) names a task by a prefix. BART reads a ``[MASK]`` where the answer would stand, which is text
infilling. A summary is learned from gap sentences (Zhang et al., PEGASUS, ICML 2020, section 3): of neighbouring segments the one
whose words the others say most is written from the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from multimodal.examples.packing import Example, Parts, chained, written
from multimodal.systems import NOISES, SENTINELS
from multimodal.terms import TASKS, VIDEO
from multimodal.vocabulary import Vocabulary

if TYPE_CHECKING:
    from multimodal.examples.pairs import Spoken
    from multimodal.examples.sampling import Examples

CAPTION, NEXT, ALIGN, ORDER, SUMMARY = "caption", "next", "align", "order", "summary"
TASKS_OF = {NOISES: (CAPTION, SUMMARY), SENTINELS: (CAPTION, NEXT, ALIGN, ORDER, SUMMARY)}
"""The tasks by the ``mask_unit`` of a system. T5's ``next`` is drawn with the runs of visual tokens."""
TRUE, FALSE = "true", "false"
"""What is written of a pair that belongs together, or is in order, and of another."""
WINDOW = 8
"""Segments in a row that a summary is written of, at most."""
LEAST_WINDOW = 3
LEFT_IN = 0.2
"""Rate at which the segment that is to be written stays among what is read (PEGASUS)."""


def prompt(
    vocabulary: Vocabulary, form: str, task: str, segments: Sequence[Parts], longest: int = 128
) -> tuple[list[int], list[int]]:
    """Ids and types that ask a ``task`` of segments, in the ``form`` of a system: its ``mask_unit``."""
    if form == SENTINELS:
        (words, tokens), *others = segments
        segments = [([*vocabulary.encode(f"{task}:"), *words], tokens), *others]
    elif task == SUMMARY:
        segments = [([vocabulary.mask], ()), *segments]
    else:
        segments = [([vocabulary.mask, *words], tokens) for words, tokens in segments]
    return chained(vocabulary, segments, longest)


def word_pieces(vocabulary: Vocabulary, form: str) -> list[int]:
    """The word pieces that the tasks of a form need, whatever a library says."""
    texts = [*(f"{task}:" for task in TASKS_OF[SENTINELS]), TRUE, FALSE] if form == SENTINELS else []
    return [i for text in texts for i in vocabulary.encode(text)]


def end_of(vocabulary: Vocabulary, form: str, task: str) -> int:
    """The token behind what is written: BART writes a caption as the words of a sequence, which ``[>]`` ends."""
    return vocabulary.join if (form, task) == (NOISES, CAPTION) else vocabulary.sep


def example(
    vocabulary: Vocabulary,
    form: str,
    task: str,
    segments: Sequence[Parts],
    answer: Sequence[int],
    longest: int,
    term: str = TASKS,
) -> Example:
    """A task with its ``answer``, the ids to be written."""
    answer = [*answer[: longest - 2], end_of(vocabulary, form, task)]
    return Example(
        *prompt(vocabulary, form, task, segments, longest), target=written(vocabulary, answer, term)
    )


def draw(examples: Examples, spoken: Spoken, random: np.random.Generator) -> list[Example]:
    """A task of a spoken segment, drawn among those that it can teach; none where it can teach none."""
    form = examples.system.mask_unit
    drawn = [_MAKERS[task] for task in TASKS_OF[form] if task in _MAKERS]
    for number in random.permutation(len(drawn)).tolist():
        task, segments, answer = drawn[number](examples, spoken, random)
        if segments:
            return [example(examples.vocabulary, form, task, segments, answer, examples.options.longest)]
    return []


def draw_next(examples: Examples, tokens: Sequence[int], ahead: int) -> Example:
    """T5's ``next:``: the last ``ahead`` of a run of visual tokens, from those before them."""
    vocabulary = examples.vocabulary
    answer = [vocabulary.first_visual + token for token in tokens[len(tokens) - ahead :]]
    before = [([], tokens[: len(tokens) - ahead])]
    return example(vocabulary, SENTINELS, NEXT, before, answer, examples.options.longest, VIDEO)


_Drawn = tuple[str, list[Parts], list[int]]


def _caption(examples: Examples, spoken: Spoken, random: np.random.Generator) -> _Drawn:
    tokens = spoken.segment.tokens
    return CAPTION, [([], tokens)] if tokens else [], spoken.words


def _align(examples: Examples, spoken: Spoken, random: np.random.Generator) -> _Drawn:
    """The words with their own video, or with probability 0.5 a foreign one."""
    tokens: Sequence[int] | None = spoken.segment.tokens
    foreign = bool(tokens) and random.random() < 0.5
    if foreign:
        tokens = examples.negatives.misaligned(
            spoken.segment,
            examples.options.in_video_negative_rate,
            lambda place: examples.read(place, spoken.neighbours)[1],
            lambda other: other.tokens,
            random,
        )
    answer = examples.vocabulary.encode(FALSE if foreign else TRUE)
    return ALIGN, [(spoken.words, tokens)] if tokens else [], answer


def _order(examples: Examples, spoken: Spoken, random: np.random.Generator) -> _Drawn:
    """Two segments that follow each other, swapped with probability 0.5."""
    if not examples.continues(spoken.item):
        return ORDER, [], []
    places = [spoken.item, spoken.item + 1]
    swapped = bool(random.random() < 0.5)
    segments = [_parts(examples, place) for place in (places[::-1] if swapped else places)]
    return ORDER, segments, examples.vocabulary.encode(FALSE if swapped else TRUE)


def _summary(examples: Examples, spoken: Spoken, random: np.random.Generator) -> _Drawn:
    first = last = spoken.item
    while last - first + 1 < WINDOW and examples.continues(last):
        last += 1
    while last - first + 1 < WINDOW and first and examples.continues(first - 1):
        first -= 1
    if last - first + 1 < LEAST_WINDOW:
        return SUMMARY, [], []
    segments = [_parts(examples, place) for place in range(first, last + 1)]
    gap = most_central([words for words, _ in segments])
    answer = list(segments[gap][0])
    if random.random() >= LEFT_IN:
        del segments[gap]
    return SUMMARY, segments, answer


def most_central(sentences: Sequence[Sequence[int]]) -> int:
    """The place of the sentence that shares most different tokens with the others, as a share of its own and theirs (F1)."""
    sets = [set(sentence) for sentence in sentences]
    scored = []
    for n, own in enumerate(sets):
        others = set().union(*(s for m, s in enumerate(sets) if m != n))
        scored.append(2 * len(own & others) / max(1, len(own) + len(others)))
    return int(np.argmax(scored))


def _parts(examples: Examples, place: int) -> Parts:
    return examples.spoken.word_ids(place), examples.spoken[place].tokens


_MAKERS = {CAPTION: _caption, ALIGN: _align, ORDER: _order, SUMMARY: _summary}
