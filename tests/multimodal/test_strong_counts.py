"""Strong counts: cloze and alignment without a model, by hand and on a known world whose limit is known."""

import itertools

import numpy as np
import pytest

from multimodal.known_world.inference import BestAnswers
from multimodal.known_world.process import Sampler, WorldOptions, make_world
from multimodal.scoring.alignment_counts import Pair, alignment_by_counts
from multimodal.scoring.cloze_counts import Row, cloze_by_counts
from multimodal.scoring.ranking import auc_difference, roc_auc


def rows(*symbols: tuple[int, ...], other: tuple[tuple[int, ...], ...] = ()) -> list[Row]:
    return [
        Row(f"v{n}", s, o) for n, (s, o) in enumerate(itertools.zip_longest(symbols, other, fillvalue=()))
    ]


def test_a_hidden_symbol_is_found_by_its_neighbours():
    learned = rows(*[(1, 2, 3), (4, 5, 6), (1, 7, 6)] * 4)
    asked = [(Row("x", (1, 0, 3)), 1), (Row("x", (4, 0, 6)), 1), (Row("x", (1, 0, 6)), 1), (Row("x", (0, 2, 3)), 0)]  # fmt: skip
    assert cloze_by_counts(learned, asked, 10)[0] == [2, 5, 7, 1]


def test_the_other_modality_tells_what_the_neighbours_leave_open():
    learned = rows(*[(1, 2, 3), (1, 4, 3)] * 10, other=((20,), (40,)) * 10)
    for token, wanted in ((20, 2), (40, 4)):
        (found,), (log_p,) = cloze_by_counts(learned, [(Row("x", (1, wanted, 3), (token,)), 1)], 10)
        assert found == wanted and log_p > np.log(0.7)
    _, without = cloze_by_counts(learned, [(Row("x", (1, 2, 3)), 1), (Row("x", (1, 4, 3)), 1)], 10)
    assert np.exp(without) == pytest.approx([0.5, 0.5], abs=0.1)


def test_the_rest_of_a_row_counts():
    """What is shown first is shown again at the end, and what lies between says nothing of it."""
    random = np.random.default_rng(0)
    learned = rows(*[(n % 7, *(int(i) for i in random.integers(10, 40, 4)), n % 7) for n in range(140)])
    asked = [(Row("x", (n, 41, 42, 43, 44, 9)), 5) for n in range(5)]
    assert cloze_by_counts(learned, asked, 50)[0] == [0, 1, 2, 3, 4]


def test_probabilities_sum_to_one_over_all_symbols():
    learned = rows((1, 2, 3), (2, 2, 5), (1, 5, 3), other=((7,), (8,), ()))
    for row, place in ((Row("x", (1, 0, 3), (7,)), 1), (Row("x", (9, 0), (9,)), 1), (Row("x", (0,)), 0)):
        each = [
            (Row("x", (*row.symbols[:place], symbol, *row.symbols[place + 1 :]), row.other), place)
            for symbol in range(10)
        ]
        log_p = cloze_by_counts(learned, each, 10)[1]
        assert np.exp(log_p).sum() == pytest.approx(1.0)
        assert np.isfinite(log_p).all()
    assert np.exp(cloze_by_counts([], [(Row("x", (3, 4)), 0)], 10)[1]) == pytest.approx([0.1])
    assert cloze_by_counts(learned, [], 10) == ([], [])


@pytest.fixture(scope="module")
def world():
    return make_world(WorldOptions())


@pytest.fixture(scope="module")
def segments(world):
    """(video, words, tokens) of 150 videos."""
    sampler, found = Sampler(world), []
    for n in range(150):
        video = sampler.video(n)
        found += [(n, s.words, video.tokens[s.first : s.first + s.count]) for s in video.sentences]
    return found


def test_on_a_known_world_counts_lie_between_chance_and_the_limit(world, segments):
    best = BestAnswers(world)
    number = {word: i for i, word in enumerate(best.words)}
    learned, held = [s for s in segments if s[0] < 120], [s for s in segments if s[0] >= 120]

    def of(some):
        return [Row(str(v), tokens, tuple(number[w] for w in words)) for v, words, tokens in some]

    asked = [(row, i) for row in of(held) for i in range(len(row.symbols))]
    found = {
        "with": cloze_by_counts(of(learned), asked, world.visual)[0],
        "limit": [
            int(best.hidden_token(t, i, w).argmax()) for _, w, t in held for i in range(len(t))
        ],
        "chance": [max({t for s in learned for t in s[2]}, key=[t for s in learned for t in s[2]].count)]
        * len(asked),
    }  # fmt: skip
    right = {
        name: np.mean([a == row.symbols[i] for a, (row, i) in zip(some, asked, strict=True)])
        for name, some in found.items()
    }
    assert 2 * right["chance"] < right["with"] < right["limit"]


def test_pairs_are_told_apart_by_what_is_met_together(segments):
    def pair(video, words, tokens):
        return Pair(str(video), frozenset(map(hash, words)), frozenset(tokens))

    learned, held = [s for s in segments if s[0] < 120], [s for s in segments if s[0] >= 120]
    own = [pair(*s) for s in held]
    other = [pair(v, w, held[(n + 40) % len(held)][2]) for n, (v, w, _) in enumerate(held)]
    found = alignment_by_counts([pair(*s) for s in learned], own + other)
    aligned, misaligned = found.scores[: len(own)], found.scores[len(own) :]
    auc = roc_auc(aligned, misaligned, [p.video for p in own], [p.video for p in other])
    assert auc.low > 0.6
    accuracy = ((aligned > found.threshold).mean() + (misaligned <= found.threshold).mean()) / 2
    assert accuracy > 0.55
    unknown = alignment_by_counts([], own)
    assert unknown.scores.tolist() == [0.0] * len(own)


def test_the_difference_of_two_areas_is_paired():
    random = np.random.default_rng(0)
    videos = [f"v{n // 4}" for n in range(200)]
    positive, negative = random.normal(1, 1, 200), random.normal(0, 1, 200)
    noisy = positive + random.normal(0, 2, 200), negative + random.normal(0, 2, 200)
    first, second = roc_auc(positive, negative, videos, videos), roc_auc(*noisy, videos, videos)
    found = auc_difference((positive, negative), noisy, videos, videos)
    assert found.value == pytest.approx(first.value - second.value) and found.low > 0 and found.chance == 0
    same = auc_difference((positive, negative), (positive, negative), videos, videos)
    assert (same.low, same.value, same.high) == (0, 0, 0)
    assert auc_difference((positive, negative), noisy, [], videos) is None
