"""Filling of sequences: which spoken segments, and how many clips of a video, are read together.

RoBERTa (Liu et al. 2019, section 4.2) reads as many sentences in a row as fit, within a document (DOC-SENTENCES, which did
best). Here a document is a video, and a sequence has no padding anyhow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from multimodal.examples.segment_table import SegmentTable

MARKS = 3
"""``[CLS]``, ``[>]`` and ``[SEP]`` of a sequence of clips alone."""


class Groups(Sequence[range]):
    """Places in a table of segments that are read together: group n begins at ``first_N`` and has ``count_N`` places, or one."""

    def __init__(self, first_N: Sequence[int], count_N: Sequence[int] | None = None):
        self._first_N, self._count_N = first_N, count_N

    def __len__(self) -> int:
        return len(self._first_N)

    def __getitem__(self, number):  # noqa: ANN001, ANN204 - a number alone, no slice
        first = int(self._first_N[number])
        return range(first, first + (1 if self._count_N is None else int(self._count_N[number])))


def one_each(spoken: SegmentTable, longest: int, shown: bool) -> Groups:
    """Each spoken segment by itself; with ``shown`` those alone that have visual tokens."""
    return Groups(spoken.token_counts().nonzero()[0] if shown else range(len(spoken)))


def full(spoken: SegmentTable, longest: int, shown: bool) -> Groups:
    """As many segments of a video in a row as ``longest`` tokens hold, one at least. With ``shown`` groups without any visual
    token are left out."""
    token_counts, video = spoken.token_counts(), spoken.video_numbers()
    # A segment ends with [SEP], and [>] stands before its visual tokens.
    lengths = (spoken.word_counts() + token_counts + (token_counts > 0) + 1).tolist()
    first: list[int] = []
    room = 0
    for place, length in enumerate(lengths):
        if not place or length > room or video[place] != video[place - 1]:
            first.append(place)
            room = longest - 1  # of [CLS]
        room -= length
    first_N = np.array(first, np.int64)
    count_N = np.diff(first_N, append=len(lengths))
    if shown and len(first):
        kept_N = np.add.reduceat(token_counts, first_N) > 0
        first_N, count_N = first_N[kept_N], count_N[kept_N]
    return Groups(first_N, count_N)


def following_tokens(runs: SegmentTable, place: int, most: int) -> tuple[int, ...]:
    """The visual tokens of a run and of those after it in its video, ``most`` at most."""
    tokens = runs[place].tokens
    while len(tokens) < most and place + 1 < len(runs) and runs.video(place + 1) == runs.video(place):
        place += 1
        tokens += runs[place].tokens
    return tokens[:most]


def preceding_tokens(runs: SegmentTable, place: int, most: int) -> tuple[int, ...]:
    """The visual tokens of the runs before one in its video, the last ``most`` at most."""
    tokens: tuple[int, ...] = ()
    first = place
    while len(tokens) < most and first and runs.video(first - 1) == runs.video(place):
        first -= 1
        tokens = runs[first].tokens + tokens
    return tokens[-most:] if most > 0 else ()


SEQUENCES: dict[str, Callable[[SegmentTable, int, bool], Groups]] = {"segments": one_each, "full": full}
"""By the ``sequences`` of a system."""
