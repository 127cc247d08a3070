"""Owns search: an index of every moment's words and picture, and the moments that a text calls for.

A moment is found by its words (SQLite's BM25, and the text-only embedding) and by its picture (the video-only
embedding, the best of which the alignment head puts in order). The parts are fused by reciprocal rank.
An index is one file a video, so a new video costs only its own.
"""

from __future__ import annotations

import dataclasses
import io
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from multimodal.catalogue import Video
from multimodal.examples import ALIGNED, JOINT, pack, sequence, unmasked
from multimodal.library import read_material
from multimodal.objective import CONTRAST_TEMPERATURE
from multimodal.pretraining import Trained
from multimodal.segments import Segment
from multimodal.store import InputError, Store, recipe, write_whole
from multimodal.training import Report

VERSION = 1
RERANKED = 50
LEAST_PROBABILITY = 1e-9
RANK_OFFSET = 60
"""Of reciprocal rank fusion: 1 / (60 + rank) (Cormack, Clarke, Büttcher 2009)."""
WORDS_WEIGHT = 3
"""What was really said outweighs what the model takes for near: the first 30 moments that share a word with the text
come before all that share none, seen or not."""
COMMON = 0.25
"""A word said in more than this share of the moments tells little: it is asked for only where the text has no rarer one."""


@dataclasses.dataclass(frozen=True)
class Hit:
    """A moment with its score; ``heard`` and ``seen`` are the parts that the words and the picture had in it."""

    video: str
    name: str
    start: float
    end: float
    text: str
    score: float
    heard: float
    seen: float


@torch.no_grad()
def embed(trained: Trained, texts: Sequence[str] = (), tokens: Sequence[Sequence[int]] = ()) -> np.ndarray:
    """Unit vectors float32 [n, H] of texts alone or of visual tokens alone; an empty one gives a zero vector."""
    parts = [(trained.vocabulary.encode(t), None) for t in texts] if texts else [(None, t) for t in tokens]
    vectors = np.zeros((len(parts), trained.model.options.hidden_size), np.float32)
    full = [i for i, (words, seen) in enumerate(parts) if words or seen]
    for first in range(0, len(full), 64):
        some = full[first : first + 64]
        batch = pack([unmasked(*sequence(trained.vocabulary, *parts[i])) for i in some]).to(
            trained.model.device
        )
        vectors[some] = trained.model.embed(trained.model.encode(batch), batch).cpu().numpy()
    return vectors


@torch.no_grad()
def alignment(trained: Trained, texts: Sequence[str], tokens: Sequence[Sequence[int]]) -> np.ndarray:
    """The alignment head's probability, float64 [n], that each text belongs to its visual tokens."""
    found = []
    for first in range(0, len(texts), 64):
        pairs = zip(texts[first : first + 64], tokens[first : first + 64], strict=True)
        inputs = [
            unmasked(*sequence(trained.vocabulary, trained.vocabulary.encode(x), t), JOINT) for x, t in pairs
        ]
        batch = pack(inputs).to(trained.model.device)
        logits = trained.model.alignment(trained.model.encode(batch), batch).float()
        found.append(torch.softmax(logits, -1)[:, ALIGNED].double().cpu().numpy())
    return np.concatenate(found) if found else np.zeros(0)


def _file(store: Store, trained: Trained, video: Video) -> Path:
    made = recipe(version=VERSION, transcript=video.transcript, features=video.features)
    return store.index(f"{trained.name}.{trained.folder.name}") / f"{video.video}.{made}.parquet"


