"""Copies: videos that show the same, clip for clip, as other files of one recording do, remuxed or encoded anew.

A model that learned from one copy knows the answers about the other, so copies belong on one side of the split.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multimodal.catalogue import Video
from multimodal.library import kind_of_features, read_features, read_imported_tokens
from multimodal.names import listed
from multimodal.store import Store

LEAST_COSINE = 0.98
"""Between the features of a clip and of its copy, at least. Clips of one scene that follow each other have 0.96 to 0.98, the
same clip in HDR and SDR 0.989 (docs/decisions.md)."""
LEAST_SHARE = 0.9
"""Of the clips, those that must be as near as that."""
LEAST_MEAN_COSINE = 0.995
"""Between the means of two videos, before their clips are compared."""
MOST_CLIPS_APART = 0.02
"""Share of the clips by which copies may differ in number, beside one clip."""
BLOCK = 1024
MOST_NAMED = 5


def find_copies(store: Store, videos: Sequence[Video]) -> list[list[Video]]:
    """Groups of two or more videos that are copies of each other, each in the order of the names. Imported tokens have no
    features to compare."""
    shown = sorted((v for v in videos if v.clips and v.features), key=lambda v: (v.name, v.video))
    means: list[np.ndarray] = []
    kept: list[Video] = []
    for video in shown:
        if read_imported_tokens(store, video) is None:
            kept.append(video)
            means.append(_unit(read_features(store, video)[0].astype(np.float32).mean(0)))
    parent = list(range(len(kept)))
    for place, other in _candidates(kept, means):
        if _root(parent, place) != _root(parent, other) and _are_copies(store, kept[place], kept[other]):
            parent[_root(parent, other)] = _root(parent, place)
    groups: dict[int, list[Video]] = {}
    for place, video in enumerate(kept):
        groups.setdefault(_root(parent, place), []).append(video)
    return [group for group in groups.values() if len(group) > 1]


def told_copies(copies: Sequence[Sequence[Video]], ignored: bool) -> str:
    """A line for people; empty where there are none."""
    if not copies:
        return ""
    groups = [listed([v.name for v in group], MOST_NAMED, " = ") for group in copies]
    named = listed(groups, MOST_NAMED, "; ")
    done = "only the first of each is learned from or asked about" if ignored else (
        "they are on one side of the split; --copies ignore leaves all but the first out of it"
    )  # fmt: skip
    return f"copies that show the same: {named}; {done}"


def without_second_copies(videos: Sequence[Video], copies: Sequence[Sequence[Video]]) -> list[Video]:
    """The videos without all but the first of each group."""
    second = {video.video for group in copies for video in group[1:]}
    return [video for video in videos if video.video not in second]


def _candidates(videos: Sequence[Video], means: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Pairs of places whose means are near and whose numbers of clips are alike."""
    by_width: dict[tuple[str, int], list[int]] = {}
    for place, (video, mean) in enumerate(zip(videos, means, strict=True)):
        by_width.setdefault((kind_of_features(video.features), len(mean)), []).append(place)
    found = []
    for places in by_width.values():
        matrix = np.stack([means[place] for place in places])
        clips = np.array([videos[place].clips for place in places])
        for first in range(0, len(places), BLOCK):
            near = matrix[first : first + BLOCK] @ matrix.T >= LEAST_MEAN_COSINE
            apart = np.abs(clips[first : first + BLOCK, None] - clips)
            near &= apart <= np.maximum(1, MOST_CLIPS_APART * clips)
            for row, column in zip(*near.nonzero(), strict=True):
                if first + row < column:
                    found.append((places[first + row], places[column]))
    return found


def _are_copies(store: Store, one: Video, other: Video) -> bool:
    a, b = (read_features(store, video)[0].astype(np.float32) for video in (one, other))
    clips = min(len(a), len(b))
    cosines = (_unit(a[:clips]) * _unit(b[:clips])).sum(-1)
    return bool((cosines >= LEAST_COSINE).mean() >= LEAST_SHARE)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-9)


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        place = parent[place]
    return place
