"""Owns what the model reads: sequences of words and visual tokens, and packed batches of them with no padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from multimodal.vocabulary import Vocabulary

IGNORED = -100
TEXT_TYPE, VIDEO_TYPE = 0, 1
ALIGNED, MISALIGNED = 0, 1
"""As in BERT's sentence pair head: 0 means that the second part belongs to the first."""
REGIMES = ("text", "video", "joint", "tower")
TEXT, VIDEO, JOINT, TOWER = range(len(REGIMES))
"""What a sequence is read for; a tower is one side of a segment, unmasked, read only for its embedding."""


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
