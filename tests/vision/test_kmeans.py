"""k-means in a node: exact nearest centroids, where it starts, its rule for empty clusters, many nodes side by side."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_info

from vision import batched_lloyd, kmeans
from vision.assignment import l2_normalize, nearest
from vision.codebook import Codebook, CodebookOptions


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """float32 [8000, 48] of length 1: 64 groups in a tree of 4 × 4 × 4, wide enough to touch."""
    rng = np.random.default_rng(0)
    centres = sum(
        np.repeat(rng.normal(size=(4**level, 48)), 64 // 4**level, 0) * 3 / 2**level for level in (1, 2, 3)
    )
    return l2_normalize(centres[rng.integers(0, 64, 20_000)] + rng.normal(size=(20_000, 48)) * 0.3)[:8000]


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """float32 [6000, 16] of length 1, without groups."""
    return l2_normalize(np.random.default_rng(0).normal(size=(6000, 16)))


def test_neighbours_nearer_than_rounding_are_told_apart():
    """Rows all but midway between two of many near centroids: exact everywhere, where float32 alone is not."""
    rng = np.random.default_rng(0)
    center = l2_normalize(rng.normal(size=(1, 512)))
    centroids = (center + rng.normal(size=(12, 512)) * 1e-4).astype(np.float32)
    pairs = centroids[rng.integers(0, 12, (1000, 2))].astype(np.float64)
    share = 0.5 + rng.normal(size=(1000, 1)) * 1e-4
    rows = (pairs[:, 0] * share + pairs[:, 1] * (1 - share)).astype(np.float32)
    rows /= np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True).max()
    exact = rows.astype(np.float64)[:, None] - centroids.astype(np.float64)
    wanted = (exact**2).sum(2).argmin(1)
    np.testing.assert_array_equal(nearest(rows, centroids), wanted)
    careless = (rows @ centroids.T - (centroids**2).sum(1) / 2).argmax(1)
    assert (careless != wanted).mean() > 0.01


def test_nodes_side_by_side_do_no_worse_than_alone(points):
    """Each draws as it does alone and goes on until all have settled: never more error, and near scikit-learn's in all."""
    x, begins = points[:3000], [0, 13, 40, 300, 1000, 3000]
    nodes = [x[begin:end] for begin, end in zip(begins, begins[1:], strict=False)]
    assert [len(node) <= kmeans.GRAM_ROWS for node in nodes] == [True] * 4 + [False]
    together = kmeans.cluster(nodes, 12, 20, list(range(5)), restarts=3)
    ours = theirs = 0.0
    for seed, (node, (centroids, ids)) in enumerate(zip(nodes, together, strict=True)):
        [(alone, alone_ids)] = kmeans.cluster([node], 12, 20, [seed], restarts=3)
        error, error_alone = (((node - c[i]) ** 2).sum() for c, i in ((centroids, ids), (alone, alone_ids)))
        assert error <= error_alone * 1.0001 + 1e-6
        np.testing.assert_array_equal(ids, nearest(node, centroids))
        ours += error
        theirs += KMeans(12, n_init=3, max_iter=20, random_state=0).fit(node).inertia_
    assert ours <= theirs * 1.05


@pytest.mark.parametrize("rows", [400, 2000])
def test_more_centroids_than_groups_leave_none_empty(rows):
    """Few distinct rows met often: nodes in the Gram matrix and larger ones, both with clusters that run empty."""
    rng = np.random.default_rng(1)
    distinct = l2_normalize(rng.normal(size=(14, 8)))
    x = distinct[np.minimum(rng.geometric(0.5, rows), 14) - 1]
    x[:14] = distinct
    [(centroids, ids)] = kmeans.cluster([x], 12, 20, [0])
    np.testing.assert_array_equal(np.unique(ids), np.arange(len(centroids)))
    assert len(centroids) >= 10


@pytest.mark.parametrize("kind", ["bfloat16", "float32"])
def test_a_processor_without_bfloat16_does_as_well(points, monkeypatch, kind):
    monkeypatch.setattr(kmeans, "_cpu_dtype", lambda: getattr(torch, kind))
    x = points
    [(_, ids)] = kmeans.cluster([x], 12, 20, [0])
    best = min(
        KMeans(12, n_init=1, max_iter=20, random_state=s, algorithm="lloyd").fit(x).inertia_ for s in range(3)
    )
    centres = np.stack([x[ids == i].mean(0) for i in range(12)])
    assert ((x - centres[ids]) ** 2).sum() <= best * 1.03


