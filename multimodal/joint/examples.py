"""Owns how segments become model input: sequences, masks, misaligned pairs, packed batches, and an order that resumes.

Every random choice is a function of (seed, epoch, item), so a run that was stopped meets the same masks again
(dynamic masking as in RoBERTa, section 4.1). The regimes are VideoBERT's (section 3.2): text alone, video alone, both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from multimodal.joint.strangers import Strangers
from multimodal.segments import Segment, joined
from multimodal.store import InputError
from multimodal.vocabulary import Vocabulary

IGNORED = -100
LONGEST_TAIL = 8
"""Clips at most that are masked together at the end: 12 s, the farthest that `next` looks."""
RUNS_PER_SPOKEN = 2
"""Video-only examples for each spoken segment; they are short and cost little. At a half, what comes next was learned far
less well in the same number of steps (docs/log.md)."""
TERMS = frozenset({"text", "video", "joint", "alignment", "contrast"})
"""What may be asked of the examples: cloze in three regimes, whether a pair is aligned, and its two towers."""
TEXT_TYPE, VIDEO_TYPE = 0, 1
ALIGNED, MISALIGNED = 0, 1
"""As in BERT's sentence pair head: 0 means that the second part belongs to the first."""
REGIMES = ("text", "video", "joint", "tower")
TEXT, VIDEO, JOINT, TOWER = range(len(REGIMES))
"""What a sequence is read for; a tower is one side of a segment, unmasked, read only for its embedding."""


@dataclasses.dataclass(frozen=True)
class ExampleOptions:
    """``mask``: share of tokens chosen (BERT: 0.15), of which 80 % become [MASK], 10 % another token, 10 % stay.

    ``join_neighbours``: chance that a sentence is read together with the one after it (VideoBERT, section 3.2).
    ``misaligned``: chance that an aligned joint example is followed by its misaligned twin, the same words with the
    video of another segment; a twin asks for no token, since a stranger's video says nothing about the masked words, but
    is masked all the same: else a mask would mean aligned. ``far``: share of the twins whose video is from far away in the
    same one, the others' is from another; ``None`` takes any segment that shares no clip
    (:mod:`multimodal.joint.strangers`).
    ``subsample``: visual tokens are read at a random step of 1 to so many (VideoBERT, section 3.2: 5; 1 reads all) in the
    joint regime, a twin's as its pair's, and in video-only examples masked anywhere; not in tails, which `next` reads in
    steps of a clip, and not in towers, which search reads whole.
    ``tail``: share of video-only examples in which the last tokens are masked together, as `next` asks. ``longest``:
    tokens at most in a sequence. ``near``: chance that a segment's towers bring along those of another segment of the same
    video: hard negatives for each other, alike in place, light and subject (Sentence-BERT, Reimers and Gurevych 2019).
    """

    mask: float = 0.15
    join_neighbours: float = 0.2
    misaligned: float = 1.0
    tail: float = 0.5
    longest: int = 128
    far: float | None = None
    subsample: int = 1
    near: float = 0.5

    def __post_init__(self) -> None:
        if self.far is not None and not 0 <= self.far <= 1:
            raise InputError(f"--far {self.far:g}: a share from 0 to 1; leave it out to take any segment")
        if self.subsample < 1:
            raise InputError(
                f"--subsample {self.subsample}: at least 1, which reads every visual token; VideoBERT has 5"
            )


@dataclasses.dataclass(frozen=True)
class Input:
    """One sequence: ``ids``, ``types`` and cloze ``labels`` (``IGNORED`` where nothing is asked), all of one length."""

    ids: list[int]
    types: list[int]
    labels: list[int]
    regime: int = JOINT
    aligned: int = IGNORED


@dataclasses.dataclass
class Batch:
    """S sequences packed one after the other with no padding, T tokens in all.

    ``asked_M`` are the places in T where a token is to be found, ``labels_M`` those tokens. ``aligned_S`` is
    ``IGNORED``, ``ALIGNED`` or ``MISALIGNED``. ``pairs_P2`` are the towers (text alone, video alone) of one segment,
    ``contents_P2`` a digest of what each reads: the same for the same words or the same visual tokens.
    """

    ids_T: torch.Tensor
    types_T: torch.Tensor
    positions_T: torch.Tensor
    lengths_S: torch.Tensor
    regime_S: torch.Tensor
    aligned_S: torch.Tensor
    asked_M: torch.Tensor
    labels_M: torch.Tensor
    pairs_P2: torch.Tensor
    contents_P2: torch.Tensor

    @property
    def sequence_T(self) -> torch.Tensor:
        """The sequence that each token belongs to."""
        return torch.repeat_interleave(
            torch.arange(len(self.lengths_S), device=self.lengths_S.device), self.lengths_S
        )

    def to(self, device: torch.device | str) -> Batch:
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self)})


