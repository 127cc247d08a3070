"""Vector search by FAISS: a flat index for few vectors, HNSW (Malkov and Yashunin 2018) for many.

The similarity is the inner product of unit vectors. A flat index compares every vector. HNSW keeps a graph of neighbours
and finds most of the nearest ones; how many is measured on the store's own vectors. Shapes: N vectors, Q queries, D numbers a vector.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from multimodal.extras import module_of
from multimodal.store import file_digest

Kind = Literal["flat", "hnsw"]

FLAT_UP_TO = 200_000
"""Vectors that a flat index holds at most; more are put into an HNSW graph."""
LINKS, EF_CONSTRUCTION = 32, 100
"""HNSW: links of each vector, and efConstruction, the candidates kept while the graph is built."""
EF_SEARCH = 1024
"""HNSW: efSearch, the candidates kept in a search. It must not be less than what is asked for, and a ranking is 1000 moments deep."""
BLAS_FROM = 4 * 384
"""Numbers of the queries of one search from which on FAISS multiplies matrices: below four queries of 384 it is no gain."""
NEAREST = 10
"""Recall is measured on so many nearest vectors."""


def import_faiss() -> ModuleType:
    """FAISS, an optional dependency. Raises :class:`~multimodal.store.InputError` where it is not installed."""
    faiss = module_of("cpu", "faiss", "vector search")
    # Several queries at once then read the vectors once, not once each.
    faiss.cvar.distance_compute_blas_threshold = min(BLAS_FROM, faiss.cvar.distance_compute_blas_threshold)
    return faiss


@dataclasses.dataclass(frozen=True)
class IndexStats:
    """``recall``: share of the 10 nearest by exact search that the index finds, over ``queries`` of the store's own
    vectors; 1 for a flat index. ``ef_search``: efSearch of HNSW, ``None`` for a flat index."""

    vectors: int
    kind: Kind = "flat"
    ef_search: int | None = None
    recall: float = 1.0
    queries: int | None = None

    def __str__(self) -> str:
        if self.kind == "flat":
            return f"{self.vectors:,} vectors, searched exactly (flat index)"
        return (
            f"{self.vectors:,} vectors, searched by HNSW with efSearch {self.ef_search}: recall {self.recall:.3f} of the "
            f"{NEAREST} nearest by exact search, over {self.queries} of your own vectors"
        )


class VectorIndex:
    """Unit vectors float32 and the moment that each belongs to, ``row_ids`` int64 [N] ascending."""

    def __init__(self, index: Any, row_ids: np.ndarray):
        """``index``: FAISS's flat or HNSW index over N vectors by inner product."""
        self._index, self.row_ids = index, row_ids
        self._selected: np.ndarray | None = None

    @classmethod
    def empty(cls, width: int, kind: Kind = "flat") -> VectorIndex:
        faiss = import_faiss()
        if kind == "flat":
            return cls(faiss.IndexFlatIP(width), np.zeros(0, np.int64))
        index = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        return cls(index, np.zeros(0, np.int64))

    @classmethod
    def of(cls, vectors: np.ndarray) -> VectorIndex:
        """A flat index of ``vectors`` [n, D]; the row in the array is the moment's id."""
        index = cls.empty(vectors.shape[1])
        index.add(vectors, 0)
        return index

    @property
    def kind(self) -> Kind:
        return "hnsw" if isinstance(self._index, import_faiss().IndexHNSW) else "flat"

    @property
    def width(self) -> int:
        return self._index.d

    def __len__(self) -> int:
        """Vectors that are searched: those that were selected, or all."""
        return len(self.row_ids) if self._selected is None else int(self._selected.sum())

    def add(self, vectors: np.ndarray, first: int) -> None:
        """Adds those of ``vectors`` [n, D] that are not zero, as moments ``first``, ``first`` + 1, …"""
        kept = np.flatnonzero(vectors.any(1))
        self._index.add(np.ascontiguousarray(vectors[kept], np.float32))
        self.row_ids = np.concatenate([self.row_ids, kept + first])
        self._selected = None

    def remove(self, first: int, after: int) -> None:
        """Removes the vectors of the moments ``[first, after)``: no byte of them stays.

        HNSW cannot delete a node. Its vector is overwritten with zeros, and the node stays as a step on the way to others;
        searches leave it out (:meth:`select`).
        """
        begin, end = np.searchsorted(self.row_ids, (first, after))
        if begin == end:
            return
        faiss = import_faiss()
        self._selected = None
        if self.kind == "flat":
            self._index.remove_ids(faiss.IDSelectorBatch(np.arange(begin, end)))
            self.row_ids = np.delete(self.row_ids, slice(begin, end))
        else:
            stored_ND = faiss.rev_swig_ptr(self._storage().get_xb(), len(self.row_ids) * self.width)
            stored_ND.reshape(-1, self.width)[begin:end] = 0

    def select(self, ranges: np.ndarray) -> VectorIndex:
        """Leaves only moments in one of ``ranges`` int64 [n, 2] of ``[first, after)`` to be searched; returns itself."""
        # +1 where a range begins and −1 where it ends: the running sum is above 0 inside a range.
        steps = np.zeros(len(self.row_ids) + 1, np.int64)
        np.add.at(steps, np.searchsorted(self.row_ids, ranges[:, 0]), 1)
        np.add.at(steps, np.searchsorted(self.row_ids, ranges[:, 1]), -1)
        selected = steps[:-1].cumsum() > 0
        self._selected = None if selected.all() else selected
        return self

    def search(self, query: np.ndarray, depth: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The ``depth`` nearest moments of one query [D], best first: products float32 [k] and ids int64 [k].

        Equal products are ordered by id. ``None`` orders all moments, which is always exact.
        """
        return self.search_many(query[None], depth)[0]

    def search_many(
        self, queries: np.ndarray, depth: int | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same for each query [Q, D]. The vectors, which are more than a processor's caches hold, are read once."""
        if depth is None or self.kind == "flat":
            near_Qk, rows_Qk = self._exact(queries, len(self) if depth is None else depth)
        else:
            near_Qk, rows_Qk = self._search(self._index, queries, depth)
        answers = []
        for near, rows in zip(near_Qk, rows_Qk, strict=True):
            near, ids = near[rows >= 0], self.row_ids[rows[rows >= 0]]
            order = np.lexsort((ids, -near))
            answers.append((near[order], ids[order]))
        return answers

    def nearest(self, queries: np.ndarray) -> np.ndarray:
        """The product of each query [Q, D] with its nearest vector, float32 [n]; those that find none are left out."""
        near, rows = self._search(self._index, queries, 1)
        return near[rows >= 0]

    def vector(self, moment: int) -> np.ndarray | None:
        """The vector [D] of a moment, ``None`` where it has none."""
        row = int(np.searchsorted(self.row_ids, moment))
        if row == len(self.row_ids) or self.row_ids[row] != moment:
            return None
        return self._index.reconstruct(row)

    def sample(self, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Up to ``count`` moments and their vectors: int64 [n] and float32 [n, D], ascending by id."""
        rows = np.arange(len(self.row_ids)) if self._selected is None else np.flatnonzero(self._selected)
        drawn = np.sort(random.choice(rows, min(count, len(rows)), replace=False))
        return self.row_ids[drawn], self._storage().reconstruct_batch(drawn)

    def rebuilt(self, kind: Kind) -> VectorIndex:
        """An index of ``kind`` over the selected vectors, all of them where none were selected."""
        kept = slice(None) if self._selected is None else self._selected
        made = VectorIndex.empty(self.width, kind)
        made._index.add(self._storage().reconstruct_n(0, len(self.row_ids))[kept])
        made.row_ids = self.row_ids[kept]
        return made

    def recall(self, queries: np.ndarray, own: np.ndarray) -> float:
        """Share of the 10 nearest moments by exact search that the index finds, the mean over ``queries`` [Q, D].

        ``own`` [Q] is the moment that a query is the vector of, which counts on neither side, −1 for none.
        """
        _, truth = self._exact(queries, NEAREST + 1)
        _, found = self._search(self._index, queries, NEAREST + 1)
        shares = []
        for expected, got, moment in zip(truth, found, own, strict=True):
            wanted = self._others(expected, moment)
            if wanted:
                shares.append(len(wanted & self._others(got, moment)) / len(wanted))
        return float(np.mean(shares)) if shares else 1.0

    def _others(self, rows: np.ndarray, own: int) -> set[int]:
        """The first 10 moments of ``rows``, without the query's own."""
        ids = self.row_ids[rows[rows >= 0]]
        return set(ids[ids != own][:NEAREST].tolist())

    def _storage(self) -> Any:
        """FAISS's flat index of the vectors: the index itself, or the one inside HNSW."""
        return self._index if self.kind == "flat" else import_faiss().downcast_index(self._index.storage)

    def _exact(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return self._search(self._storage(), queries, k)

    def _search(self, index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Products float32 and rows int64 [Q, k]; a row is −1 where fewer than k vectors were found."""
        faiss = import_faiss()
        k = min(k, len(self))
        if not k:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        is_hnsw = isinstance(index, faiss.IndexHNSW)
        parameters = faiss.SearchParametersHNSW() if is_hnsw else faiss.SearchParameters()
        if is_hnsw:
            parameters.efSearch = max(EF_SEARCH, k)
        if self._selected is not None:
            # FAISS keeps a pointer to the bits: both objects must live until the search returns.
            bits = np.packbits(self._selected, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
            parameters.sel = selector
        return index.search(np.ascontiguousarray(queries, np.float32), k, params=parameters)

    # files

    def write(self, path: Path) -> str:
        """Writes FAISS's own file; returns its SHA-256."""
        import_faiss().write_index(self._index, str(path))
        return file_digest(path)

    @classmethod
    def read(
        cls, path: Path, digest: str, width: int, row_ids: np.ndarray, *, mapped: bool = False
    ) -> VectorIndex | None:
        """The index in FAISS's own file; ``None`` where the file is not there, or not the one with this ``digest``.

        ``mapped``: the vectors stay in the file, whose pages all processes share; nothing can be added or removed.
        A damaged index file can make FAISS read and write outside its memory, so a file with another digest is not parsed.
        """
        faiss = import_faiss()
        try:
            if file_digest(path) != digest:
                return None
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        except (OSError, RuntimeError):
            return None
        fits = isinstance(index, faiss.IndexFlat | faiss.IndexHNSWFlat)
        if not fits or (index.d, index.ntotal) != (width, len(row_ids)):
            return None
        return cls(index, row_ids)
