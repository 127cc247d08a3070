"""Tables of what a store holds, for people who compute with it: videos, sentences, features, visual tokens, segments.

Times are seconds on the video's own timeline. A clip is 1.5 s long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from multimodal.catalogue import Video
from multimodal.library import read_features, read_imported_tokens, read_transcript
from multimodal.segments import Segment
from multimodal.store import InputError, Store
from vision.clips import CLIP_SECONDS

VIDEOS = pa.schema(
    {
        "video": pa.string(),
        "name": pa.string(),
        "path": pa.string(),
        "state": pa.string(),
        "reason": pa.string(),
        "seconds": pa.float64(),
        "clips": pa.int64(),
        "sentences": pa.int64(),
    }
)
WORD = pa.struct(
    {"start": pa.float64(), "end": pa.float64(), "text": pa.string(), "probability": pa.float64()}
)
SENTENCES = pa.schema(
    {"start": pa.float64(), "end": pa.float64(), "text": pa.string(), "words": pa.list_(WORD)}
)
SEGMENTS = pa.schema(
    {
        "video": pa.string(),
        "name": pa.string(),
        "start": pa.float64(),
        "end": pa.float64(),
        "text": pa.string(),
        "tokens": pa.list_(pa.int32()),
    }
)


def videos_table(videos: Sequence[Video]) -> pa.Table:
    rows = [{name: getattr(video, name) for name in VIDEOS.names} for video in videos]
    return pa.Table.from_pylist(rows, VIDEOS)


def transcript_table(store: Store, video: Video) -> pa.Table:
    """A row for each sentence; no row for a video without speech."""
    rows = [
        {
            "start": sentence.start,
            "end": sentence.end,
            "text": sentence.text,
            "words": [vars(word) for word in sentence.words],
        }
        for sentence in read_transcript(store, video).sentences
    ]
    return pa.Table.from_pylist(rows, SENTENCES)


def features_table(store: Store, video: Video) -> pa.Table:
    """A row for each clip. Raises :class:`InputError` for a video that was imported as visual tokens."""
    if read_imported_tokens(store, video) is not None:
        raise InputError(f"video {video.name}: was imported as visual tokens, so it has no features")
    values, starts = read_features(store, video)
    features = pa.FixedSizeListArray.from_arrays(
        pa.array(values.astype(np.float32).ravel(), pa.float32()), values.shape[1]
    )
    return _clips_table(starts).append_column("features", features)


def clip_tokens_table(starts: np.ndarray, tokens: np.ndarray) -> pa.Table:
    """A row for each clip: ``starts`` [n] and ``tokens`` [n]."""
    return _clips_table(starts).append_column("token", pa.array(tokens, pa.int32()))


def segments_table(named: Iterable[tuple[str, Segment]]) -> pa.Table:
    """A row for each segment, with the name of its video."""
    rows = [
        {
            "video": s.video,
            "name": name,
            "start": s.start,
            "end": s.end,
            "text": s.text,
            "tokens": list(s.tokens),
        }
        for name, s in named
    ]
    return pa.Table.from_pylist(rows, SEGMENTS)


def _clips_table(starts: np.ndarray) -> pa.Table:
    return pa.table(
        {"start": pa.array(starts, pa.float64()), "end": pa.array(starts + CLIP_SECONDS, pa.float64())}
    )
