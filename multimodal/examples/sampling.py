"""Owns how segments become model input: masks, misaligned pairs, towers, stretches of runs, and an order that resumes.

Every random choice is a function of (seed, epoch, item), so a run that was stopped meets the same masks again
(dynamic masking as in RoBERTa, section 4.1). The regimes are VideoBERT's (section 3.2): text alone, video alone, both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from multimodal.examples.corruption import masked
from multimodal.examples.negatives import NegativeSampler
from multimodal.examples.packing import (
    ALIGNED,
    IGNORED,
    JOINT,
    MISALIGNED,
    TEXT,
    TOWER,
    VIDEO,
    Input,
    sequence,
    unmasked,
)
from multimodal.segments import CONTEXT, HORIZONS, Segment, joined
from multimodal.store import InputError
from multimodal.vocabulary import Vocabulary

RUNS_PER_SPOKEN = 4
"""Video-only examples for each spoken segment; they are short and cost little, and with fewer what comes next was learned
far less well in the same number of steps (docs/log.md)."""
TERMS = frozenset({"text", "video", "joint", "alignment", "contrast"})
"""What may be asked of the examples: cloze in three regimes, whether a pair is aligned, and its two towers."""


@dataclasses.dataclass(frozen=True)
class ExampleOptions:
    """``mask``: share of tokens chosen (BERT: 0.15), of which 80 % become [MASK], 10 % another token, 10 % stay.

    ``join_neighbours``: chance that a sentence is read together with the one after it (VideoBERT, section 3.2).
    ``misaligned``: chance that an aligned joint example is followed by its misaligned twin, the same words with the
    video of another segment; a twin asks for no token, since a stranger's video says nothing about the masked words, but
    is masked all the same: else a mask would mean aligned. ``far``: share of the twins whose video is from far away in the
    same one, the others' is from another; ``None``, as where there is none of the kind, takes any segment that shares no
    clip (:mod:`multimodal.examples.negatives`).
    ``subsample``: visual tokens are read at a random step of 1 to so many (VideoBERT, section 3.2: 5; 1 reads all) in the
    joint regime, a twin's as its pair's, and in video-only examples masked anywhere; not in tails, which `next` reads in
    steps of a clip, and not in towers, which search reads whole.
    ``tail``: share of video-only examples in which some tokens are masked together after a few, as `next` asks.
    ``longest``: tokens at most in a sequence, 16 at least. ``near``: chance that a segment's towers bring along those of
    another segment of the same video: hard negatives for each other, alike in place, light and subject (Sentence-BERT,
    Reimers and Gurevych 2019).
    """

    mask: float = 0.15
    join_neighbours: float = 0.2
    misaligned: float = 1.0
    tail: float = 0.75
    longest: int = 128
    far: float | None = None
    subsample: int = 1
    near: float = 0.5

    def __post_init__(self) -> None:
        assert self.longest >= CONTEXT + max(HORIZONS) + 3
        if self.far is not None and not 0 <= self.far <= 1:
            raise InputError(f"--far {self.far:g}: a share from 0 to 1; leave it out to take any segment")
        if self.subsample < 1:
            raise InputError(
                f"--subsample {self.subsample}: at least 1, which reads every visual token; VideoBERT has 5"
            )


class Examples:
    """All items that can be learned from: each spoken segment, and each run of tokens.

    A spoken segment gives a text-only example and, where it has tokens, the two towers (perhaps with those of another of
    its video), an aligned and a misaligned joint example; a run of tokens a video-only one, of a stretch of it drawn anew each time. Runs are long and so few:
    each is met as often in an epoch as makes them :data:`RUNS_PER_SPOKEN` times the spoken segments. A side may be empty.
    ``asked`` are the terms that count: what only others would ask for is not drawn. ``used`` are the visual tokens that
    stand in for others, those that clips have (:func:`masked`).
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        spoken: Sequence[Segment],
        silent: Sequence[Segment],
        options: ExampleOptions,
        seed: int,
        asked: frozenset[str] = TERMS,
        used: Sequence[int] | None = None,
    ):
        self.vocabulary, self.options, self.seed, self.asked = vocabulary, options, seed, asked
        self._used = used
        self.spoken = [s for s in spoken if s.text]
        self.silent = [s for s in silent if s.tokens]
        self._words = [vocabulary.encode(s.text) for s in self.spoken]
        self._strangers = NegativeSampler(self.spoken)
        self._items = list(range(len(self.spoken))) if "text" in asked else sorted(self._strangers.seen)
        if not asked - {"video"}:
            self._items = []
        if "video" in asked and self.silent:
            visits = max(1, round(RUNS_PER_SPOKEN * len(self._items) / len(self.silent)))
            self._items += range(len(self.spoken), len(self.spoken) + visits * len(self.silent))

    def __len__(self) -> int:
        return len(self._items)

    @cached_property
    def notice(self) -> str:
        """What is asked for and cannot be learned from these segments, in words; empty where all can."""
        if "alignment" not in self.asked or not self.options.misaligned or not self._strangers.seen:
            return ""
        random = np.random.default_rng(self.seed)
        strange = (
            self._strangers.find(
                self.spoken[place], None, self.spoken.__getitem__, lambda other: other.tokens, random
            )
            for place in self._strangers.seen
        )
        if any(strange):
            return ""
        return (
            "alignment learns nothing: no spoken segment shows what another does not, so no pair can be misaligned; "
            "take in more videos, or say --weights alignment=0"
        )

    def order(self, epoch: int) -> np.ndarray:
        """The epoch's permutation of the items: a function of (seed, epoch)."""
        return np.random.default_rng((self.seed, epoch)).permutation(len(self))

    def draw(self, epoch: int, item: int) -> list[Input]:
        """The inputs of one item in one epoch, always the same for the same (seed, epoch, item)."""
        random = np.random.default_rng((self.seed, epoch, item, 1))
        place = self._items[item]
        if place < len(self.spoken):
            return self._spoken(place, random)
        return [self._run(self.silent[(place - len(self.spoken)) % len(self.silent)], random)]

    def _spoken(self, item: int, random: np.random.Generator) -> list[Input]:
        neighbours = random.random() < self.options.join_neighbours and self._continues(item)
        words, segment = self._read(item, neighbours)
        inputs = [self._masked(words, None, random, TEXT)] if "text" in self.asked else []
        if segment.tokens and "contrast" in self.asked:
            inputs += self._towers(words, segment)
            if random.random() < self.options.near:
                place = self._strangers.near(segment, lambda place: self._read(place, neighbours)[1], random)
                inputs += self._towers(*self._read(place, neighbours)) if place is not None else []
        if segment.tokens and self.asked & {"joint", "alignment"}:
            inputs += self._pair(words, segment, neighbours, random)
        return inputs

    def _towers(self, words: list[int], segment: Segment) -> list[Input]:
        sides = ((words, None), (None, segment.tokens))
        return [unmasked(*sequence(self.vocabulary, *side, self.options.longest), TOWER) for side in sides]

    def _pair(
        self, words: list[int], segment: Segment, neighbours: bool, random: np.random.Generator
    ) -> list[Input]:
        """The joint example of a segment and, by chance, its misaligned twin: the same words with a stranger's video.

        The stranger is read with its neighbour where the segment was and in the same steps, so that length does not give
        it away.
        """
        step = self._step(random)
        alignment = "alignment" in self.asked
        tokens = _every(step, segment.tokens, random)
        joint = self._masked(words, tokens, random, JOINT, ALIGNED if alignment else IGNORED)
        pair = [joint if "joint" in self.asked else unmasked(joint.ids, joint.types, JOINT, joint.aligned)]
        if alignment and random.random() < self.options.misaligned:
            strange = self._strangers.find(
                segment,
                self.options.far,
                lambda place: self._read(place, neighbours)[1],
                lambda other: _every(step, other.tokens, random),
                random,
            )
            if strange:
                twin = self._masked(words, strange, random, JOINT)
                pair.append(unmasked(twin.ids, twin.types, JOINT, MISALIGNED))
        return pair

    def _read(self, item: int, neighbours: bool) -> tuple[list[int], Segment]:
        """A segment and its word-piece ids, together with the one after it where ``neighbours`` and there is one."""
        if neighbours and self._continues(item):
            return self._words[item] + self._words[item + 1], joined(self.spoken[item], self.spoken[item + 1])
        return self._words[item], self.spoken[item]

    def _continues(self, item: int) -> bool:
        return item + 1 < len(self.spoken) and self.spoken[item + 1].video == self.spoken[item].video

    def _masked(self, words: Sequence[int] | None, tokens: Sequence[int] | None, random: np.random.Generator,
                regime: int, aligned: int = IGNORED) -> Input:  # fmt: skip
        ids, types = sequence(self.vocabulary, words, tokens, self.options.longest)
        ids, labels = masked(self.vocabulary, ids, random, self.options.mask, self._used)
        return Input(ids, types, labels, regime, aligned)

    def _step(self, random: np.random.Generator) -> int:
        return int(random.integers(1, self.options.subsample + 1)) if self.options.subsample > 1 else 1

    def _run(self, segment: Segment, random: np.random.Generator) -> Input:
        tokens = segment.tokens
        if len(tokens) > 1 and random.random() < self.options.tail:
            return self._tail(tokens, random)
        first = int(random.integers(max(1, len(tokens) - 1)))
        stretch = tokens[first : first + int(random.integers(2, max(2, len(tokens)) + 1))]
        return self._masked(None, _every(self._step(random), stretch, random), random, VIDEO)

    def _tail(self, tokens: tuple[int, ...], random: np.random.Generator) -> Input:
        """Up to one of the ``HORIZONS`` masked after 1 to ``CONTEXT`` tokens of a run."""
        now = int(random.integers(1, len(tokens)))
        ahead = min(HORIZONS[int(random.integers(len(HORIZONS)))], len(tokens) - now)
        first = max(0, now - 1 - int(random.integers(CONTEXT)))
        ids, types = sequence(self.vocabulary, None, tokens[first : now + ahead], self.options.longest)
        cut, end = len(ids) - 1 - ahead, len(ids) - 1
        labels = [IGNORED] * cut + ids[cut:end] + [IGNORED]
        return Input(ids[:cut] + [self.vocabulary.mask] * ahead + ids[end:], types, labels, VIDEO)


def _every(step: int, tokens: tuple[int, ...], random: np.random.Generator) -> tuple[int, ...]:
    """Each ``step``-th token from a random one of the first on, one at least."""
    return tokens[int(random.integers(min(step, len(tokens)))) :: step] if step > 1 else tokens
