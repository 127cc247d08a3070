"""Owns the pairing of what is said with what is seen: sentences × visual tokens by time become segments."""

from __future__ import annotations

import dataclasses

import numpy as np

from speech.sentences import Transcript
from vision.clips import CLIP_SECONDS

HORIZONS = (1, 2, 4, 8)
"""Clips ahead that a forecast looks: 1.5, 3, 6 and 12 s."""
CONTEXT = 5
"""Clips that a forecast reads at most, the last ones. Longer contexts are met in one video alone and overfit."""
SILENT_TOKENS = 16
"""Without speech, this many visual tokens are one segment (VideoBERT, section 3.2)."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """``tokens`` are the visual tokens (leaf ids) of the clips shown in ``[start, end)`` seconds; ``text`` what was said."""

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

    A sentence too short to hold half a clip takes the one clip that it overlaps most; a sentence spoken while no clip
    is shown keeps its words and has no tokens. ``starts`` [n] in seconds and ``tokens`` [n] belong together.
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
    """A segment and the one that follows it in the same video as one; a clip that is in both is kept once."""
    new = [(t, c) for t, c in zip(after.tokens, after.clips, strict=True) if c not in segment.clips]
    return Segment(
        segment.video,
        segment.start,
        max(segment.end, after.end),
        f"{segment.text} {after.text}",
        (*segment.tokens, *(t for t, _ in new)),
        (*segment.clips, *(c for _, c in new)),
    )


def silent_segments(video: str, starts: np.ndarray, tokens: np.ndarray) -> list[Segment]:
    """The whole video in runs of 16 visual tokens, whether or not anybody speaks: what the video-only regime reads."""
    return [
        Segment(
            video,
            float(starts[first]),
            float(starts[min(first + SILENT_TOKENS, len(starts)) - 1] + CLIP_SECONDS),
            "",
            tuple(int(t) for t in tokens[first : first + SILENT_TOKENS]),
            tuple(range(first, min(first + SILENT_TOKENS, len(starts)))),
        )
        for first in range(0, len(starts), SILENT_TOKENS)
    ]


def moments(video: str, transcript: Transcript, starts: np.ndarray, tokens: np.ndarray) -> list[Segment]:
    """What can be found in a video: its spoken segments, and runs of clips where nobody speaks for at least one clip."""
    spoken = spoken_segments(video, transcript, starts, tokens)
    taken = {clip for segment in spoken for clip in segment.clips}
    runs: list[list[int]] = []
    for clip in (c for c in range(len(starts)) if c not in taken):
        if runs and runs[-1][-1] == clip - 1 and len(runs[-1]) < SILENT_TOKENS:
            runs[-1].append(clip)
        else:
            runs.append([clip])
    quiet = [
        Segment(
            video,
            float(starts[r[0]]),
            float(starts[r[-1]] + CLIP_SECONDS),
            "",
            tuple(int(tokens[c]) for c in r),
            tuple(r),
        )
        for r in runs
    ]
    return sorted(spoken + quiet, key=lambda s: (s.start, s.end))
