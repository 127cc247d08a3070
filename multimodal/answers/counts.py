"""Counts over the videos that a model learned from: the visual tokens in their order, and the words said while they are shown.

The plain answers are made of them (:mod:`multimodal.answers.plain`), and an evaluation compares the model with these. The
counts are stored beside the index, as a question reads one file then and not each video's.
Shapes: V videos, N clips, M moments in which somebody speaks and something is shown.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy
from safetensors import safe_open

from multimodal.answers.index import address, made_of
from multimodal.answers.token_names import content_words
from multimodal.catalogue import Video
from multimodal.library import Material, read_material
from multimodal.store import DamagedFile, Store, canonical_json, reading, recipe, write_artefact
from multimodal.sums import sum_file

if TYPE_CHECKING:
    from multimodal.inference.trained import Trained

VERSION = 1
FILE = "counts.safetensors"
ROWS = ("clips", "shown", "said")


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of integers of any length, one after the other: ``values`` int32 [n], and where each row ends, int64 [rows]."""

    values: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> Rows:
        lengths, values = [], []
        for row in rows:
            lengths.append(len(row))
            values += row
        return cls(np.array(values, np.int32), np.cumsum(np.array(lengths, np.int64), dtype=np.int64))

    @property
    def lengths(self) -> np.ndarray:
        """int64 [rows]."""
        return np.diff(self.ends, prepend=0)

    @property
    def row_of(self) -> np.ndarray:
        """int64 [n]: the row of each value."""
        return np.repeat(np.arange(len(self.ends)), self.lengths)


@dataclasses.dataclass(frozen=True)
class Counts:
    """``clips``: a row for each of ``videos`` (digests), its visual tokens. ``shown`` and ``said``: a row for each moment,
    its different tokens, and its different words as numbers of ``stems``. ``video_M``: the moment's place in ``videos``;
    ``times_M2`` float64: its start and end in seconds."""

    videos: tuple[str, ...]
    clips: Rows
    shown: Rows
    said: Rows
    video_M: np.ndarray
    times_M2: np.ndarray
    stems: dict[str, int]

    @classmethod
    def of(cls, materials: Sequence[Material]) -> Counts:
        moments = [(n, s) for n, m in enumerate(materials) for s in m.spoken() if s.text and s.tokens]
        words = [list(dict.fromkeys(content_words(s.text))) for _, s in moments]
        stem = stems({word for some in words for word in some})
        numbers = {name: i for i, name in enumerate(sorted(set(stem.values())))}
        return cls(
            tuple(m.video.video for m in materials),
            Rows.of(m.tokens.tolist() for m in materials),
            Rows.of(sorted(set(s.tokens)) for _, s in moments),
            Rows.of(sorted({numbers[stem[word]] for word in some}) for some in words),
            np.array([n for n, _ in moments], np.int32),
            np.array([(s.start, s.end) for _, s in moments], np.float64).reshape(-1, 2),
            numbers,
        )

    def place(self, video: str) -> int:
        """The video's place in :attr:`videos`; −1 where it is none of them."""
        return self.videos.index(video) if video in self.videos else -1

    def source(self, moment: int) -> tuple[str, float, float]:
        """The video (digest) of a moment, its start and its end in seconds."""
        start, end = self.times_M2[moment].tolist()
        return self.videos[self.video_M[moment]], start, end

    def stems_of(self, text: str) -> list[int]:
        """The numbers of the content words of ``text``, −1 for one that is said in no moment; each once."""
        stem = stems(content_words(text))
        return list(dict.fromkeys(self.stems.get(stem[word], -1) for word in content_words(text)))


def stems(words: Iterable[str]) -> dict[str, str]:
    """The Porter stem of each word, by SQLite's FTS5, which the words of search are compared by too."""
    different = list(dict.fromkeys(words))
    db = sqlite3.connect(":memory:")
    try:
        db.execute("CREATE VIRTUAL TABLE said USING fts5(word, tokenize='porter unicode61')")
        db.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(said, 'instance')")
        db.executemany("INSERT INTO said (rowid, word) VALUES (?, ?)", enumerate(different))
        found = dict(db.execute("SELECT doc, term FROM terms").fetchall())
    finally:
        db.close()
    return {word: found.get(n, word) for n, word in enumerate(different)}


def update_counts(store: Store, trained: Trained, videos: Sequence[Video]) -> None:
    """Counts ``videos``, those that the model learned from, and stores the counts beside its index.

    Nothing is done where the stored ones were made from the same transcripts and features. The caller holds the store.
    """
    path = _path(store, trained)
    made = recipe(version=VERSION, codebook=trained.codebook, videos=[made_of(v) for v in videos])
    if (_read(path) or ("", None))[0] == made:
        return
    counts = count_videos(store, trained, videos)
    arrays = {"video": counts.video_M, "times": counts.times_M2}
    for name in ROWS:
        rows: Rows = getattr(counts, name)
        arrays |= {name: rows.values, f"{name}_ends": rows.ends}
    about = {"version": VERSION, "made": made, "videos": counts.videos, "stems": list(counts.stems)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_artefact(path, safetensors.numpy.save(arrays, {"about": canonical_json(about)}))


def count_videos(store: Store, trained: Trained, videos: Sequence[Video]) -> Counts:
    """The counts of these videos, from their stored transcripts and tokens."""
    return Counts.of([read_material(store, trained.codebook, v) for v in videos])


def read_counts(store: Store, trained: Trained) -> Counts | None:
    """The stored counts of the model's videos as of the last update of its index; ``None`` where there are none."""
    return (_read(_path(store, trained)) or ("", None))[1]


def _read(path: Path) -> tuple[str, Counts] | None:
    """What the counts were made of, and the counts; ``None`` where they are missing, damaged or of another version: they
    are made again, as the cache beside them is."""
    try:
        with reading(path), safe_open(path, "numpy") as file:
            about = json.loads(file.metadata()["about"])
            if about["version"] != VERSION:
                return None
            rows = {name: Rows(file.get_tensor(name), file.get_tensor(f"{name}_ends")) for name in ROWS}
            stem_numbers = {stem: n for n, stem in enumerate(about["stems"])}
            videos, video_M, times_M2 = (
                tuple(about["videos"]),
                file.get_tensor("video"),
                file.get_tensor("times"),
            )
            return about["made"], Counts(
                videos, **rows, video_M=video_M, times_M2=times_M2, stems=stem_numbers
            )
    except DamagedFile:
        return None


def remove_counts(store: Store) -> None:
    """Deletes the counts: a video that was counted is removed. The next update of the index makes them again."""
    for path in store.caches.glob(f"*/{FILE}"):
        path.unlink()
        sum_file(path).unlink(missing_ok=True)


def _path(store: Store, trained: Trained) -> Path:
    return store.cache(address(trained)) / FILE
