"""Vector search: exact as FAISS's flat index is exact, a graph and lists whose recall is what they say."""

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multimodal.answers import exact, nearest
from multimodal.answers.exact import Exact, rounding_error
from multimodal.answers.nearest import (
    Damaged,
    Graph,
    Lists,
    Nearest,
    NearestOptions,
    built,
    widened,
)

KINDS = {"graph": Graph, "lists": Lists}


def unit(count: int, width: int, seed: int = 0, directions: int = 8) -> np.ndarray:
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, directions)) @ np.random.default_rng(9).standard_normal(
        (directions, width)
    )
    x += 0.1 * random.standard_normal((count, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def flat(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index.search(queries, k)


@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize(("count", "queries", "k"), [(1, 1, 1), (500, 3, 10), (20_000, 1, 10), (20_000, 40, 10), (20_000, 2, 20_000), (9000, 9, 100)])  # fmt: skip
def test_exact_is_what_faiss_flat_finds(monkeypatch, halves, count, queries, k):
    monkeypatch.setattr(exact, "fast_bf16", lambda _: halves)
    vectors, asked = unit(count, 32), unit(queries, 32, 1)
    near, rows = Exact(vectors).search(asked, k)
    truly, expected = flat(vectors, asked, k)
    assert near == pytest.approx(truly, abs=1e-5) and near.dtype == np.float32
    assert (
        np.take_along_axis(asked @ vectors.T, rows, 1) == pytest.approx(near, abs=1e-5)
    ) and rows.dtype == np.int64
    agreed = np.mean(
        [len(set(a) & set(b)) / k for a, b in zip(rows.tolist(), expected.tolist(), strict=True)]
    )
    assert agreed >= 1 - 1e-3, "but for equals"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 12]), st.floats(0, 1))
def test_a_half_is_never_further_off_than_the_margin(seed, queries, near):
    """Vectors that all but coincide, where rounding decides: the bound holds, so the order is that of full precision."""
    vectors = unit(700, 24, seed)
    vectors = vectors[:1] + 10 ** (-4 * near) * vectors
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    search, asked = Exact(vectors), torch.from_numpy(unit(queries, 24, seed + 1))
    halves = torch.from_numpy(vectors).bfloat16()
    wrong = ((halves @ asked.bfloat16().T).float() - torch.from_numpy(vectors) @ asked.T).abs().amax(0)
    if search.quick.dtype == torch.bfloat16:
        assert (2 * wrong <= search._margin(asked)).all()
    found = search.search(asked.numpy(), 5)[0]
    assert found == pytest.approx(flat(vectors, asked.numpy(), 5)[0], abs=1e-6)


def test_without_a_margin_it_would_be_wrong(monkeypatch):
    """The control: halves alone do not find the nearest."""
    monkeypatch.setattr(exact, "fast_bf16", lambda _: True)
    vectors, asked = unit(5000, 32, directions=2), unit(50, 32, 1, directions=2)
    truly = flat(vectors, asked, 10)[0]
    assert Exact(vectors).search(asked, 10)[0] == pytest.approx(truly, abs=1e-6)
    monkeypatch.setattr(Exact, "_margin", lambda self, q_QD: torch.zeros(len(q_QD)))
    assert np.abs(Exact(vectors).search(asked, 10)[0] - truly).max() > 1e-5


def test_what_is_dead_is_not_found():
    vectors, asked = unit(3000, 16), unit(20, 16, 1)
    alive = np.random.default_rng(0).random(3000) < 0.5
    for k in (5, 3000):
        near, rows = Exact(vectors, alive=alive).search(asked, k)
        assert alive[rows].all() and rows.shape[1] == min(k, alive.sum())
        assert near[:, :5] == pytest.approx(flat(vectors[alive], asked, 5)[0], abs=1e-5)
    assert Exact(vectors, alive=np.zeros(3000, bool)).search(asked, 3)[1].shape == (20, 0)
    assert Exact(vectors[:0]).search(asked, 3)[0].shape == (20, 0)


def test_the_kind_goes_by_size():
    options = NearestOptions()
    assert [options.kind(n) for n in (0, 200_000, 200_001, 2_000_000, 2_000_001)] == ["exact", "exact", "graph", "graph", "lists"]  # fmt: skip


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return unit(4000, 32, directions=24)