def test_many_centroids_start_from_many_rows(noise):
    """Hundreds of children in a node: scikit-learn's error, no leaf of next to nothing."""
    [(centroids, ids)] = kmeans.cluster([noise], 500, 20, [0])
    theirs = KMeans(500, n_init=1, max_iter=20, random_state=0).fit(noise).inertia_
    assert len(centroids) == 500 and ((noise - centroids[ids]) ** 2).sum() <= theirs * 1.01
    assert np.bincount(ids).min() >= 2


def test_lines_of_the_gram_matrix_on_demand_are_those_of_the_whole(noise):
    some, rows = noise[:50], np.array([[3, 1], [49, 3]])
    products, whole = batched_lloyd.LazyGram(some), some @ some.T
    np.testing.assert_allclose(products[rows], whole[rows], atol=1e-6)
    np.testing.assert_allclose(products.diagonal(), whole.diagonal(), atol=1e-6)
    assert len(products) == 50


def test_an_empty_cluster_takes_the_farthest_row():
    """Two centroids that no row is nearest to: the two rows that are farthest from their own, in both precisions."""
    rows = np.array([[0.1, 0], [0.12, 0], [0.1, 0.02], [0.7, 0.1], [0.1, 0.9]], np.float32)
    given = np.array([[0.1, 0], [-0.9, 0], [0, -0.9]], np.float32)
    found = kmeans.lloyd_step(rows, given)
    np.testing.assert_allclose(found, [rows.mean(0), rows[4], rows[3]], atol=1e-6)
    stepped, _ = kmeans._lloyd_restarts_step(
        torch.from_numpy(rows), 0.0, torch.from_numpy(np.stack([given, given[::-1]]))
    )
    np.testing.assert_allclose(stepped[0], [rows.mean(0), rows[4], rows[3]], atol=1e-6)
    np.testing.assert_allclose(stepped[1], [rows[4], rows[3], rows.mean(0)], atol=1e-6)


def test_the_centroids_of_a_large_node_are_the_means_of_all_its_rows(points):
    """Drawn from a sample, in bfloat16 where that is fast; then once over all rows, exactly."""
    far = l2_normalize(np.repeat(np.eye(48)[:2], 4000, 0) + points * 0.05)
    [(centroids, ids)] = kmeans.cluster([far], 2, 20, [0])
    assert len(far) > kmeans.SAMPLE_PER_CENTROID * 2
    means = np.stack([far[ids == i].mean(0, dtype=np.float64) for i in range(2)])
    np.testing.assert_allclose(centroids, means, atol=3e-5)


def test_the_best_of_the_restarts_is_kept(noise):
    """In sixty small nodes of noise the best of six starts leaves less than one start does."""
    nodes = np.split(noise, 60)

    def error(restarts: int) -> float:
        found = kmeans.cluster(nodes, 12, 20, list(range(60)), restarts=restarts)
        return sum(((x - c[i]) ** 2).sum() for x, (c, i) in zip(nodes, found, strict=True))

    assert error(6) < error(1) * 0.99


def test_many_small_nodes_take_turns(noise, monkeypatch):
    """More children than fit side by side: each group is what it would be alone."""
    nodes, seeds, groups = np.split(noise, 20), list(range(20)), []

    def counted(group, *others):
        groups.append(len(group))
        return batched_lloyd.batched_lloyd(group, *others)

    with monkeypatch.context() as little:
        little.setattr(kmeans, "MAX_SCRATCH_FLOATS", 7 * batched_lloyd.scratch_floats(300, 12, 2))
        little.setattr(kmeans, "batched_lloyd", counted)
        turns = kmeans.cluster(nodes, 12, 20, seeds)
    assert groups == [6, 7, 7]
    for part in (slice(0, 6), slice(6, 13), slice(13, 20)):
        alone = kmeans.cluster(nodes[part], 12, 20, seeds[part])
        for one, other in zip(turns[part], alone, strict=True):
            np.testing.assert_array_equal(one[0], other[0])


def test_all_that_multiplies_has_one_thread_while_it_fits(points):
    torch.set_num_threads(2)
    seen = []
    Codebook(CodebookOptions(k=3, depth=2)).fit(
        points,
        on_rows=lambda *_: seen.append(
            {torch.get_num_threads(), *(p["num_threads"] for p in threadpool_info())}
        ),
    )
    assert seen and all(threads == {1} for threads in seen)
    assert torch.get_num_threads() == 2


def test_equal_directions_have_equal_bytes():
    assert l2_normalize(np.array([[-0.0, 1]])).tobytes() == l2_normalize(np.array([[0.0, 1]])).tobytes()
