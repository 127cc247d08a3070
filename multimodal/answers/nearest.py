"""Owns which kind of vector search a number of vectors gets, and the two approximate kinds: a graph and inverted lists.

Up to 200,000 vectors are searched exactly. Up to 2,000,000 are put into a graph (HNSW; Malkov and Yashunin 2018),
which keeps them whole in memory; more into inverted lists of product codes (IVF-PQ; Jégou et al. 2011), whose best are
compared again with the vectors themselves. How widely either is searched is chosen by recall: the narrowest search
that finds 95 % of what exact search finds for the user's own vectors.
FAISS searches, but no file of FAISS is read: what is stored are plain arrays, checked before FAISS sees them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import faiss
import numpy as np

from multimodal.answers.exact import Exact

Kind = Literal["exact", "graph", "lists"]


@dataclasses.dataclass(frozen=True)
class NearestOptions:
    """``exact_up_to`` and ``graph_up_to``: vectors. ``recall``: of the 10 nearest, the share that is to be found."""

    exact_up_to: int = 200_000
    graph_up_to: int = 2_000_000
    recall: float = 0.95

    def kind(self, count: int) -> Kind:
        if count <= self.exact_up_to:
            return "exact"
        return "graph" if count <= self.graph_up_to else "lists"


BY_SIZE = NearestOptions()
LINKS, BUILDING_BREADTH = 32, 100
GRAPH_BREADTHS = (32, 64, 128, 256, 512, 1024)
LISTS_BREADTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
LISTS_PER_ROOT = 4
"""Lists for each square root of the number of vectors (FAISS's guide: 4 to 16)."""
CODE_BYTES, CODE_BITS = 64, 8
RECHECKED = 10
"""Candidates of the codes compared again in full, for each one wanted."""
JUDGED_BY = 10
"""Recall is counted over this many nearest."""


class Damaged(ValueError):
    """Stored arrays that are no graph or no lists over these vectors."""


class Graph:
    """HNSW over the first rows of ``full`` [N, D]."""

    kind: Kind = "graph"

    def __init__(self, full: np.ndarray):
        self.full = full
        self.faiss = faiss.IndexHNSWFlat(full.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        self.faiss.hnsw.efConstruction = BUILDING_BREADTH
        self.breadth = GRAPH_BREADTHS[0]

    breadths = GRAPH_BREADTHS

    @property
    def covered(self) -> int:
        return self.faiss.ntotal

    def add_rest(self) -> None:
        """Takes in the rows of ``full`` that it does not cover yet."""
        self.faiss.add(self.full[self.covered :])

    def search(self, queries: np.ndarray, k: int, alive: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`Exact.search`, but a row is −1 where fewer were found."""
        chosen = {} if alive is None else {"sel": faiss.IDSelectorBitmap(_bits(alive[: self.covered]))}
        parameters = faiss.SearchParametersHNSW(efSearch=max(self.breadth, k), **chosen)
        return self.faiss.search(queries, k, params=parameters)

    def arrays(self) -> dict[str, np.ndarray]:
        """What is stored: the level of each vector, where its links begin, the links, where a search enters."""
        hnsw = self.faiss.hnsw
        found = {name: faiss.vector_to_array(getattr(hnsw, name)) for name in ("levels", "neighbors")}
        found["offsets"] = faiss.vector_to_array(hnsw.offsets).astype(np.int64)
        return found | {"entry": np.array([hnsw.entry_point, hnsw.max_level], np.int64)}

    @classmethod
    def of(cls, full: np.ndarray, arrays: dict[str, np.ndarray]) -> Graph:
        """Raises :class:`Damaged` where the arrays are no graph over (the first rows of) ``full``."""
        graph, hnsw = cls(full), None
        hnsw = graph.faiss.hnsw
        levels, links, offsets = arrays["levels"], arrays["neighbors"], arrays["offsets"]
        entry, highest = arrays["entry"].tolist()
        room = faiss.vector_to_array(hnsw.cum_nneighbor_per_level)
        count = len(levels)
        if not (
            0 < count <= len(full)
            and (levels.dtype, links.dtype) == (np.int32, np.int32)
            and levels.min() >= 1
            and levels.max() < len(room)
            and np.array_equal(np.diff(offsets, prepend=0), np.concatenate([[0], room[levels]]))
            and len(links) == offsets[-1]
            and links.min() >= -1
            and links.max() < count
            and 0 <= entry < count
            and highest == levels[entry] - 1 == levels.max() - 1
            and _links_reach_their_level(levels, links, offsets, room)
        ):
            raise Damaged(f"graph of {count} vectors: not one over these {len(full)}")
        graph.faiss.storage.add(full[:count])
        graph.faiss.ntotal = count
        faiss.copy_array_to_vector(levels, hnsw.levels)
        faiss.copy_array_to_vector(offsets.astype(np.uint64), hnsw.offsets)
        faiss.copy_array_to_vector(links, hnsw.neighbors)
        hnsw.entry_point, hnsw.max_level = entry, highest
        return graph


def _links_reach_their_level(
    levels: np.ndarray, links: np.ndarray, offsets: np.ndarray, room: np.ndarray
) -> bool:
    """True where each link of an upper level leads to a vector that has this level: FAISS does not look."""
    for level in range(1, int(levels.max())):
        owners = np.flatnonzero(levels > level)
        places = offsets[owners][:, None] + np.arange(room[level], room[level + 1])
        to = links[places]
        if (levels[to[to >= 0]] <= level).any():
            return False
    return True


class Lists:
    """IVF-PQ over the first rows of ``full`` [N, D]."""

    kind: Kind = "lists"
    breadths = LISTS_BREADTHS

    def __init__(self, full: np.ndarray, lists: int):
        width = full.shape[1]
        self.full, self.quantizer = full, faiss.IndexFlatIP(width)
        codes = max(b for b in range(1, CODE_BYTES + 1) if width % b == 0)
        self.faiss = faiss.IndexIVFPQ(
            self.quantizer, width, lists, codes, CODE_BITS, faiss.METRIC_INNER_PRODUCT
        )
        self.breadth = LISTS_BREADTHS[0]

    @classmethod
    def trained(cls, full: np.ndarray) -> Lists:
        lists = cls(full, max(1, int(LISTS_PER_ROOT * math.sqrt(len(full)))))
        lists.faiss.train(full)
        return lists

    @property
    def covered(self) -> int:
        return self.faiss.ntotal

    def add_rest(self) -> None:
        self.faiss.add(self.full[self.covered :])

    def search(self, queries: np.ndarray, k: int, alive: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        chosen = {} if alive is None else {"sel": faiss.IDSelectorBitmap(_bits(alive[: self.covered]))}
        parameters = faiss.SearchParametersIVF(nprobe=min(self.breadth, self.faiss.nlist), **chosen)
        _, rows = self.faiss.search(queries, min(k * RECHECKED, self.covered), params=parameters)
        near = np.einsum("qkd,qd->qk", self.full[np.maximum(rows, 0)], queries)
        near[rows < 0] = -np.inf
        order = np.argsort(-near, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(near, order, 1), np.take_along_axis(rows, order, 1)

    def arrays(self) -> dict[str, np.ndarray]:
        """What is stored: the lists' centres, the codes' centres, and of each vector its list and its code."""
        count, stored = self.covered, self.faiss.invlists
        lists = np.zeros(count, np.int64)
        codes = np.zeros((count, self.faiss.code_size), np.uint8)
        for number in range(self.faiss.nlist):
            size = stored.list_size(number)
            if size:
                ids = faiss.rev_swig_ptr(stored.get_ids(number), size)
                lists[ids] = number
                codes[ids] = faiss.rev_swig_ptr(stored.get_codes(number), size * codes.shape[1]).reshape(
                    size, -1
                )
        return {
            "centres": self.quantizer.reconstruct_n(0, self.faiss.nlist),
            "code_centres": faiss.vector_to_array(self.faiss.pq.centroids),
            "lists": lists,
            "codes": codes,
        }

    @classmethod
    def of(cls, full: np.ndarray, arrays: dict[str, np.ndarray]) -> Lists:
        """Raises :class:`Damaged` where the arrays are no lists over (the first rows of) ``full``."""
        centres, lists, codes = arrays["centres"], arrays["lists"], arrays["codes"]
        made = cls(full, max(1, len(centres)))
        count, index = len(lists), made.faiss
        if not (
            0 < count <= len(full)
            and centres.shape == (index.nlist, full.shape[1])
            and arrays["code_centres"].size == faiss.vector_to_array(index.pq.centroids).size
            and codes.shape == (count, index.code_size)
            and codes.dtype == np.uint8
            and lists.min() >= 0
            and lists.max() < index.nlist
        ):
            raise Damaged(f"lists of {count} vectors: not over these {len(full)}")
        made.quantizer.add(centres)
        faiss.copy_array_to_vector(np.ascontiguousarray(arrays["code_centres"]), index.pq.centroids)
        index.is_trained = True
        index.precompute_table()
        for number in np.unique(lists):
            ids = np.flatnonzero(lists == number)
            some = np.ascontiguousarray(codes[ids])
            index.invlists.add_entries(int(number), len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(some))
        index.ntotal = count
        return made


def _bits(alive: np.ndarray) -> np.ndarray:
    return np.packbits(alive, bitorder="little")


def built(full: np.ndarray, kind: Kind) -> Graph | Lists:
    """A graph or lists over all of ``full``."""
    made = Graph(full) if kind == "graph" else Lists.trained(full)
    made.add_rest()
    return made


def widened(
    made: Graph | Lists, queries: np.ndarray, own: np.ndarray, alive: np.ndarray, wanted: float
) -> float:
    """Sets the narrowest breadth whose recall reaches ``wanted``, else the widest; returns that recall.

    Recall is the share of the 10 nearest by exact search that it finds, over ``queries`` [Q, D]; the query's ``own`` row
    [Q] (−1 for none) is not counted.
    """
    alive = alive[: made.covered]
    chosen = None if alive.all() else alive
    _, truly = Exact(made.full[: made.covered], alive=alive).search(queries, JUDGED_BY + 1)
    others = [
        [r for r in rows if r != o][:JUDGED_BY] for rows, o in zip(truly.tolist(), own.tolist(), strict=True)
    ]
    recall = 0.0
    for breadth in made.breadths:
        made.breadth = breadth
        _, rows = made.search(queries, JUDGED_BY + 1, chosen)
        found = [len(set(a) & set(b)) / len(a) for a, b in zip(others, rows.tolist(), strict=True) if a]
        recall = float(np.mean(found)) if found else 1.0
        if recall >= wanted:
            break
    return recall


class Nearest:
    """The search over one kind's vectors; ``numbers`` [N] are the moments that the rows belong to.

    With a graph or lists, rows that came after them are searched exactly beside them.
    """

    def __init__(self, exact: Exact, numbers: np.ndarray, approximate: Graph | Lists | None = None):
        self._exact, self._numbers, self._approximate = exact, numbers, approximate
        if approximate is not None:
            self._rest = exact.after(approximate.covered)

    def search(self, query: np.ndarray, depth: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The ``depth`` nearest of one query [D], best first: products float32 [k] and moments' numbers int64 [k].

        ``None`` puts all in order, which is always exact.
        """
        if depth is None or self._approximate is None:
            near, rows = self._exact.search(query[None], len(self._exact) if depth is None else depth)
            return near[0], self._numbers[rows[0]]
        alive = None if self._exact.dead is None else ~self._exact.dead.numpy()
        near, rows = self._approximate.search(query[None], depth, alive)
        beside, after = self._rest.search(query[None], depth)
        near, rows = (
            np.concatenate([near[0], beside[0]]),
            np.concatenate([rows[0], after[0] + self._approximate.covered]),
        )
        near, rows = near[rows >= 0], rows[rows >= 0]
        order = np.argsort(-near, kind="stable")[:depth]
        return near[order], self._numbers[rows[order]]

    def vector(self, number: int) -> np.ndarray | None:
        """The vector [D] of a moment, ``None`` where it has none."""
        at = int(np.searchsorted(self._numbers, number))
        if at == len(self._numbers) or self._numbers[at] != number:
            return None
        return self._exact.full[at].numpy()
