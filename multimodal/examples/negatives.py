"""Negative sampling: the video of a misaligned pair, from another video or far away in the same one, and hard negatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from multimodal.examples.segment_table import SegmentTable
from multimodal.segments import Segment
from vision.clips import CLIP_SECONDS

MINIMUM_DISTANCE = 10 * CLIP_SECONDS
"""Seconds at least between a segment and an in-video negative of it."""
TRIES = 8
"""Draws of one kind before the next kind is tried: a draw may share a clip with the segment, or show the same."""


class NegativeSampler:
    """Draws negatives among the spoken segments that have visual tokens.

    ``with_tokens`` int64 are their places in ``spoken``, a video's in a row.
    """

    def __init__(self, spoken: SegmentTable):
        places = np.flatnonzero(spoken.token_counts())
        video = spoken.video_numbers()[places]
        by_video = video.argsort(kind="stable")
        self.with_tokens = places[by_video]
        first = np.unique(video[by_video], return_index=True)[1]
        last = [*first[1:].tolist(), len(self.with_tokens)][: len(first)]
        self._of_video = {
            spoken.video(int(self.with_tokens[begin])): range(int(begin), end)
            for begin, end in zip(first, last, strict=True)
        }

    def misaligned(
        self,
        segment: Segment,
        in_video_rate: float | None,
        read: Callable[[int], Segment],
        tokens_of: Callable[[Segment], tuple[int, ...]],
        random: np.random.Generator,
    ) -> tuple[int, ...]:
        """Visual tokens that do not belong to ``segment``: of no clip of it, and not all among its own.

        ``in_video_rate``: the chance that they are from :data:`MINIMUM_DISTANCE` away in the same video, else they are from
        another video; ``None`` takes any segment that shares no clip. Where :data:`TRIES` draws find none of the wanted kind
        the next is tried: same video, another video, any segment. ``read`` gives the segment at a place of ``spoken``,
        perhaps with its neighbour, ``tokens_of`` the tokens that are shown of it. Empty where none of any kind was found.
        """
        own = self._of_video[segment.video]
        kinds: list[tuple[int, Callable[[int], int]]] = [(len(self.with_tokens), lambda i: i)]
        if in_video_rate is not None:
            # The places of the own video are left out of the count and stepped over.
            kinds.insert(0, (len(self.with_tokens) - len(own), lambda i: i + len(own) * (i >= own.start)))
            distant = (
                [i for i in own if distance(read(int(self.with_tokens[i])), segment) >= MINIMUM_DISTANCE]
                if in_video_rate
                else []
            )
            if distant and random.random() < in_video_rate:
                kinds.insert(0, (len(distant), distant.__getitem__))
        for count, nth in kinds:
            for _ in range(TRIES if count else 0):
                other = read(int(self.with_tokens[nth(int(random.integers(count)))]))
                tokens = tokens_of(other)
                if not share_a_clip(other, segment) and not set(tokens) <= set(segment.tokens):
                    return tokens
        return ()

    def hard_negative(
        self, segment: Segment, read: Callable[[int], Segment], random: np.random.Generator
    ) -> int | None:
        """The place in ``spoken`` of another segment of the same video that shares no clip; ``None`` where :data:`TRIES`
        draws found none. ``read`` is that of :meth:`misaligned`."""
        own = self._of_video[segment.video]
        for _ in range(TRIES if len(own) > 1 else 0):
            place = int(self.with_tokens[int(random.integers(own.start, own.stop))])
            if not share_a_clip(read(place), segment):
                return place
        return None


def share_a_clip(one: Segment, other: Segment) -> bool:
    return one.video == other.video and bool(set(one.clips) & set(other.clips))


def distance(one: Segment, other: Segment) -> float:
    """The seconds between two segments of a video; below 0 where they overlap."""
    return max(one.start - other.end, other.start - one.end)
