"""The tree of centroids: against scikit-learn, against brute force, and at its edges."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.cluster import KMeans

from vision.assignment import l2_normalize
from vision.codebook import Codebook, CodebookOptions, shape_for
from vision.errors import ModelError
from vision.kmeans import lloyd_step


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """float32 [3000, 64]: 27 groups in a tree of 3 × 3 × 3, as far apart as the level is high."""
    rng = np.random.default_rng(0)
    centres = sum(
        np.repeat(rng.normal(size=(3**level, 64)), 27 // 3**level, 0) * 4 / 2**level for level in (1, 2, 3)
    )
    return (centres[rng.integers(0, 27, 3000)] + rng.normal(size=(3000, 64)) * 0.05).astype(np.float32)


@pytest.fixture(scope="module")
def book(points) -> Codebook:
    return Codebook(CodebookOptions(k=3, depth=3)).fit(points)


def brute_force(book: Codebook, x_ND: np.ndarray) -> np.ndarray:
    """The descent written as plainly as it can be, in float64."""
    ids = []
    for x in l2_normalize(np.asarray(x_ND, np.float32)).astype(np.float64):
        node = 0
        for centroids, used in zip(book.centroids_, book.used_levels_, strict=True):
            children = [node * book.options.k + child for child in range(book.options.k)]
            node = min((c for c in children if used[c]), key=lambda c: ((x - centroids[c]) ** 2).sum())
        ids.append(node)
    return np.array(ids)


def test_one_iteration_equals_scikit_learn_s_and_faiss_s():
    x = l2_normalize(np.abs(np.random.default_rng(0).normal(size=(3000, 256))).astype(np.float32))
    initial = x[:12]
    theirs = KMeans(12, init=initial, n_init=1, max_iter=1, algorithm="lloyd").fit(x).cluster_centers_
    assert np.abs(lloyd_step(x, initial) - theirs).max() < 5e-6
    faiss_s = faiss.Kmeans(256, 12, niter=1, max_points_per_centroid=len(x))
    faiss_s.train(x, init_centroids=initial)
    assert np.abs(lloyd_step(x, initial) - faiss_s.centroids).max() < 5e-6


def test_the_error_is_near_that_of_scikit_learns_tree(points, book):
    """Same shape of tree, scikit-learn's k-means in each node, each leaf's mean recomputed."""
    x, ids = l2_normalize(points), np.zeros(len(points), int)
    for _ in range(3):
        children = np.zeros_like(ids)
        for node in np.unique(ids):
            rows = np.flatnonzero(ids == node)
            children[rows] = node * 3 + KMeans(min(3, len(rows)), n_init=1, random_state=0).fit_predict(
                x[rows]
            )
        ids = children
    inside = sum(((x[ids == leaf] - x[ids == leaf].mean(0)) ** 2).sum() for leaf in np.unique(ids))
    theirs = inside / ((x - x.mean(0)) ** 2).sum()
    assert book.quantisation_error_ <= theirs * 1.1 + 1e-3


def test_groups_that_are_there_are_found(points, book):
    """A tree of data in a tree of centroids: nearly all leaves are used, and evenly."""
    assert book.used_.sum() >= 25 and book.perplexity_ > 20 and book.quantisation_error_ < 0.1
    assert book.counts_.sum() == len(points)


def test_encode_is_the_descent_of_the_tree(points, book):
    ids = book.encode(points)
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids[:400], brute_force(book, points[:400]))
    np.testing.assert_array_equal(np.bincount(ids, minlength=27), book.counts_)
    fresh = np.random.default_rng(1).normal(size=(200, 64))
    np.testing.assert_array_equal(book.encode(fresh), brute_force(book, fresh))


def test_same_seed_same_tree_other_seed_other_tree(points, book):
    again = Codebook(CodebookOptions(k=3, depth=3)).fit(points)
    for one, other in zip(book.to_arrays().values(), again.to_arrays().values(), strict=True):
        np.testing.assert_array_equal(one, other)
    noise = np.random.default_rng(0).normal(size=(500, 64))
    trees = [Codebook(CodebookOptions(k=5, depth=2, seed=seed)).fit(noise).centroids_[0] for seed in (0, 1)]
    assert not np.array_equal(*trees)


def test_length_does_not_matter_direction_does(points, book):
    np.testing.assert_array_equal(book.encode(points), book.encode(points * 7))


def test_arrays_there_and_back(points, book):
    saved = book.to_arrays()
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in saved.values())
    back = Codebook.from_arrays(book.options, saved)
    np.testing.assert_array_equal(back.encode(points), book.encode(points))
    assert back.quantisation_error_ == book.quantisation_error_ and back.perplexity_ == book.perplexity_
    with pytest.raises(ModelError, match=r"level 1.*4\^1"):
        Codebook.from_arrays(CodebookOptions(k=4, depth=3), saved)
    with pytest.raises(ModelError, match="centroids.4"):
        Codebook.from_arrays(CodebookOptions(k=3, depth=4), saved)


def test_nearest_names_the_rows_closest_to_each_leaf(points, book):
    found, ids = book.nearest(points, 3), book.encode(points)
    assert found.shape == (27, 3)
    np.testing.assert_array_equal((found >= 0).sum(1), np.minimum(book.counts_, 3))
    x = l2_normalize(points)
    for leaf in np.flatnonzero(book.used_):
        assert (ids[found[leaf][found[leaf] >= 0]] == leaf).all()
        apart = ((x[ids == leaf] - book.leaf_centroids()[leaf]) ** 2).sum(1)
        assert ((x[found[leaf, 0]] - book.leaf_centroids()[leaf]) ** 2).sum() == pytest.approx(
            apart.min(), abs=1e-6
        )


def test_unused_leaves_have_no_centroid(points):
    book = Codebook(CodebookOptions(k=4, depth=3)).fit(points[:10])
    assert (
        np.isnan(book.leaf_centroids()[~book.used_]).all()
        and np.isfinite(book.leaf_centroids()[book.used_]).all()
    )
    assert book.quantisation_error_ == pytest.approx(0, abs=1e-6)


small = st.tuples(st.integers(2, 5), st.integers(1, 3), st.integers(1, 40), st.integers(0, 2**20))


@settings(max_examples=60, deadline=None)
@given(small, st.booleans())
def test_ids_stay_in_range_and_used_leaves_are_reached(shape, repeated):
    k, depth, n, seed = shape
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    if repeated:
        x = x[rng.integers(0, max(n // 3, 1), n)]
    book = Codebook(CodebookOptions(k=k, depth=depth, iterations=4, seed=seed)).fit(x)
    ids = book.encode(x)
    assert ids.min() >= 0 and ids.max() < k**depth
    assert book.used_[ids].all() and set(ids) == set(np.flatnonzero(book.used_))
    np.testing.assert_array_equal(np.bincount(ids, minlength=k**depth), book.counts_)
    for row in range(1, n):
        if np.array_equal(x[row], x[0]):
            assert ids[row] == ids[0]
    others = book.encode(rng.normal(size=(20, 6)) * 100)
    assert book.used_[others].all()
    for level in range(1, depth):
        parents = np.unique(ids // k ** (depth - level))
        np.testing.assert_array_equal(parents, np.flatnonzero(book.used_levels_[level - 1]))


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.integers(-1000, 1000))
)
def test_any_finite_features_make_a_codebook(x):
    book = Codebook(CodebookOptions(k=3, depth=2, iterations=3)).fit(x)
    assert np.isfinite(book.quantisation_error_) and 0 <= book.quantisation_error_ <= 1 + 1e-3
    np.testing.assert_array_equal(book.encode(x), brute_force(book, x))


@given(st.integers(1, 10**6))
def test_the_shape_grows_to_the_data(clips):
    k, depth = shape_for(clips)
    assert 2 <= k <= 12 and 1 <= depth <= 3
    wanted = min(max(clips / 5, 2), 12**3)
    assert wanted / 2.3 <= k**depth <= wanted * 2.3


def test_the_shape_of_known_sizes():
    assert shape_for(320) == (8, 2) and shape_for(1) == (2, 1) and shape_for(10**7) == (12, 3)
    assert shape_for(10**6, largest=(12, 4)) == (12, 4)


def test_one_of_the_shape_s_numbers_given_decides_the_other():
    assert shape_for(320, depth=4) == (3, 4) and shape_for(320, k=50) == (50, 1)
    assert shape_for(10**6, k=2) == (2, 11) and shape_for(10**6, depth=1) == (1728, 1)
    assert shape_for(5, k=12) == (12, 1) and shape_for(10**6, k=12, depth=2) == (12, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(points, book, bad):
    x = points[:20].copy()
    x[7, 3] = bad
    for use in (Codebook(CodebookOptions(k=2, depth=1)).fit, book.encode, book.nearest):
        with pytest.raises(ModelError, match="row 7"):
            use(x)


def test_what_does_not_fit_is_refused(points, book):
    with pytest.raises(ModelError, match=r"3000, 5.*\[n, 64\]"):
        book.encode(points[:, :5])
    for nothing in (points[:0], points[:, :0]):
        with pytest.raises(ModelError, match="n, d >= 1"):
            Codebook().fit(nothing)
    assert book.encode(points[:0]).shape == (0,)
    for options in (
        {"k": 1},
        {"depth": 0},
        {"iterations": 0},
        {"seed": -1},
        {"k": 2.5},
        {"k": 12, "depth": 9},
    ):
        with pytest.raises(ModelError, match="codebook"):
            CodebookOptions(**options)
