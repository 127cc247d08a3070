"""BART's noises: a sequence is read damaged, and a decoder writes it as it was.

Source: Lewis et al., BART (ACL 2020), section 2.2: token masking, token deletion, text infilling, sentence permutation, document
rotation. The shares are those of the authors' code: 0.3 of the tokens, a tenth of the masks another token, spans of Poisson λ = 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from multimodal.examples.corruption import content_positions, drawn_token
from multimodal.examples.packing import Example, written
from multimodal.examples.segment_table import SegmentTable
from multimodal.vocabulary import Vocabulary

NOISE_RATIO = 2.0
"""BART hides 0.3 of the tokens where BERT hides 0.15."""
RANDOM_SHARE = 0.1
"""Of the masks, which are another token of the same modality."""
SPAN_MEAN = 3.0
"""λ of the Poisson distribution of span lengths in infilling."""
CLIPS_A_SENTENCE = 4
"""Clips in a row that permutation moves together: to video what a sentence is to words."""
CONTENT_RATES = {"mask": 0.25, "delete": 0.25, "infill": 0.5}
ORDER_RATES = {"keep": 1 / 3, "permute": 1 / 3, "rotate": 1 / 3}
"""Each example is under one noise of either table; the authors trained their large model with infilling and permutation."""
Part = list[int]
"""The words, or the visual tokens, between two marks of a sequence."""
ENDS = frozenset(".!?")


@dataclasses.dataclass(frozen=True)
class Denoising:
    """The corruption of BART. Marks (``[CLS]``, ``[>]``, ``[SEP]``) stay in their places, each noise works between two of them.

    ``sentence_ends``: the word pieces that end a sentence.
    """

    sentence_ends: frozenset[int] = frozenset()

    @classmethod
    def of(cls, vocabulary: Vocabulary, spoken: SegmentTable) -> Denoising:
        ends = (i for i, word in enumerate(vocabulary.words) if word.strip("Ġ#") in ENDS)
        return cls(frozenset(ends))

    def __call__(
        self,
        vocabulary: Vocabulary,
        ids: list[int],
        types: list[int],
        term: str,
        random: np.random.Generator,
        share: float,
        used: Sequence[int] | None = None,
    ) -> Example:
        """Asks ``term`` for each token of the sequence but ``[CLS]``, of the decoder. ``share``: BERT's of masked tokens."""
        content = str(random.choice(list(CONTENT_RATES), p=list(CONTENT_RATES.values())))
        order = str(random.choice(list(ORDER_RATES), p=list(ORDER_RATES.values())))
        return self.noised(vocabulary, ids, types, term, random, NOISE_RATIO * share, (content, order), used)

    def noised(
        self,
        vocabulary: Vocabulary,
        ids: list[int],
        types: list[int],
        term: str,
        random: np.random.Generator,
        share: float,
        noises: tuple[str, ...],
        used: Sequence[int] | None = None,
    ) -> Example:
        """The sequence under ``noises``, of which a ``share`` of the tokens is hidden."""
        count = len(content_positions(vocabulary, ids))
        budget = max(1, round(share * count)) if count else 0
        changes: dict[str, Callable[[list[Part]], list[Part]]] = {
            "mask": lambda parts: _masked(vocabulary, parts, budget, random, used),
            "delete": lambda parts: _deleted(parts, min(budget, count - 1), random),
            "infill": lambda parts: _infilled(vocabulary, parts, budget, random, used),
            "permute": lambda parts: [_permuted(self._sentences(vocabulary, p), random) for p in parts],
            "rotate": lambda parts: [_rotated(part, random) for part in parts],
            "keep": lambda parts: parts,
        }
        parts, marks = _parts(vocabulary, ids, types)
        # Sentences are told before their marks may be hidden.
        for noise in sorted(noises, key=list(CONTENT_RATES).__contains__):
            parts = changes[noise](parts)
        new_ids, new_types = [ids[0]], [types[0]]
        for part, (mark, mark_type, part_type) in zip(parts, marks, strict=True):
            new_ids += [*part, mark]
            new_types += [*[part_type] * len(part), mark_type]
        return Example(new_ids, new_types, target=written(vocabulary, ids[1:], term))

    def _sentences(self, vocabulary: Vocabulary, part: Part) -> list[Part]:
        if part and part[0] >= vocabulary.first_visual:
            return [part[i : i + CLIPS_A_SENTENCE] for i in range(0, len(part), CLIPS_A_SENTENCE)]
        ends = [i + 1 for i, token in enumerate(part) if token in self.sentence_ends]
        bounds = [0, *ends, *([len(part)] if not ends or ends[-1] < len(part) else [])]
        return [part[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def infill_suffix(vocabulary: Vocabulary, ids: list[int], types: list[int], term: str, count: int) -> Example:
    """The last ``count`` tokens before ``[SEP]`` behind one ``[MASK]``; of what the decoder writes they alone are asked."""
    end = len(ids) - 1
    first = end - count
    target = written(vocabulary, ids[1:], term)
    asked = target.asks[term][first - 1 : end - 1]
    new_ids = [*ids[:first], vocabulary.mask, *ids[end:]]
    new_types = [*types[: first + 1], *types[end:]]
    return Example(new_ids, new_types, target=dataclasses.replace(target, asks={term: asked}))


def span_lengths(random: np.random.Generator, budget: int) -> list[int]:
    """Lengths of spans, Poisson of mean :data:`SPAN_MEAN`, that cover ``budget`` tokens; the last is cut to what is left. A length
    of 0 is a ``[MASK]`` where nothing is missing."""
    lengths: list[int] = []
    while (left := budget - sum(lengths)) > 0:
        lengths.append(min(int(random.poisson(SPAN_MEAN)), left))
    return lengths


def _parts(
    vocabulary: Vocabulary, ids: list[int], types: list[int]
) -> tuple[list[Part], list[tuple[int, int, int]]]:
    """What stands between the marks after ``[CLS]``, and of each the mark behind it: its id, its type, the part's type."""
    parts: list[Part] = [[]]
    marks: list[tuple[int, int, int]] = []
    for place in range(1, len(ids)):
        if ids[place] in (vocabulary.join, vocabulary.sep):
            marks.append((ids[place], types[place], types[place - 1] if parts[-1] else types[place]))
            parts.append([])
        else:
            parts[-1].append(ids[place])
    assert not parts[-1], "a sequence ends with a mark"
    return parts[:-1], marks


def _masked(
    vocabulary: Vocabulary,
    parts: list[Part],
    budget: int,
    random: np.random.Generator,
    used: Sequence[int] | None,
) -> list[Part]:
    places = _content(vocabulary, parts)
    found = [list(part) for part in parts]
    for number in random.choice(len(places), budget, replace=False).tolist() if places else ():
        part, place = places[number]
        found[part][place] = _in_place(vocabulary, parts[part][place], random, used)
    return found


def _in_place(
    vocabulary: Vocabulary, token: int, random: np.random.Generator, used: Sequence[int] | None
) -> int:
    """``[MASK]``, or by chance another token of the modality of ``token``."""
    if random.random() >= RANDOM_SHARE:
        return vocabulary.mask
    return drawn_token(vocabulary, token, random, used)


def _deleted(parts: list[Part], budget: int, random: np.random.Generator) -> list[Part]:
    places = [(n, i) for n, part in enumerate(parts) for i in range(len(part))]
    gone = {places[i] for i in random.choice(len(places), max(0, budget), replace=False).tolist()}
    return [[t for i, t in enumerate(part) if (n, i) not in gone] for n, part in enumerate(parts)]


def _infilled(
    vocabulary: Vocabulary,
    parts: list[Part],
    budget: int,
    random: np.random.Generator,
    used: Sequence[int] | None,
) -> list[Part]:
    """Spans become one ``[MASK]`` each; the longest are laid first, where they fit, and cut where none fits."""
    # Runs of tokens between which a span may still lie; a span is a token of its own from then on.
    free: list[list[Part]] = [[part] for part in parts]
    for length in sorted(span_lengths(random, budget), reverse=True):
        rooms = [(n, m) for n, runs in enumerate(free) for m in range(0, len(runs), 2)]
        fits = min(length, max((len(free[n][m]) for n, m in rooms), default=0))
        starts = [(n, m, i) for n, m in rooms for i in range(len(free[n][m]) - fits + 1)]
        n, m, first = starts[int(random.integers(len(starts)))]
        run = free[n][m]
        token = _in_place(vocabulary, run[first], random, used) if fits else vocabulary.mask
        # Runs and spans take turns, so that those of even number are runs.
        free[n][m : m + 1] = [run[:first], [token], run[first + fits :]]
    return [[token for run in runs for token in run] for runs in free]


def _permuted(sentences: list[Part], random: np.random.Generator) -> Part:
    """The sentences in another order, where there are two that differ."""
    order = list(range(len(sentences)))
    if len({tuple(s) for s in sentences}) > 1:
        while [sentences[i] for i in order] == sentences:
            order = random.permutation(len(sentences)).tolist()
    return [token for i in order for token in sentences[i]]


def _rotated(part: Part, random: np.random.Generator) -> Part:
    first = int(random.integers(len(part))) if part else 0
    return [*part[first:], *part[:first]]


def _content(vocabulary: Vocabulary, parts: list[Part]) -> list[tuple[int, int]]:
    return [(n, i) for n, part in enumerate(parts) for i in content_positions(vocabulary, part)]
