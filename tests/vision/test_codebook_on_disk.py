"""Fitting from disk: memory, how often a row is read, and that nothing but the features decides."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from vision import tree
from vision.assignment import l2_normalize
from vision.codebook import Codebook, CodebookOptions
from vision.errors import ModelError
from vision.tree import row_bytes

WIDTH = 48
SHAPE = CodebookOptions(k=4, depth=3, iterations=10)


class OnDisk:
    """Rows in a file, which says how many were asked for in all and at once."""

    def __init__(self, path):
        self.path, self.shape, self.given, self.most = path, np.load(path, "r").shape, 0, 0

    def read(self, rows_N: np.ndarray) -> np.ndarray:
        assert (np.diff(rows_N) > 0).all()
        self.given, self.most = self.given + len(rows_N), max(self.most, len(rows_N))
        return np.load(self.path, "r")[rows_N]


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """float16 [20000, 48]: 64 groups in a tree of 4 × 4 × 4, wide enough to touch."""
    rng = np.random.default_rng(0)
    centres = sum(
        np.repeat(rng.normal(size=(4**level, WIDTH)), 64 // 4**level, 0) * 3 / 2**level for level in (1, 2, 3)
    )
    return (centres[rng.integers(0, 64, 20_000)] + rng.normal(size=(20_000, WIDTH)) * 0.3).astype(np.float16)


@pytest.fixture(scope="module")
def file(points, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "points.npy"
    np.save(path, points)
    return path


@pytest.fixture(scope="module")
def whole(points) -> Codebook:
    return Codebook(SHAPE).fit(points)


def memory_for(rows: int) -> int:
    return rows * row_bytes(WIDTH, SHAPE.depth)


def same(one: Codebook, other: Codebook) -> None:
    for a, b in zip(one.to_arrays().values(), other.to_arrays().values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_fits_is_read_once_and_gives_what_the_array_gives(file, whole):
    rows = OnDisk(file)
    same(Codebook(SHAPE).fit(rows), whole)
    assert rows.given <= 20_000 + 1


@pytest.mark.parametrize("held", [6000, 1500])
def test_what_does_not_fit_is_read_a_few_times_and_loses_little(file, whole, points, held):
    rows = OnDisk(file)
    book = Codebook(SHAPE).fit(rows, memory=memory_for(held))
    assert rows.most <= tree.READ_ROWS
    assert rows.given <= 20_000 * (SHAPE.depth + 1) + held * (1 + 4 + 16)
    np.testing.assert_array_equal(np.bincount(book.encode(points), minlength=64), book.counts_)
    assert book.quantisation_error_ <= whole.quantisation_error_ * 1.05
    same(Codebook(SHAPE).fit(points, memory=memory_for(held)), book)


def test_a_level_that_no_memory_holds_ends_in_its_leaves(points):
    """Leaves that are themselves larger than the memory: the last level is of samples, the counts are of all."""
    book = Codebook(CodebookOptions(k=3, depth=1)).fit(points, memory=memory_for(500))
    assert book.counts_.sum() == len(points)
    np.testing.assert_array_equal(np.bincount(book.encode(points), minlength=3), book.counts_)
    x = l2_normalize(points.astype(np.float32)).astype(np.float64)
    error = ((x - book.centroids_[0][book.encode(points)]) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert book.quantisation_error_ == pytest.approx(error, rel=1e-4)


def test_the_size_of_the_blocks_decides_nothing(file, monkeypatch):
    books = []
    for rows in (8192, 700):
        monkeypatch.setattr(tree, "READ_ROWS", rows)
        books.append(Codebook(SHAPE).fit(OnDisk(file), memory=memory_for(3000)))
    for one, other in zip(books[0].centroids_, books[1].centroids_, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(books[0].counts_, books[1].counts_)


def test_it_tells_how_far_it_is(points):
    told = []
    Codebook(SHAPE).fit(points, memory=memory_for(3000), on_rows=lambda done, n: told.append((done, n)))
    assert told == sorted(told) and told[-1] == (20_000, 20_000) and len(told) > 10


def test_a_bad_row_on_disk_is_named(points, tmp_path):
    spoilt = points.copy()
    spoilt[12_345, 7] = np.nan
    np.save(tmp_path / "spoilt.npy", spoilt)
    for memory in (memory_for(30_000), memory_for(3000)):
        with pytest.raises(ModelError, match="row 12345"):
            Codebook(SHAPE).fit(OnDisk(tmp_path / "spoilt.npy"), memory=memory)


def relative_error(x_ND: np.ndarray, ids_N: np.ndarray) -> float:
    """Within the leaves over all, each mean worked out anew."""
    leaves = (x_ND[ids_N == leaf] for leaf in np.unique(ids_N))
    inside = sum(((leaf - leaf.mean(0)) ** 2).sum() for leaf in leaves)
    return inside / ((x_ND - x_ND.mean(0)) ** 2).sum()


def test_the_error_is_no_more_than_that_of_scikit_learns_tree(points, whole):
    """scikit-learn's k-means (greedy k-means++, one start) in each node, the tree of the same shape."""
    x = l2_normalize(points.astype(np.float32)).astype(np.float64)
    theirs = np.zeros(len(x), int)
    for _ in range(SHAPE.depth):
        below = np.zeros_like(theirs)
        for node in np.unique(theirs):
            rows = np.flatnonzero(theirs == node)
            fitted = KMeans(4, n_init=1, max_iter=10, random_state=0).fit(x[rows])
            below[rows] = node * 4 + fitted.labels_
        theirs = below
    ours = relative_error(x, whole.encode(points))
    assert ours <= relative_error(x, theirs) * 1.02
    assert ours == pytest.approx(whole.quantisation_error_, rel=0.01)
