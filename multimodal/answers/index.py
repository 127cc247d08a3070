"""Owns the stored index: one immutable file a video, with its moments and their vectors.

A new video costs only its own file. What makes asking fast is a cache beside it (:mod:`multimodal.answers.cache`),
which is brought up from these files and is never the only place of anything.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from multimodal.catalogue import Video
from multimodal.inference.embedding import embed_texts, embed_videos
from multimodal.inference.trained import Trained
from multimodal.library import read_material
from multimodal.progress import Report
from multimodal.segments import Segment
from multimodal.store import InputError, Store, recipe, write_whole

VERSION = 2
MADE_BY = b"model"


@dataclasses.dataclass(frozen=True)
class Indexed:
    """The moments of one video, and unit vectors float32 [n, H]: ``said`` the words alone, ``shown`` the tokens alone.

    A vector is zero where nothing is said, or nothing seen.
    """

    moments: list[Segment]
    said: np.ndarray
    shown: np.ndarray


def address(trained: Trained) -> str:
    """What an index is kept under: the model's name and its checkpoint."""
    return f"{trained.name}.{trained.folder.name}"


def made_of(video: Video) -> str:
    """The name of a video's file: its content and the recipes of what it was made from."""
    return f"{video.video}.{recipe(version=VERSION, transcript=video.transcript, features=video.features)}.parquet"


def _file(store: Store, trained: Trained, video: Video) -> Path:
    return store.index(address(trained)) / made_of(video)


def index(store: Store, trained: Trained, videos: Sequence[Video], report: Report) -> int:
    """Puts the moments of each video into the model's index, those that are not yet; returns how many videos were new.

    A file of the same video that was made from another transcript or other features goes.
    """
    left = [v for v in videos if not _file(store, trained, v).exists()]
    for done, video in enumerate(left, 1):
        moments = read_material(store, trained.codebook, video).moments()
        table = pa.table(
            {
                "start": pa.array([m.start for m in moments], pa.float64()),
                "end": pa.array([m.end for m in moments], pa.float64()),
                "text": pa.array([m.text for m in moments], pa.string()),
                "tokens": pa.array([list(m.tokens) for m in moments], pa.list_(pa.int32())),
                "said": _rows(trained, embed_texts(trained, [m.text for m in moments])),
                "shown": _rows(trained, embed_videos(trained, [m.tokens for m in moments])),
            }
        ).replace_schema_metadata({MADE_BY: address(trained).encode()})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        new = write_whole(_file(store, trained, video), buffer.getvalue())
        for old in set(new.parent.glob(f"{video.video}.*")) - {new}:
            old.unlink()
        report(done, len(left), video.name)
    return len(left)


def _rows(trained: Trained, vectors: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.ravel(), pa.float32()), trained.model.options.hidden_size
    )


def check_indexed(store: Store, trained: Trained, videos: Sequence[Video]) -> None:
    """Raises :class:`InputError` where a video is not in the model's index."""
    folder = store.index(address(trained))
    there = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    missing = next((v for v in videos if made_of(v) not in there), None)
    if missing is not None:
        raise InputError(
            f"video {missing.name}: not in the index of model {trained.name}; run `videobert index`"
        )


def read(store: Store, trained: Trained, video: Video) -> Indexed:
    """What the index holds of a video. Raises :class:`InputError` where it was made by another model, or is no index."""
    path = _file(store, trained, video)
    try:
        table = pq.read_table(path)
        made_by = (table.schema.metadata or {}).get(MADE_BY, b"another").decode()
        said, shown = (_matrix(table[name]) for name in ("said", "shown"))
        moments = [
            Segment(video.video, start, end, text, tuple(tokens))
            for start, end, text, tokens in zip(
                *(table[name].to_pylist() for name in ("start", "end", "text", "tokens")), strict=True
            )
        ]
        finite = bool(np.isfinite(said).all() and np.isfinite(shown).all())
    except (pa.ArrowException, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"index {path}: cannot be read ({str(error).splitlines()[0]}); delete it and run `videobert index`"
        ) from error
    width, largest = (
        trained.model.options.hidden_size,
        max((max(m.tokens, default=0) for m in moments), default=0),
    )
    if (
        made_by != address(trained)
        or said.shape[1] != width
        or largest >= trained.vocabulary.visual
        or not finite
    ):
        raise InputError(
            f"index {path}: made by model {made_by} ({said.shape[1]} numbers a moment), not by {address(trained)} ({width}); "
            "delete it and run `videobert index`"
        )
    return Indexed(moments, said, shown)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    flat = (
        pa.concat_arrays([chunk.flatten() for chunk in column.chunks]) if column.num_chunks else pa.array([])
    )
    return flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, width)
