"""Owns whose video a misaligned pair is shown, of another video or from far away in the same one, and who is a hard negative."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from multimodal.segments import Segment
from vision.clips import CLIP_SECONDS

FAR_SECONDS = 10 * CLIP_SECONDS
"""So much lies at least between a segment and one far away in the same video."""
TRIES = 8


class NegativeSampler:
    """The spoken segments that have visual tokens; ``seen`` are their places in ``spoken``, a video's in a row."""

    def __init__(self, spoken: Sequence[Segment]):
        by_video: dict[str, list[int]] = {}
        for place, segment in enumerate(spoken):
            if segment.tokens:
                by_video.setdefault(segment.video, []).append(place)
        ends = np.cumsum([0, *(len(places) for places in by_video.values())]).tolist()
        self.seen = [place for places in by_video.values() for place in places]
        self._of_video = dict(zip(by_video, map(range, ends, ends[1:]), strict=True))

    def find(
        self,
        segment: Segment,
        far: float | None,
        read: Callable[[int], Segment],
        shown: Callable[[Segment], tuple[int, ...]],
        random: np.random.Generator,
    ) -> tuple[int, ...]:
        """Visual tokens that do not belong to ``segment``: of no clip of it, and not all among its own.

        ``far``: the chance that they are from far away in the same video, else they are from another video; ``None`` takes
        any segment that shares no clip. Where ``TRIES`` draws find none of the kind that is wanted, the next is taken: far
        away, another video, any segment. ``read`` gives the segment at a place of ``spoken``, perhaps with its neighbour,
        ``shown`` the tokens that are shown of it. Empty where none of any kind was found.
        """
        own = self._of_video[segment.video]
        kinds: list[tuple[int, Callable[[int], int]]] = [(len(self.seen), lambda i: i)]
        if far is not None:
            away = [i for i in own if apart(read(self.seen[i]), segment) >= FAR_SECONDS] if far else []
            kinds.insert(0, (len(self.seen) - len(own), lambda i: i + len(own) * (i >= own.start)))
            if away and random.random() < far:
                kinds.insert(0, (len(away), away.__getitem__))
        for count, nth in kinds:
            for _ in range(TRIES if count else 0):
                other = read(self.seen[nth(int(random.integers(count)))])
                tokens = shown(other)
                if not share_a_clip(other, segment) and not set(tokens) <= set(segment.tokens):
                    return tokens
        return ()

    def near(
        self, segment: Segment, read: Callable[[int], Segment], random: np.random.Generator
    ) -> int | None:
        """The place in ``spoken`` of another segment of the same video, which shares no clip with it; None where
        ``TRIES`` draws found none. ``read`` is that of :meth:`find`."""
        own = self._of_video[segment.video]
        for _ in range(TRIES if len(own) > 1 else 0):
            place = self.seen[int(random.integers(own.start, own.stop))]
            if not share_a_clip(read(place), segment):
                return place
        return None


def share_a_clip(one: Segment, other: Segment) -> bool:
    return one.video == other.video and bool(set(one.clips) & set(other.clips))


def apart(one: Segment, other: Segment) -> float:
    """The seconds between two segments of a video; below 0 where they overlap."""
    return max(one.start - other.end, other.start - one.end)
