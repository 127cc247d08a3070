"""Packing: examples become batches without padding. An example says what is read and what is to be predicted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from multimodal.vocabulary import Vocabulary

TEXT_TYPE, VIDEO_TYPE = 0, 1
ALIGNED, MISALIGNED = 0, 1
"""Labels of the sequence-pair head, as in BERT: 0 means that the second part belongs to the first."""
Parts = tuple[Sequence[int], Sequence[int]]
"""The word-piece ids and the visual tokens of a segment."""


@dataclasses.dataclass(frozen=True)
class Example:
    """One sequence as a corruption returns it: ``ids`` and token ``types``, of one length.

    ``asks`` holds the predictions asked of it, by the name of the loss's term: tuples of positions in this sequence, then
    the label. ``order`` holds a rank for each token (:func:`multimodal.joint.attention.visible`); ``None``: all see all.
    ``positions`` are those of the position embedding, which a query token shares with the token that it predicts;
    ``None``: the places in the sequence. ``target``: what a decoder writes, and what is asked of it (:func:`written`).
    """

    ids: list[int]
    types: list[int]
    asks: dict[str, list[tuple[int, ...]]] = dataclasses.field(default_factory=dict)
    order: list[int] | None = None
    positions: list[int] | None = None
    target: Example | None = None

    @property
    def tokens(self) -> int:
        """Tokens that are read, and those that a decoder writes."""
        return len(self.ids) + (self.target.tokens if self.target else 0)


@dataclasses.dataclass
class Batch:
    """S sequences packed one after the other without padding, T tokens in all.

    ``asks`` holds the predictions asked of the batch, by the name of the loss's term: int64 [n, k + 1], k positions in T,
    then the label. ``order_T`` holds each token's rank, ``None`` where all tokens see all of their sequence. ``target`` are
    the sequences that a decoder writes, one for each of the S, of length 0 where it writes nothing.
    """

    ids_T: torch.Tensor
    types_T: torch.Tensor
    positions_T: torch.Tensor
    lengths_S: torch.Tensor
    order_T: torch.Tensor | None = None
    asks: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    target: Batch | None = None

    @property
    def sequence_T(self) -> torch.Tensor:
        """The number of the sequence that each token belongs to."""
        sequences = torch.arange(len(self.lengths_S), device=self.lengths_S.device)
        return torch.repeat_interleave(sequences, self.lengths_S)

    @property
    def tokens(self) -> int:
        """T."""
        return len(self.ids_T)

    def to(self, device: torch.device | str) -> Batch:
        return Batch(
            self.ids_T.to(device),
            self.types_T.to(device),
            self.positions_T.to(device),
            self.lengths_S.to(device),
            None if self.order_T is None else self.order_T.to(device),
            {name: asked.to(device) for name, asked in self.asks.items()},
            None if self.target is None else self.target.to(device),
        )


def sequence(
    vocabulary: Vocabulary, text: Sequence[int] | None, tokens: Sequence[int] | None, longest: int = 128
) -> tuple[list[int], list[int]]:
    """``[CLS] text [>] video [SEP]`` as ids and types; a modality that is ``None`` or empty leaves its part out.

    ``text`` are word-piece ids, ``tokens`` visual tokens (leaf ids) or −1 for a masked one. A sequence that is too long
    loses the end of its longer part.
    """
    text, tokens = list(text or ()), list(tokens or ())
    room = longest - 2 - bool(tokens)
    if len(text) + len(tokens) > room:
        fewer_tokens = min(len(tokens), max(room // 2, room - len(text)))
        text, tokens = text[: room - fewer_tokens], tokens[:fewer_tokens]
    video = [vocabulary.mask if t < 0 else vocabulary.first_visual + t for t in tokens]
    video_part = [vocabulary.join, *video] if video else []
    ids = [vocabulary.cls_id, *text, *video_part, vocabulary.sep]
    types = [TEXT_TYPE] * (1 + len(text)) + [VIDEO_TYPE] * (len(video_part) + 1 if video_part else 1)
    if not video_part:
        types[-1] = TEXT_TYPE
    return ids, types


def pair_sequence(
    vocabulary: Vocabulary, first: Parts, second: Parts, longest: int = 128
) -> tuple[list[int], list[int]]:
    """``[CLS] text [>] video [SEP] text [>] video [SEP]``: two segments, each as in :func:`sequence`.

    The types say the modality, as in all sequences; ``[SEP]`` parts the segments. The first takes half of ``longest`` at
    most, the second what is left.
    """
    return chained(vocabulary, (first, second), longest, (longest + 1) // 2)


def chained(
    vocabulary: Vocabulary, segments: Sequence[Parts], longest: int = 128, most: int | None = None
) -> tuple[list[int], list[int]]:
    """Segments one after the other, each as in :func:`sequence` but with one ``[CLS]`` for all.

    A segment takes what is left of ``longest``; all but the last take ``most`` tokens at most, where it is given.
    """
    ids: list[int] = []
    types: list[int] = []
    for n, segment in enumerate(segments):
        begun = bool(ids)
        room = longest - len(ids) + begun
        if most is not None and n + 1 < len(segments):
            room = min(room, most)
        more_ids, more_types = sequence(vocabulary, *segment, room)
        ids, types = ids + more_ids[begun:], types + more_types[begun:]
    return ids, types


def written(vocabulary: Vocabulary, ids: Sequence[int], term: str) -> Example:
    """What a decoder writes: ``[CLS]`` and ``ids`` but for the last; ``term`` asks at each for the next one."""
    begun = [vocabulary.cls_id, *ids[:-1]]
    return Example(begun, [TEXT_TYPE] * len(begun), {term: list(enumerate(ids))})


def pack(examples: Sequence[Example]) -> Batch:
    """One packed :class:`Batch` of the examples, in order.

    Positions in ``asks`` are moved to where their sequence lies in T. Either all examples have an ``order`` or none.
    """
    lengths = [len(example.ids) for example in examples]
    asks: dict[str, list[tuple[int, ...]]] = {}
    first = 0
    for example, length in zip(examples, lengths, strict=True):
        for name, asked in example.asks.items():
            moved = ((*(first + position for position in positions), label) for *positions, label in asked)
            asks.setdefault(name, []).extend(moved)
        first += length
    orders = [example.order for example in examples if example.order is not None]
    assert len(orders) in (0, len(examples))
    # A sequence that a decoder writes nothing of has a target without tokens.
    targets = [example.target or Example([], []) for example in examples]
    return Batch(
        ids_T=torch.tensor([i for example in examples for i in example.ids]),
        types_T=torch.tensor([t for example in examples for t in example.types]),
        positions_T=torch.cat(
            [
                torch.arange(n) if e.positions is None else torch.tensor(e.positions)
                for e, n in zip(examples, lengths, strict=True)
            ]
        ),
        lengths_S=torch.tensor(lengths),
        order_T=torch.tensor([rank for order in orders for rank in order]) if orders else None,
        asks={name: torch.tensor(asked) for name, asked in asks.items() if asked},
        target=pack(targets) if any(example.ids for example in targets) else None,
    )