def sequence(
    vocabulary: Vocabulary, text: Sequence[int] | None, tokens: Sequence[int] | None, longest: int = 128
) -> tuple[list[int], list[int]]:
    """``[CLS] text [>] video [SEP]`` as ids and types; a modality that is ``None`` or empty leaves its part out.

    ``text`` are word-piece ids, ``tokens`` visual tokens (leaf ids) or −1 for a masked one. Too long a sequence loses
    the end of its longer part.
    """
    text, tokens = list(text or ()), list(tokens or ())
    room = longest - 2 - bool(tokens)
    if len(text) + len(tokens) > room:
        fewer_tokens = min(len(tokens), max(room // 2, room - len(text)))
        text, tokens = text[: room - fewer_tokens], tokens[:fewer_tokens]
    video = [vocabulary.mask if t < 0 else vocabulary.first_visual + t for t in tokens]
    middle = [vocabulary.join, *video] if video else []
    ids = [vocabulary.cls_id, *text, *middle, vocabulary.sep]
    types = [TEXT_TYPE] * (1 + len(text)) + [VIDEO_TYPE] * (len(middle) + 1 if middle else 1)
    if not middle:
        types[-1] = TEXT_TYPE
    return ids, types


def masked(
    vocabulary: Vocabulary, ids: list[int], random: np.random.Generator, share: float
) -> tuple[list[int], list[int]]:
    """BERT's 80/10/10 on ``max(1, round(share · n))`` of the n words and visual tokens: new ids and their labels.

    Specials and ``[>]`` are never chosen; a replacement comes from the same modality and is never a special.
    """
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
            ids[place] = vocabulary.first_visual + int(random.integers(vocabulary.visual))
        elif dice < 0.9:
            ids[place] = vocabulary.replaceable_words[int(random.integers(len(vocabulary.replaceable_words)))]
    return ids, labels


def content_places(vocabulary: Vocabulary, ids: Sequence[int]) -> list[int]:
    """The places of words and visual tokens: all but ``[CLS]``, ``[SEP]``, ``[MASK]``, ``[PAD]``, ``[UNK]`` and ``[>]``."""
    return [i for i, token in enumerate(ids) if token not in vocabulary.specials]


def unmasked(ids: list[int], types: list[int], regime: int = JOINT, aligned: int = IGNORED) -> Input:
    """An input that asks for no token."""
    return Input(ids, types, [IGNORED] * len(ids), regime, aligned)


def pack(inputs: Sequence[Input]) -> Batch:
    """One packed :class:`Batch` of the inputs, in order. Towers come in twos: the words of a segment, then its video."""
    lengths = [len(s.ids) for s in inputs]
    labels_T = np.concatenate([s.labels for s in inputs])
    asked_M = np.flatnonzero(labels_T != IGNORED)
    towers = [i for i, given in enumerate(inputs) if given.regime == TOWER]
    pairs = list(zip(towers[::2], towers[1::2], strict=False))
    contents = [hash(tuple(inputs[i].ids)) for pair in pairs for i in pair]
    return Batch(
        ids_T=torch.tensor([i for s in inputs for i in s.ids]),
        types_T=torch.tensor([t for s in inputs for t in s.types]),
        positions_T=torch.cat([torch.arange(n) for n in lengths]),
        lengths_S=torch.tensor(lengths),
        regime_S=torch.tensor([s.regime for s in inputs]),
        aligned_S=torch.tensor([s.aligned for s in inputs]),
        asked_M=torch.from_numpy(asked_M),
        labels_M=torch.from_numpy(labels_T[asked_M]),
        pairs_P2=torch.tensor(pairs, dtype=torch.long).reshape(-1, 2),
        contents_P2=torch.tensor(contents, dtype=torch.long).reshape(-1, 2),
    )


class Examples:
    """All items that can be learned from: each spoken segment, and each run of tokens.

    A spoken segment gives a text-only example and, where it has tokens, the two towers (perhaps with those of another of
    its video), an aligned and a misaligned joint example; a run of tokens a video-only one, of a stretch of it drawn anew each time. Runs are long and so few:
    each is met as often in an epoch as makes them :data:`RUNS_PER_SPOKEN` times the spoken segments. A side may be empty.
    ``asked`` are the terms that count: what only others would ask for is not drawn.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        spoken: Sequence[Segment],
        silent: Sequence[Segment],
        options: ExampleOptions,
        seed: int,
        asked: frozenset[str] = TERMS,
    ):
        self.vocabulary, self.options, self.seed, self.asked = vocabulary, options, seed, asked
        self.spoken = [s for s in spoken if s.text]
        self.silent = [s for s in silent if s.tokens]
        self._words = [vocabulary.encode(s.text) for s in self.spoken]
        self._strangers = Strangers(self.spoken)
        self._items = list(range(len(self.spoken))) if "text" in asked else sorted(self._strangers.seen)
        if not asked - {"video"}:
            self._items = []
        if "video" in asked and self.silent:
            visits = max(1, round(RUNS_PER_SPOKEN * len(self._items) / len(self.silent)))
            self._items += range(len(self.spoken), len(self.spoken) + visits * len(self.silent))

    def __len__(self) -> int:
        return len(self._items)

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
        ids, labels = masked(self.vocabulary, ids, random, self.options.mask)
        return Input(ids, types, labels, regime, aligned)

    def _step(self, random: np.random.Generator) -> int:
        return int(random.integers(1, self.options.subsample + 1)) if self.options.subsample > 1 else 1

    def _run(self, segment: Segment, random: np.random.Generator) -> Input:
        first = int(random.integers(max(1, len(segment.tokens) - 1)))
        tokens = segment.tokens[first : first + int(random.integers(2, max(2, len(segment.tokens)) + 1))]
        if len(tokens) == 1 or random.random() >= self.options.tail:
            return self._masked(None, _every(self._step(random), tokens, random), random, VIDEO)
        ids, types = sequence(self.vocabulary, None, tokens, self.options.longest)
        end, second = len(ids) - 1, 3
        cut = int(random.integers(max(second, end - LONGEST_TAIL), end))
        labels = [IGNORED] * cut + ids[cut:end] + [IGNORED]
        return Input(ids[:cut] + [self.vocabulary.mask] * (end - cut) + ids[end:], types, labels, VIDEO)


def _every(step: int, tokens: tuple[int, ...], random: np.random.Generator) -> tuple[int, ...]:
    """Each ``step``-th token from a random one of the first on, one at least."""
    return tokens[int(random.integers(min(step, len(tokens)))) :: step] if step > 1 else tokens
