"""Visual tokens: a codebook by hierarchical k-means over clip features.

The codebook is a tree of centroids with k children a node. A token is a leaf's number, whose digits in base k are the path
from the root.

Features are scaled to length 1 before anything else, since only their direction counts. I3D's features differ in length
by a third from clip to clip (5.0 +- 1.7); unscaled, length rather than content decides which are near. On 248 clips of 15
real videos, unscaled tokens told the videos apart less well (adjusted mutual information 0.66 against 0.74 with 16
tokens, 0.62 against 0.69 with 49) and fewer were used (perplexity 19 against 29 of 49).

A node with fewer distinct rows than k has one child for each, and its other children are unused. Token numbers keep
their meaning: there are always k^depth of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vision.assignment import ArrayRows, Rows, descend, nearest, read_blocks
from vision.errors import ModelError

CLIPS_PER_LEAF = 5
MAX_LEAVES = 1 << 20
ENCODE_ROWS = 65_536
"""Rows that are encoded at a time: large blocks, since a block is grouped by node at each level."""
MEMORY_BYTES = 2 << 30


@dataclass(frozen=True)
class CodebookOptions:
    """`k` children a node, `depth` levels, at most `iterations` of k-means in a node, which draws from `seed` and its number.

    Raises ModelError for a number out of range, and where there would be more than MAX_LEAVES leaves.
    """

    k: int = 12
    depth: int = 4
    iterations: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name, minimum in (("k", 2), ("depth", 1), ("iterations", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < minimum:
                raise ModelError(
                    f"codebook option {name} is {value!r}: it must be a whole number >= {minimum}"
                )
        if self.k**self.depth > MAX_LEAVES:
            raise ModelError(f"codebook of {self.k}^{self.depth} leaves: at most {MAX_LEAVES} are admitted")


def shape_for(
    clips: int, largest: tuple[int, int] = (12, 3), k: int | None = None, depth: int | None = None
) -> tuple[int, int]:
    """(k, depth) for so many clips: about CLIPS_PER_LEAF clips a leaf, and at most the leaves of `largest`.

    A `k` or `depth` that is given is kept, and the other follows from it. Where neither is given, the depth is the smallest
    at which the k needed is at most `largest`'s. k is at least 2.
    """
    leaves = min(max(clips / CLIPS_PER_LEAF, 2), largest[0] ** largest[1])
    if k:
        return k, depth or max(round(math.log(leaves, k)), 1)
    depths = [depth] if depth else range(1, largest[1] + 1)
    shapes = [(max(round(leaves ** (1 / d)), 2), d) for d in depths]
    return next((shape for shape in shapes if shape[0] <= largest[0]), shapes[-1])


class Codebook:
    """Hierarchical k-means. After `fit`, `from_tokens` or `from_arrays`, with d the width of a feature:

    `centroids_`: per level 1..depth, float32 [k^level, d], zero where unused.
    `used_levels_`: per level, bool [k^level].
    `used_`: bool [k^depth], the leaves that have rows. `counts_`: int64 [k^depth], how many.
    `quantisation_error_`: mean squared distance from the leaf's centroid over mean squared distance from the mean
    (0 is perfect, 1 is one centroid for all).
    `perplexity_`: exp of the entropy of the leaves' shares of rows.
    """

    def __init__(self, options: CodebookOptions = CodebookOptions()) -> None:
        self.options = options

    def fit(
        self,
        features: np.ndarray | Rows,
        *,
        memory: int = MEMORY_BYTES,
        gpu: bool = False,
        on_rows: Callable[[int, int], None] = lambda done, n: None,
    ) -> Codebook:
        """Fits the tree to float [n, d], n >= 1: an array, or `Rows` on disk of which about `memory` bytes are held.

        Where all rows fit into memory, every node is fitted to all of its rows; else see `vision/tree.py`. The same
        features, options, memory, library versions and kind of processor give the same tree, to the bit, whatever the
        number of threads. With `gpu` large nodes are clustered by PyTorch on a GPU, whose centroids differ in their last
        bits. `on_rows` is called with the number of rows that have reached their leaf, and of all.
        Raises ModelError for features of another shape, or with NaN or infinity.
        """
        # Imported here: growing the tree needs PyTorch, which encoding does not.
        from vision.kmeans import one_thread
        from vision.tree import Tree

        rows = _as_rows(features, minimum=1)
        shape = (self.options.k, self.options.depth)
        with one_thread():
            tree = Tree(rows, shape, self.options.iterations, self.options.seed, memory, gpu, on_rows)
        self.centroids_, self.used_levels_ = tree.centroids, tree.used
        statistics = tree.statistics
        self.counts_, self.quantisation_error_ = statistics.counts, statistics.quantisation_error
        return self

    def encode(self, features_ND: np.ndarray) -> np.ndarray:
        """int64 [n]: the token of each feature, the leaf that is reached by the nearest used child at each level.

        Raises ModelError where the codebook has no centroids or another width, and for NaN or infinity.
        """
        if not self.has_centroids:
            raise ModelError(
                "the codebook's tokens were made elsewhere, without centroids: no feature can be encoded; import tokens"
            )
        rows = _as_rows(features_ND, self.centroids_[0].shape[1])
        tokens = [self._descend(x_ND) for _, x_ND in read_blocks(rows, ENCODE_ROWS)]
        return np.concatenate([np.zeros(0, np.int64), *tokens])

    def _descend(self, x_ND: np.ndarray) -> np.ndarray:
        return descend(x_ND, self.centroids_, self.used_levels_, self.options.k)

    def leaf_centroids(self) -> np.ndarray:
        """float32 [k^depth, d], NaN where `used_` is False."""
        return np.where(self.used_[:, None], self.centroids_[-1], np.float32(np.nan))

    def nearest(self, features: np.ndarray | Rows, n: int = 1) -> np.ndarray:
        """int64 [k^depth, n]: for each leaf the rows nearest to its centroid among those it encodes, nearest first.

        -1 stands where the leaf has no (further) row. The features are read once, block by block.
        """
        leaves, rows, distances = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        for begin, x_ND in read_blocks(_as_rows(features, self.centroids_[0].shape[1])):
            ids_N = self._descend(x_ND)
            difference = x_ND - self.centroids_[-1][ids_N]
            leaves = np.concatenate([leaves, ids_N])
            rows = np.concatenate([rows, np.arange(begin, begin + len(x_ND))])
            distances = np.concatenate([distances, np.einsum("nd,nd->n", difference, difference)])
            # Keep the best n of each leaf, so that what is held does not grow with the number of rows.
            order = np.lexsort((rows, distances, leaves))
            kept = order[_rank_in_run(leaves[order]) < n]
            leaves, rows, distances = leaves[kept], rows[kept], distances[kept]
        nearest = np.full((len(self.used_), n), -1, np.int64)
        nearest[leaves, _rank_in_run(leaves)] = rows
        return nearest

    def leaves_in(self, other: Codebook) -> np.ndarray:
        """int64 [k^depth]: the used leaf of `other` whose centroid is nearest to each leaf's, the first of equals.

        -1 stands where the leaf is unused, and where its centroid is nearer to the mean of the rows of `other` than to any leaf
        of it: `other` was fitted on nothing that is like it. Raises ModelError where either has no centroids, or another width.
        """
        ours_KD, theirs_KD = self.centroids_[-1][self.used_], other.centroids_[-1][other.used_]
        if not (self.has_centroids and other.has_centroids):
            raise ModelError("tokens that were made elsewhere have no centroids, so none of them is near")
        if ours_KD.shape[1] != theirs_KD.shape[1]:
            raise ModelError(
                f"centroids are of {ours_KD.shape[1]} and {theirs_KD.shape[1]} numbers, so none is near another"
            )
        place_K = nearest(ours_KD, theirs_KD)
        exact_KD = ours_KD.astype(np.float64)
        counts_K = np.maximum(other.counts_[other.used_], 1)
        mean_D = np.average(theirs_KD.astype(np.float64), axis=0, weights=counts_K)
        near_K = ((exact_KD - theirs_KD[place_K]) ** 2).sum(1) < ((exact_KD - mean_D) ** 2).sum(1)
        found_K = np.full(len(self.used_), -1, np.int64)
        found_K[np.flatnonzero(self.used_)[near_K]] = np.flatnonzero(other.used_)[place_K[near_K]]
        return found_K

    @classmethod
    def from_tokens(cls, tokens_N: np.ndarray, options: CodebookOptions) -> Codebook:
        """A codebook of imported tokens: which are used and how often. It has no centroids and cannot encode."""
        codebook, levels = cls(options), range(1, options.depth + 1)
        codebook.centroids_ = [np.full((options.k**level, 1), np.nan, np.float32) for level in levels]
        codebook.counts_ = np.bincount(tokens_N, minlength=options.k**options.depth)
        leaves_used = codebook.counts_ > 0
        codebook.used_levels_ = [leaves_used.reshape(options.k**level, -1).any(1) for level in levels]
        codebook.quantisation_error_ = float("nan")
        return codebook

    @property
    def has_centroids(self) -> bool:
        """False for a codebook of imported tokens."""
        return bool(np.isfinite(self.centroids_[0][self.used_levels_[0]]).all())

    @property
    def used_(self) -> np.ndarray:
        return self.used_levels_[-1]

    @property
    def perplexity_(self) -> float:
        shares = self.counts_[self.counts_ > 0] / max(self.counts_.sum(), 1)
        return float(np.exp(-(shares * np.log(shares)).sum()))

    @property
    def occupancy_(self) -> dict[str, float]:
        """The fewest, the median and the most rows of a used leaf."""
        counts = self.counts_[self.counts_ > 0]
        return {"min": int(counts.min()), "median": float(np.median(counts)), "max": int(counts.max())}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays that `from_arrays` needs, by the names under which they are stored."""
        arrays = {f"centroids.{level}": array for level, array in enumerate(self.centroids_, 1)}
        arrays |= {f"used.{level}": array for level, array in enumerate(self.used_levels_, 1)}
        return arrays | {"counts": self.counts_, "quantisation_error": np.array([self.quantisation_error_])}

    @classmethod
    def from_arrays(cls, options: CodebookOptions, arrays: dict[str, np.ndarray]) -> Codebook:
        """The codebook of `to_arrays`' arrays. Raises ModelError where they do not fit the options."""
        codebook, levels = cls(options), range(1, options.depth + 1)
        try:
            codebook.centroids_ = [np.asarray(arrays[f"centroids.{level}"], np.float32) for level in levels]
            codebook.used_levels_ = [np.asarray(arrays[f"used.{level}"], bool) for level in levels]
            codebook.counts_ = np.asarray(arrays["counts"], np.int64)
            codebook.quantisation_error_ = float(arrays["quantisation_error"][0])
        except (KeyError, ValueError, IndexError) as error:
            raise ModelError(f"codebook arrays do not hold {error}") from error
        for level in levels:
            centroids, used = codebook.centroids_[level - 1], codebook.used_levels_[level - 1]
            if centroids.ndim != 2 or len(centroids) != options.k**level or used.shape != (len(centroids),):
                raise ModelError(
                    f"codebook level {level} holds {list(centroids.shape)} centroids: {options.k}^{level} are needed"
                )
        if codebook.counts_.shape != (options.k**options.depth,):
            raise ModelError(
                f"codebook counts {len(codebook.counts_)} leaves: {options.k}^{options.depth} are needed"
            )
        return codebook


def _rank_in_run(sorted_N: np.ndarray) -> np.ndarray:
    """int64 [n]: the place of each value among its equals, from 0, in a sorted array."""
    return np.arange(len(sorted_N)) - np.searchsorted(sorted_N, sorted_N)


def _as_rows(features: np.ndarray | Rows, width: int | None = None, minimum: int = 0) -> Rows:
    """The features as rows. Raises ModelError where they are not [n, d] with n >= minimum, and d = width if given."""
    rows = features if hasattr(features, "read") else ArrayRows(np.asarray(features))
    if len(rows.shape) != 2 or rows.shape[0] < minimum or rows.shape[1] != (width or max(rows.shape[1], 1)):
        needed = f"[n, {width}]" if width else "[n, d] with n, d >= 1"
        raise ModelError(f"features have shape {list(rows.shape)}: {needed} is needed")
    return rows