@pytest.fixture(scope="module")
def arrays_of(many) -> dict[str, dict[str, np.ndarray]]:
    """What is stored of each kind over the first 3500; the lists with few codes, as learning them takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "CODE_BYTES", 4)
        yield {kind: built(many[:3500], kind).arrays() for kind in ("graph", "lists")}


def made_of(many: np.ndarray, arrays_of: dict, kind: str) -> Graph | Lists:
    return KINDS[kind].of(many, {name: array.copy() for name, array in arrays_of[kind].items()})


@pytest.mark.parametrize("kind", KINDS)
def test_an_approximate_search_says_its_recall(many, arrays_of, kind):
    made, alive = made_of(many[:3500], arrays_of, kind), np.ones(3500, bool)
    asked = unit(100, 32, 1, directions=24)
    said = widened(made, asked, np.full(100, -1), alive, 0.95)
    truly = flat(many[:3500], asked, 10)[1]
    _, rows = made.search(asked, 11, None)
    assert said == pytest.approx(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truly.tolist(), rows.tolist(), strict=True)]))  # fmt: skip
    assert said >= 0.95 and made.breadth < made.breadths[-1]
    near, rows = made.search(asked, 5, None)
    assert near == pytest.approx(np.einsum("qkd,qd->qk", many[rows], asked), abs=1e-5)
    alive[truly[:, :5].ravel()] = False
    _, rows = made.search(asked, 5, alive)
    assert alive[rows[rows >= 0]].all()


def test_a_search_that_cannot_reach_its_recall_says_so(many, arrays_of):
    made = made_of(many, arrays_of, "lists")
    made.breadths = (1,)
    assert widened(made, many[:50], np.arange(50), np.ones(4000, bool), 0.99) < 0.9
    assert made.breadth == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_searches_as_before_and_takes_more(many, arrays_of, kind):
    made, again = made_of(many[:3500], arrays_of, kind), made_of(many, arrays_of, kind)
    again = KINDS[kind].of(many, again.arrays())
    made.breadth = again.breadth = made.breadths[2]
    asked = unit(20, 32, 1, directions=24)
    for a, b in zip(made.search(asked, 10, None), again.search(asked, 10, None), strict=True):
        assert np.array_equal(a, b)
    again.add_rest()
    assert again.covered == 4000
    _, rows = again.search(many[3500:], 1, None)
    assert np.mean(rows[:, 0] == np.arange(3500, 4000)) > 0.9


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("neighbors", lambda a: np.where(a == a.max(), a.max() + 1, a)),
        ("neighbors", lambda a: np.where(a == a.max(), np.int32(-2), a)),
        ("neighbors", lambda a: a[:-1]),
        ("offsets", lambda a: a + 1),
        ("levels", lambda a: np.maximum(a - 1, 0)),
        ("levels", lambda a: np.concatenate([a[:-1], [99]]).astype(np.int32)),
        ("entry", lambda a: a + [10**6, 0]),
        ("entry", lambda a: a + [0, 1]),
    ],
)
def test_a_graph_that_would_lead_out_of_memory_is_refused(many, arrays_of, name, change):
    arrays = arrays_of["graph"]
    with pytest.raises(Damaged):
        Graph.of(many, arrays | {name: change(arrays[name].copy())})
    with pytest.raises(Damaged):
        Graph.of(many[:3499], arrays)


def test_an_upper_link_to_a_vector_of_a_lower_level_is_refused(many, arrays_of):
    arrays = {key: value.copy() for key, value in arrays_of["graph"].items()}
    low = int(np.flatnonzero(arrays["levels"] == 1)[0])
    high = int(np.flatnonzero(arrays["levels"] > 1)[0])
    room = 2 * 32
    arrays["neighbors"][arrays["offsets"][high] + room] = low
    with pytest.raises(Damaged):
        Graph.of(many, arrays)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("lists", lambda a: a + 10**6),
        ("lists", lambda a: a - 10**6),
        ("codes", lambda a: a[:, :-1]),
        ("codes", lambda a: a[:-1]),
        ("centres", lambda a: a[:, :-1]),
        ("code_centres", lambda a: a[:-1]),
    ],
)
def test_lists_that_do_not_belong_are_refused(many, arrays_of, name, change):
    arrays = arrays_of["lists"]
    with pytest.raises(Damaged):
        Lists.of(many, arrays | {name: change(arrays[name])})


@pytest.mark.parametrize("kind", [None, "graph"])
def test_what_came_after_the_graph_is_searched_beside_it(many, arrays_of, kind):
    made = made_of(many, arrays_of, kind) if kind else None
    if made:
        made.breadth = made.breadths[-1]
    numbers = 10 * np.arange(4000)
    alive = np.arange(4000) % 7 != 0
    search = Nearest(Exact(many, alive=alive), numbers, made)
    for row in (3, 3600):
        near, found = search.search(many[row], 20)
        assert found[0] == numbers[row] and near[0] == pytest.approx(1, abs=1e-5)
        expected = flat(many[alive], many[row][None], 20)[1][0]
        assert len(set(found) & set(numbers[alive][expected])) >= 19
        assert (np.diff(near) <= 1e-6).all()
    assert len(search.search(many[3])[1]) == alive.sum(), "all in order, exactly"
    assert (
        search.vector(30) == pytest.approx(many[3])
        and search.vector(31) is None
        and search.vector(10**6) is None
    )


def test_rounding_is_measured():
    x = unit(100, 16)
    error = rounding_error(x)
    assert 0 < error <= 2.0**-8 * 1.01
    assert rounding_error(np.ones((3, 4), np.float32)) == 0 == rounding_error(x[:0])
