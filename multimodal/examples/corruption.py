"""Corruption: what is hidden of a sequence, and the labels to be predicted in its place. One function for each kind.

A corruption reads a sequence ``(ids, types)`` and returns an :class:`~multimodal.examples.packing.Example` that asks the
hidden tokens of one term of the loss. It draws from the generator that it is given and from nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from multimodal.examples.packing import Example
from multimodal.vocabulary import Vocabulary

MASKED, REPLACED = 0.8, 0.1
"""BERT's shares of the chosen tokens that become [MASK] and another token; the rest stay (Devlin et al. 2019, 3.1)."""


class Corruption(Protocol):
    """The signature of a corruption: ``share`` of a sequence's words and visual tokens is hidden, and asked by ``term``.

    ``used``: the visual tokens that stand in for others; ``None``: all.
    """

    def __call__(
        self,
        vocabulary: Vocabulary,
        ids: list[int],
        types: list[int],
        term: str,
        random: np.random.Generator,
        share: float,
        used: Sequence[int] | None = None,
    ) -> Example: ...


def mask_tokens(
    vocabulary: Vocabulary,
    ids: list[int],
    types: list[int],
    term: str,
    random: np.random.Generator,
    share: float,
    used: Sequence[int] | None = None,
) -> Example:
    """Token masking: BERT's 80/10/10 on ``max(1, round(share · n))`` of the n words and visual tokens.

    Specials and ``[>]`` are never chosen. A replacement comes from the same modality, is never a special, and where it is
    visual it is one of the ``used`` tokens (``None``: all are): a token that no clip has would tell that it stands in.
    """
    candidates = content_positions(vocabulary, ids)
    if not candidates:
        return Example(ids, types, {term: []})
    chosen = random.choice(candidates, size=max(1, round(share * len(candidates))), replace=False)
    dice = random.random(len(chosen))
    return hide(vocabulary, ids, types, term, chosen.tolist(), dice.tolist(), random, used)


def hide(
    vocabulary: Vocabulary,
    ids: list[int],
    types: list[int],
    term: str,
    chosen: Sequence[int],
    dice: Sequence[float],
    random: np.random.Generator,
    used: Sequence[int] | None = None,
) -> Example:
    """The sequence with the tokens at the ``chosen`` positions hidden, which ``term`` is asked for.

    A token whose number of ``dice`` (uniform, 0 to 1) is below :data:`MASKED` becomes [MASK], the next :data:`REPLACED`
    another one of its modality; the rest stay.
    """
    new_ids = list(ids)
    for position, thrown in zip(chosen, dice, strict=True):
        if thrown < MASKED:
            new_ids[position] = vocabulary.mask
        elif thrown < MASKED + REPLACED:
            new_ids[position] = drawn_token(vocabulary, ids[position], random, used)
    return Example(new_ids, types, {term: [(position, ids[position]) for position in sorted(chosen)]})


def drawn_token(
    vocabulary: Vocabulary, token: int, random: np.random.Generator, used: Sequence[int] | None = None
) -> int:
    """A token of the modality of ``token``, drawn among the words, or among the visual tokens that are ``used``."""
    if token >= vocabulary.first_visual:
        used = used or range(vocabulary.visual)
        return vocabulary.first_visual + used[int(random.integers(len(used)))]
    words = vocabulary.replaceable_words
    return words[int(random.integers(len(words)))]


def mask_suffix(vocabulary: Vocabulary, ids: list[int], types: list[int], term: str, count: int) -> Example:
    """Suffix masking: the last ``count`` tokens before ``[SEP]`` are all masked, as forecasting asks for them."""
    end = len(ids) - 1
    first = end - count
    asked = [(position, ids[position]) for position in range(first, end)]
    return Example(ids[:first] + [vocabulary.mask] * count + ids[end:], types, {term: asked})


def content_positions(vocabulary: Vocabulary, ids: Sequence[int]) -> list[int]:
    """The positions of words and visual tokens: all but ``[CLS]``, ``[SEP]``, ``[MASK]``, ``[PAD]``, ``[UNK]``, ``[>]``."""
    return [i for i, token in enumerate(ids) if token not in vocabulary.specials]
