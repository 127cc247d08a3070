"""The stored index: one immutable file a video, with its moments and their vectors.

A new video costs only its own file. The search cache (:mod:`multimodal.answers.cache`) is made from these files.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from multimodal.catalogue import Video
from multimodal.disk import names_in
from multimodal.library import read_material, read_transcript
from multimodal.progress import Report
from multimodal.segments import Segment
from multimodal.store import InputError, Store, reading, recipe, write_artefact
from multimodal.sums import sum_file

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

VERSION = 2
MADE_BY = b"model"


@dataclasses.dataclass(frozen=True)
class IndexedVideo:
    """The moments of one video and their unit vectors float32 [n, H]: of the words alone, of the visual tokens alone.

    A vector is zero where a moment has no words, or no tokens. ``language``: the one that its transcript names.
    """

    moments: list[Segment]
    text_vectors: np.ndarray
    video_vectors: np.ndarray
    language: str | None = None


def address(trained: Trained) -> str:
    """The name of a model's index: the model's name and its checkpoint."""
    return f"{trained.name}.{trained.folder.name}"


def made_of(video: Video) -> str:
    """The name of a video's file: its digest, and the recipe of its transcript and features."""
    return f"{video.video}.{_recipe(video.transcript, video.features)}.parquet"


@functools.cache
def _recipe(transcript: str | None, features: str | None) -> str:
    """Most videos of a library have those of a few recipes, and each question asks for all of them."""
    return recipe(version=VERSION, transcript=transcript, features=features)


def _file(store: Store, trained: Trained, video: Video) -> Path:
    return store.index(address(trained)) / made_of(video)


def index(store: Store, trained: Trained, videos: Sequence[Video], report: Report) -> int:
    """Adds the videos that are not yet in the model's index; returns how many were new.

    A file of the same video that was made from another transcript or other features is deleted.
    """
    from multimodal.inference.embedding import embed_texts, embed_videos

    there = file_names(store, trained)
    left = [v for v in videos if made_of(v) not in there]
    earlier: dict[str, list[Path]] = {v.video: [] for v in left}
    for name in there:
        if name.endswith(".parquet") and (video := name.partition(".")[0]) in earlier:
            earlier[video].append(store.index(address(trained)) / name)
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
        write_artefact(_file(store, trained, video), buffer.getvalue())
        for old in earlier[video.video]:
            old.unlink()
            sum_file(old).unlink(missing_ok=True)
        report(done, len(left), video.name)
    return len(left)


def _rows(trained: Trained, vectors: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.ravel(), pa.float32()), trained.model.options.hidden_size
    )


def indexed(store: Store, trained: Trained, videos: Sequence[Video]) -> list[Video]:
    """Those of ``videos`` that are in the model's index. Raises :class:`InputError` where none of them is."""
    found = _indexed(store, trained, videos)
    if not found:
        check_indexed(store, trained, videos)
    return found


def _indexed(store: Store, trained: Trained, videos: Sequence[Video]) -> list[Video]:
    there = file_names(store, trained)
    return [v for v in videos if made_of(v) in there]


def file_names(store: Store, trained: Trained) -> set[str]:
    """The names in the folder of a model's index."""
    return names_in(store.index(address(trained)))


def check_indexed(store: Store, trained: Trained, videos: Sequence[Video]) -> None:
    """Raises :class:`InputError` where a video is not in the model's index."""
    there = file_names(store, trained)
    missing = next((v for v in videos if made_of(v) not in there), None)
    if missing is not None:
        raise InputError(
            f"video {missing.name}: not in the index of model {trained.name}; run `videobert index`"
        )


def read(store: Store, trained: Trained, video: Video) -> IndexedVideo:
    """A video's moments and vectors. Raises :class:`InputError` where its file is another model's, or cannot be read."""
    path = _file(store, trained, video)
    with reading(path):
        table = pq.read_table(path)
        made_by = (table.schema.metadata or {}).get(MADE_BY, b"another").decode()
        text_vectors, video_vectors = _matrix(table["said"]), _matrix(table["shown"])
        columns = (table[name].to_pylist() for name in ("start", "end", "text", "tokens"))
        moments = [
            Segment(video.video, start, end, text, tuple(tokens))
            for start, end, text, tokens in zip(*columns, strict=True)
        ]
        finite = bool(np.isfinite(text_vectors).all() and np.isfinite(video_vectors).all())
    width = trained.model.options.hidden_size
    largest = max((max(m.tokens, default=0) for m in moments), default=0)
    fits = made_by == address(trained) and text_vectors.shape[1] == video_vectors.shape[1] == width
    if not fits or largest >= trained.vocabulary.visual or not finite:
        raise InputError(
            f"index {path}: made by model {made_by} ({text_vectors.shape[1]} numbers a moment), not by {address(trained)} "
            f"({width}); delete it and run `videobert index`"
        )
    language = read_transcript(store, video).language
    return IndexedVideo(moments, text_vectors, video_vectors, language)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    flat = (
        pa.concat_arrays([chunk.flatten() for chunk in column.chunks]) if column.num_chunks else pa.array([])
    )
    return flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, width)
