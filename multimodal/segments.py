"""Segments: the sentences of a transcript paired with the visual tokens of the clips in their time.

Source: Sun et al., VideoBERT (ICCV 2019), section 3.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from speech.sentences import Transcript
from vision.clips import CLIP_SECONDS

HORIZONS = (1, 2, 4, 8)
"""Clips ahead that a forecast looks: 1.5, 3, 6 and 12 s."""
CONTEXT = 5
"""Clips that a forecast reads at most, the last ones. Longer contexts are met in one video alone and overfit."""
SILENT_TOKENS = 16
"""Length of a segment without speech, in visual tokens (VideoBERT, section 3.2)."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """A time span of a video: ``[start, end)`` in seconds, the ``text`` spoken in it, and its visual tokens.

    ``tokens`` are leaf ids of the codebook, one for each entry of ``clips``, which are the numbers of the clips in their
    video.
    """

    video: str
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    clips: tuple[int, ...] = ()


def spoken_segments(
    video: str, transcript: Transcript, starts: np.ndarray, tokens: np.ndarray
) -> list[Segment]:
    """One segment for each sentence, with the tokens of the clips that lie at least half within its time.

    A sentence too short to hold half a clip takes the one clip that it overlaps most. A sentence that overlaps no clip
    has no tokens. ``starts`` [n] are the clips' seconds, ``tokens`` [n] their leaf ids.
    """
    segments = []
    for sentence in transcript.sentences:
        overlap = np.minimum(starts + CLIP_SECONDS, sentence.end) - np.maximum(starts, sentence.start)
        inside = np.flatnonzero(overlap >= CLIP_SECONDS / 2)
        if not inside.size and overlap.size and overlap.max() > 0:
            inside = np.array([int(overlap.argmax())])
        segments.append(
            Segment(
                video,
                sentence.start,
                sentence.end,
                sentence.text,
                tuple(int(t) for t in tokens[inside]),
                tuple(int(i) for i in inside),
            )
        )
    return segments


def joined(segment: Segment, after: Segment) -> Segment:
    """A segment and the next one of the same video as one; a clip that both hold is kept once."""
    new = [(t, c) for t, c in zip(after.tokens, after.clips, strict=True) if c not in segment.clips]
    return Segment(
        segment.video,
        min(segment.start, after.start),
        max(segment.end, after.end),
        f"{segment.text} {after.text}",
        (*segment.tokens, *(t for t, _ in new)),
        (*segment.clips, *(c for _, c in new)),
    )


def silent_segments(video: str, starts: np.ndarray, tokens: np.ndarray) -> list[Segment]:
    """The whole video in runs of 16 visual tokens, with or without speech: the input of the video modality."""
    count = len(starts)
    runs = [range(first, min(first + SILENT_TOKENS, count)) for first in range(0, count, SILENT_TOKENS)]
    return [_silent(video, run, starts, tokens) for run in runs]


def _silent(video: str, clips: Sequence[int], starts: np.ndarray, tokens: np.ndarray) -> Segment:
    """The segment of these neighbouring clips, without words."""
    start, end = float(starts[clips[0]]), float(starts[clips[-1]] + CLIP_SECONDS)
    return Segment(video, start, end, "", tuple(int(tokens[c]) for c in clips), tuple(clips))


def moments(video: str, transcript: Transcript, starts: np.ndarray, tokens: np.ndarray) -> list[Segment]:
    """The moments that search can return: the spoken segments, and runs of at most 16 clips that no sentence covers."""
    spoken = spoken_segments(video, transcript, starts, tokens)
    covered = {clip for segment in spoken for clip in segment.clips}
    runs: list[list[int]] = []
    for clip in range(len(starts)):
        if clip in covered:
            continue
        if runs and runs[-1][-1] == clip - 1 and len(runs[-1]) < SILENT_TOKENS:
            runs[-1].append(clip)
        else:
            runs.append([clip])
    silent = [_silent(video, run, starts, tokens) for run in runs]
    return sorted(spoken + silent, key=lambda s: (s.start, s.end))
