"""Vector search: flat is exact, HNSW's recall is what it says, and no file is parsed but the one that was written."""

import sys

import numpy as np
import pytest

from multimodal.answers.vectors import EF_SEARCH, NEAREST, IndexStats, VectorIndex, import_faiss
from multimodal.store import InputError


def unit(count: int, width: int, seed: int = 0, directions: int = 8) -> np.ndarray:
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, directions)) @ np.random.default_rng(9).standard_normal(
        (directions, width)
    )
    x += 0.1 * random.standard_normal((count, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def nearest(vectors: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
    """The rows by a plain product, best first."""
    return np.argsort(-(vectors.astype(np.float64) @ query), kind="stable")[:k]


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return unit(4000, 32, directions=24)


@pytest.fixture(scope="module")
def graph(many) -> VectorIndex:
    return VectorIndex.of(many).rebuilt("hnsw")


def test_flat_search_is_exact():
    vectors = unit(5000, 32)
    index = VectorIndex.of(vectors)
    for query in unit(5, 32, 1):
        near, ids = index.search(query, 20)
        assert ids.tolist() == nearest(vectors, query, 20).tolist()
        assert near == pytest.approx(vectors[ids] @ query, abs=1e-6) and near.dtype == np.float32
        assert sorted(index.search(query)[1].tolist()) == list(range(5000)), "all in order"


def test_equal_vectors_are_ordered_by_id():
    vectors = unit(300, 16)
    vectors[[250, 17, 90]] = vectors[5]
    for depth in (4, 150, None):
        assert VectorIndex.of(vectors).search(vectors[5], depth)[1][:4].tolist() == [5, 17, 90, 250]


def test_ids_are_the_moments_and_zero_vectors_are_left_out():
    vectors = unit(6, 16)
    vectors[[1, 4]] = 0
    index = VectorIndex.empty(16)
    index.add(vectors[:3], 10)
    index.add(vectors[3:], 20)
    assert index.row_ids.tolist() == [10, 12, 20, 22] and len(index) == 4
    assert index.search(vectors[5], 1)[1].tolist() == [22]
    assert index.vector(12).tolist() == vectors[2].tolist()
    assert index.vector(11) is None and index.vector(99) is None
    assert len(VectorIndex.empty(16).search(vectors[0], 3)[1]) == 0


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_only_what_is_selected_is_found(many, kind):
    index = VectorIndex.of(many).rebuilt(kind)
    chosen = np.array([[100, 1500], [2000, 2010], [3999, 4100]])
    allowed = [*range(100, 1500), *range(2000, 2010), 3999]
    index.select(chosen)
    assert len(index) == len(allowed)
    expected = [allowed[i] for i in nearest(many[allowed], many[7], 30)]
    found = index.search(many[7], 30)[1].tolist()
    assert len(set(found) & set(expected)) >= (30 if kind == "flat" else 28) and set(found) <= set(allowed)
    assert len(index.search(many[7])[1]) == len(allowed)
    assert len(index.select(np.zeros((0, 2), np.int64)).search(many[7], 30)[1]) == 0


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_removed_vector_leaves_no_byte(many, kind, tmp_path):
    index = VectorIndex.of(many).rebuilt(kind)
    index.remove(40, 60)
    index.remove(5000, 6000)
    written = index.write(tmp_path / "a.faiss") and (tmp_path / "a.faiss").read_bytes()
    assert not any(many[i].tobytes() in written for i in range(40, 60))
    assert all(many[i].tobytes() in written for i in (39, 60, 3999))
    index.select(np.array([[0, 40], [60, 4000]]))
    found = index.search(many[50], 10)[1]
    left = np.delete(many, slice(40, 60), 0)
    expected = np.delete(np.arange(4000), slice(40, 60))[nearest(left, many[50], 10)]
    assert len(set(found.tolist()) & set(expected.tolist())) >= (10 if kind == "flat" else 9)


def test_hnsw_says_its_recall(many, graph):
    queries = unit(100, 32, 1, directions=24)
    shares = [
        len(set(nearest(many, q, NEAREST).tolist()) & set(graph.search(q, NEAREST)[1].tolist())) / NEAREST
        for q in queries
    ]
    recall = graph.recall(queries, np.full(100, -1))
    assert recall == pytest.approx(np.mean(shares), abs=0.01) and recall > 0.95


def test_a_poor_graph_is_told_by_its_recall(many, monkeypatch):
    """The control: few links and a narrow search find less, and the measured recall says so."""
    for name, value in (("LINKS", 2), ("EF_CONSTRUCTION", 2), ("EF_SEARCH", 1)):
        monkeypatch.setattr(f"multimodal.answers.vectors.{name}", value)
    poor = VectorIndex.of(many).rebuilt("hnsw")
    assert poor.recall(many[::20], np.arange(0, 4000, 20)) < 0.9


def test_vectors_are_appended_to_a_graph(many, graph):
    index = VectorIndex.of(many[:3500]).rebuilt("hnsw")
    index.add(many[3500:], 3500)
    found = [index.search(many[i], 1)[1][0] for i in range(3500, 4000)]
    assert np.mean(np.array(found) == np.arange(3500, 4000)) > 0.98


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_what_is_written_is_read_again(many, kind, tmp_path):
    index = VectorIndex.of(many).rebuilt(kind)
    path = tmp_path / "a.faiss"
    digest = index.write(path)
    again = VectorIndex.read(path, digest, 32, index.row_ids)
    assert again is not None and again.kind == kind
    for query in many[:3]:
        assert all(map(np.array_equal, index.search(query, 10), again.search(query, 10)))
    again.add(unit(3, 32, 5), 9000)
    assert len(again) == 4003


@pytest.mark.parametrize("harm", ["gone", "one bit", "cut", "other rows", "other width", "no index"])
def test_a_file_that_is_not_the_one_that_was_written_is_not_read(many, tmp_path, monkeypatch, harm):
    path, ids, width = tmp_path / "a.faiss", np.arange(4000), 32
    digest = VectorIndex.of(many).write(path)
    data = bytearray(path.read_bytes())
    if harm == "gone":
        path.unlink()
    elif harm == "one bit":
        data[2000] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(data[:-100])
    elif harm == "other rows":
        ids = ids[:-1]
    elif harm == "other width":
        width = 16
    else:
        path.write_bytes(b"IxFI" + bytes(100))
    if harm in ("one bit", "cut", "no index"):
        parsed = []
        monkeypatch.setattr(import_faiss(), "read_index", lambda *_: parsed.append(1))
        assert VectorIndex.read(path, digest, width, ids) is None and not parsed, "not even opened"
    else:
        assert VectorIndex.read(path, digest, width, ids) is None


def test_how_the_vectors_are_searched_is_said_in_one_line():
    assert "1,200 vectors" in str(IndexStats(1200)) and "exactly" in str(IndexStats(1200))
    said = str(IndexStats(300_000, "hnsw", EF_SEARCH, 0.987, 200))
    assert "300,000" in said and "0.987" in said and str(EF_SEARCH) in said and "\n" not in said


def test_without_faiss_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r"pip install 'videobert-workflow\[cpu\]'") as error:
        VectorIndex.empty(8)
    assert "\n" not in str(error.value)