def index(store: Store, trained: Trained, videos: Sequence[Video], report: Report) -> int:
    """Puts the moments of each video into the model's index, those that are not yet; returns how many videos were new."""
    left = [v for v in videos if not _file(store, trained, v).exists()]
    for done, video in enumerate(left, 1):
        moments = read_material(store, trained.codebook, video).moments()
        table = pa.table(
            {
                "start": pa.array([m.start for m in moments], pa.float64()),
                "end": pa.array([m.end for m in moments], pa.float64()),
                "text": pa.array([m.text for m in moments], pa.string()),
                "tokens": pa.array([list(m.tokens) for m in moments], pa.list_(pa.int32())),
                "said": pa.array(
                    list(embed(trained, texts=[m.text for m in moments])) if moments else [],
                    pa.list_(pa.float32()),
                ),
                "shown": pa.array(
                    list(embed(trained, tokens=[m.tokens for m in moments])) if moments else [],
                    pa.list_(pa.float32()),
                ),
            }
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        write_whole(_file(store, trained, video), buffer.getvalue())
        report(done, len(left), video.name)
    return len(left)


class Index:
    """Every moment of some videos, ready to be asked."""

    def __init__(
        self,
        trained: Trained,
        names: Sequence[str],
        moments: Sequence[Segment],
        said: np.ndarray,
        shown: np.ndarray,
    ):
        self.trained, self.names, self.moments = trained, list(names), list(moments)
        self._said, self._shown = faiss.IndexFlatIP(said.shape[1]), faiss.IndexFlatIP(shown.shape[1])
        self._said.add(said)
        self._shown.add(shown)
        self._words = sqlite3.connect(":memory:")
        self._words.execute("CREATE VIRTUAL TABLE words USING fts5(text, tokenize='porter unicode61')")
        self._words.executemany(
            "INSERT INTO words (rowid, text) VALUES (?, ?)", ((i, m.text) for i, m in enumerate(self.moments))
        )

    @classmethod
    def load(cls, store: Store, trained: Trained, videos: Sequence[Video]) -> Index:
        """Raises :class:`InputError` where a video is not in the model's index."""
        names, moments, said, shown = [], [], [], []
        for video in videos:
            file = _file(store, trained, video)
            if not file.exists():
                raise InputError(
                    f"video {video.name}: not in the index of model {trained.name}; run `videobert index`"
                )
            for row in pq.read_table(file).to_pylist():
                names.append(video.name)
                moments.append(
                    Segment(video.video, row["start"], row["end"], row["text"], tuple(row["tokens"]))
                )
                said.append(row["said"])
                shown.append(row["shown"])
        if not moments:
            raise InputError(f"store {store.root}: its index holds no moment; run `videobert run VIDEOS`")
        return cls(trained, names, moments, np.array(said, np.float32), np.array(shown, np.float32))

    def search(self, text: str, top: int = 10) -> list[Hit]:
        """The moments that ``text`` calls for, best first. Raises :class:`InputError` for an empty text."""
        if not re.search(r"\w", text):
            raise InputError(f"TEXT {text!r}: has no word in it; say what you look for")
        heard, seen = np.zeros(len(self.moments)), np.zeros(len(self.moments))
        for weight, ranked in ((WORDS_WEIGHT, self.by_words(text)), (1, self.by_saying(text))):
            heard[ranked] += weight / (RANK_OFFSET + 1 + np.arange(len(ranked)))
        by_sight = self.by_sight(text)
        seen[by_sight] = 1 / (RANK_OFFSET + 1 + np.arange(len(by_sight)))
        best = np.argsort(-(heard + seen), kind="stable")[:top]
        return [
            Hit(
                m.video,
                self.names[i],
                m.start,
                m.end,
                m.text,
                float(heard[i] + seen[i]),
                float(heard[i]),
                float(seen[i]),
            )
            for i, m in ((int(i), self.moments[i]) for i in best)
        ]

    def by_words(self, text: str) -> np.ndarray:
        """The moments that share a word (by its stem) with the text, by BM25."""
        said = {word: self._moments_with(word) for word in dict.fromkeys(re.findall(r"\w+", text))}
        rare = [word for word, n in said.items() if 0 < n <= max(1, COMMON * len(self.moments))]
        query = " OR ".join(f'"{word}"' for word in rare or said)
        rows = self._words.execute(
            "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank, rowid", (query,)
        ).fetchall()
        return np.array([row for (row,) in rows], np.int64)

    def _moments_with(self, word: str) -> int:
        (count,) = self._words.execute(
            "SELECT count(*) FROM words WHERE words MATCH ?", (f'"{word}"',)
        ).fetchone()
        return count

    def by_saying(self, text: str) -> np.ndarray:
        """The moments whose words mean something near, by the text-only embedding."""
        _, order = self._order(self._said, text)
        return order[[bool(self.moments[i].text) for i in order]]

    def by_sight(self, text: str) -> np.ndarray:
        """The moments that show it, by the video-only embedding; the first 50 in its and the alignment head's order.

        Both are log-probabilities there: the embedding's as it was trained (cosine over temperature), and the head's.
        """
        near, order = self._order(self._shown, text)
        shown = np.array([bool(self.moments[i].tokens) for i in order], bool)
        near, order = near[shown], order[shown]
        first = order[:RERANKED]
        aligned = alignment(self.trained, [text] * len(first), [self.moments[i].tokens for i in first])
        both = near[:RERANKED] / CONTRAST_TEMPERATURE + np.log(aligned + LEAST_PROBABILITY)
        return np.concatenate([first[np.argsort(-both, kind="stable")], order[RERANKED:]])

    def _order(self, vectors: faiss.IndexFlatIP, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The moments by cosine, and the cosines, best first."""
        near, order = vectors.search(embed(self.trained, texts=[text]), len(self.moments))
        return near[0], order[0]
