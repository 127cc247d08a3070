"""Features of a whole video: its clips through a backbone, in the batches that the backbone likes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from vision.backbones import BATCH, Backbone
from vision.clips import Clip


class FeatureError(ValueError):
    """A backbone gives for a clip what is no feature; the message is one line."""


@dataclass(frozen=True)
class Features:
    """`values` float16 [n, backbone.features], one row per clip; `starts` float64 [n], seconds on the container's timeline."""

    values: np.ndarray
    starts: np.ndarray


def extract(
    clips: Iterable[Clip], backbone: Backbone, *, on_clip: Callable[[int], None] | None = None
) -> Features:
    """The features of `clips`, read one batch at a time; `on_clip` is called with the number done so far.

    No clips give arrays of length 0. Raises FeatureError where a feature holds NaN or more than float16 does; what the
    iterable raises passes through.
    """
    size = BATCH if backbone.device.type == "cuda" else 1
    values: list[np.ndarray] = []
    starts: list[float] = []
    waiting: list[Clip] = []

    def work() -> None:
        with np.errstate(over="ignore"):
            made = backbone(np.stack([clip.frames for clip in waiting])).astype(np.float16)
        bad = np.flatnonzero(~np.isfinite(made).all(1))
        if len(bad):
            raise FeatureError(
                f"the clip at {waiting[bad[0]].start:g} s: backbone {backbone.name} gives NaN or more than 65504 for it; "
                "take --device cpu, or another --backbone"
            )
        values.extend(made)
        starts.extend(clip.start for clip in waiting)
        waiting.clear()
        if on_clip:
            on_clip(len(starts))

    for clip in clips:
        waiting.append(clip)
        if len(waiting) == size:
            work()
    if waiting:
        work()
    shaped = np.array(values, np.float16).reshape(len(values), backbone.features)
    return Features(shaped, np.array(starts, np.float64))
