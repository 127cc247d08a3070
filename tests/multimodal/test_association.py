"""Association rows: against a matrix that is counted pair by pair, and on a kitchen whose clips show what is said."""

import itertools

import joint_samples
import numpy as np
import pytest
import torch

from multimodal.examples.segment_table import SegmentTable
from multimodal.joint.association import ROOT_MEAN_SQUARE, SMOOTHING, association_rows
from multimodal.joint.initialization import from_scratch
from multimodal.joint.options import Shape
from multimodal.segments import CONTEXT, Segment
from multimodal.training.pretraining import trim

V = joint_samples.vocabulary()
WORDS = V.first_visual


def tables(spoken: list[Segment], runs: list[Segment]) -> tuple[SegmentTable, SegmentTable]:
    return SegmentTable(spoken, V), SegmentTable(runs)


def segment(text: str, *tokens: int) -> Segment:
    return Segment("video", 0.0, 1.5, text, tokens, tuple(range(len(tokens))))


def counted(spoken: list[Segment], runs: list[Segment]) -> np.ndarray:
    """The matrix, pair by pair: float64 [V, V]."""
    counts = np.zeros((V.size, V.size))
    for s in spoken:
        ids = V.encode(s.text)
        for one, other in itertools.permutations(ids, 2):
            counts[one, other] += 1
        for word, token in itertools.product(ids, s.tokens):
            counts[word, WORDS + token] += 1
            counts[WORDS + token, word] += 1
    for s in runs:
        for one, other in itertools.permutations(range(len(s.tokens)), 2):
            if abs(one - other) <= CONTEXT:
                counts[WORDS + s.tokens[one], WORDS + s.tokens[other]] += 1
    found = np.zeros_like(counts)
    for rows, columns in itertools.product((slice(0, WORDS), slice(WORDS, V.size)), repeat=2):
        block = counts[rows, columns]
        by_chance = np.outer(block.sum(1), block.sum(0)) / max(1, block.sum())
        found[rows, columns] = np.maximum(np.log((block + SMOOTHING) / (by_chance + SMOOTHING)), 0)
    return found


def test_products_of_rows_are_the_best_approximation_of_the_mutual_information():
    spoken, runs = joint_samples.segments(joint_samples.materials(6))
    matrix = counted(spoken, runs)
    hidden = 24
    found = association_rows(*tables(spoken, runs), V, hidden, 0).double().numpy()
    used = np.isfinite(found).all(1)
    assert np.array_equal(used, matrix.any(1))
    values, vectors = np.linalg.eigh(matrix)
    best = (vectors[:, -hidden // 2 :] * np.maximum(values[-hidden // 2 :], 0)) @ vectors[:, -hidden // 2 :].T
    products, wanted = (found[used] @ found[used].T).ravel(), best[used][:, used].ravel()
    scale = wanted @ products / (wanted @ wanted)
    # what is left is the noise of the rows
    assert np.abs(products - scale * wanted).max() < 0.1 * products.max()
    assert np.sqrt(np.square(found[used]).mean()) == pytest.approx(ROOT_MEAN_SQUARE, rel=0.02)


def test_rows_of_what_is_said_and_shown_together_are_alike():
    def own_is_nearest(spoken: list[Segment], runs: list[Segment]) -> float:
        rows = association_rows(*tables(spoken, runs), V, 32, 0)
        right = []
        for action, thing in itertools.product(range(4), range(4)):
            token = rows[WORDS + action * 4 + thing]
            for words, own in ((joint_samples.ACTIONS, action), (joint_samples.THINGS, thing)):
                ids = torch.tensor([V.encode(word)[0] for word in words])
                right.append(int((rows[ids] @ token).argmax()) == own)
        return float(np.mean(right))

    spoken, runs = joint_samples.segments(joint_samples.materials(12))
    assert own_is_nearest(spoken, runs) > 0.9
    random = np.random.default_rng(0)
    order = random.permutation(len(spoken))
    strange = [
        Segment(s.video, s.start, s.end, s.text, spoken[n].tokens, s.clips)
        for s, n in zip(spoken, order, strict=True)
    ]
    assert own_is_nearest(strange, runs) < 0.6


def test_the_same_segments_and_seed_give_the_same_rows():
    parts = tables(*joint_samples.segments(joint_samples.materials(4)))
    one, again, other = (association_rows(*parts, V, 16, seed) for seed in (3, 3, 4))
    assert torch.equal(one.nan_to_num(), again.nan_to_num())
    assert not torch.equal(one.nan_to_num(), other.nan_to_num())


@pytest.mark.parametrize(
    "spoken, runs, used",
    [
        ([], [], 0),
        ([segment("onion")], [], 0),
        ([segment("cut onion")], [segment("", 3)], 2),
        ([], [segment("", 1, 1, 1, 2)], 2),
    ],
)
def test_what_occurs_with_nothing_has_no_row(spoken, runs, used):
    rows = association_rows(*tables(spoken, runs), V, 16, 0)
    # two entries that only meet each other tell nothing more than chance
    assert rows.shape == (V.size, 16) and int(rows.isfinite().all(1).sum()) <= used
    assert torch.equal(rows.isfinite().all(1), rows.isfinite().any(1))


def test_a_model_begins_with_the_rows_of_its_library_and_keeps_its_own_where_there_are_none():
    examples, held_out = joint_samples.examples(1, videos=3), joint_samples.examples(2, videos=2)
    trimmed = trim(V, examples, held_out)
    rows = association_rows(examples.spoken, examples.runs, trimmed.vocabulary, 32, 0)
    centroids = torch.full((V.visual, 4), torch.nan)
    whole, before = (from_scratch(Shape(1, 32, 4), V, centroids, 0) for _ in range(2))
    trimmed.set_rows(whole, rows)
    given = rows.isfinite().all(1)
    model, own = (trimmed.begin(m).bert["embeddings"].word_embeddings.weight for m in (whole, before))
    assert given.any() and not given.all()
    assert torch.equal(model[given], rows[given]) and torch.equal(model[~given], own[~given])
