"""Resampling of imported features and tokens to clips of 1.5 s, the unit of all later stages."""

from __future__ import annotations

import numpy as np

from vision.clips import CLIP_SECONDS

TOLERANCE = 1e-3


def on_clips(values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Values and starts with a row a clip, and a note on the resampling, empty where the rows are clips already.

    ``values``: features [n, d], of which a clip takes the mean over time, or tokens int [n], of which it takes the one
    that is shown longest. ``starts``, ``ends``: seconds [n]. A missing end (NaN) is the median distance of the starts
    after the start, but never past the next start. A clip is left out where less than half of it is covered, unless it
    is the only one of the video.
    """
    usual = float(np.quantile(np.diff(starts), 0.5, method="lower")) if len(starts) > 1 else CLIP_SECONDS
    guessed = np.minimum(starts + usual, np.append(starts[1:], np.inf))
    ends = np.where(np.isnan(ends), guessed, ends)
    lengths = ends - starts
    # Rows that are clips, gaps between them included, stay as they are.
    apart = len(starts) < 2 or np.diff(starts).min() >= CLIP_SECONDS - TOLERANCE
    if apart and np.abs(lengths - CLIP_SECONDS).max() <= TOLERANCE:
        return values, starts, ""
    first, longest = starts[0], float(lengths.max())
    count = max(1, int(np.ceil((ends.max() - first) / CLIP_SECONDS - 0.5 - TOLERANCE)))
    found, kept = [], []
    # A clip can only overlap rows that start less than the longest row before it.
    for clip in first + CLIP_SECONDS * np.arange(count):
        low, high = np.searchsorted(starts, (clip - longest, clip + CLIP_SECONDS))
        overlap = np.minimum(ends[low:high], clip + CLIP_SECONDS) - np.maximum(starts[low:high], clip)
        overlap = np.maximum(overlap, 0.0)
        if overlap.sum() >= CLIP_SECONDS / 2 - TOLERANCE or (count == 1 and overlap.sum() > 0):
            found.append(_one(values[low:high], overlap))
            kept.append(clip)
    how = "the mean of" if values.ndim == 2 else "the longest of"
    note = f"{len(values)} rows of {np.median(lengths):g} s put on {len(kept)} clips of {CLIP_SECONDS:g} s ({how} those in each)"
    return np.array(found, values.dtype if values.ndim == 1 else np.float32), np.array(kept), note


def _one(values: np.ndarray, overlap: np.ndarray) -> np.ndarray | int:
    if values.ndim == 2:
        return np.average(values.astype(np.float64), axis=0, weights=overlap)
    tokens, whose = np.unique(values, return_inverse=True)
    return int(tokens[np.bincount(whose, overlap).argmax()])
