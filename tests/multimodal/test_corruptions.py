"""What systems hide and shuffle: spans, phrases, trigrams, near tokens. Published numbers and brute force are the oracles."""

import dataclasses
from collections import Counter
from itertools import pairwise

import joint_samples
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.examples import collocations, extra_terms, units
from multimodal.examples.corruption import content_positions, mask_tokens
from multimodal.examples.near_tokens import NearTokens
from multimodal.examples.options import ExampleOptions
from multimodal.examples.packing import Example, pack, sequence
from multimodal.examples.sampling import Examples
from multimodal.terms import BOUNDARY, JOINT, REPLACED, SHUFFLED, TEXT, VIDEO

V = joint_samples.vocabulary()
BIG = dataclasses.replace(V, visual=4000)
word = st.sampled_from(list(V.replaceable_words))
leaf = st.integers(0, V.visual - 1)
texts, runs = st.lists(word, max_size=40), st.lists(leaf, max_size=40)
seeds, shares = st.integers(0, 1 << 30), st.floats(0.01, 0.9)
CORRUPTIONS = (units.mask_spans, units.PhraseMasking())


def masked(corruption, ids: list[int], seed: int, share: float, vocabulary=V) -> Example:
    return corruption(vocabulary, ids, [0] * len(ids), JOINT, np.random.default_rng(seed), share)


def spans(example: Example) -> list[range]:
    """Masked positions in a row."""
    positions = [p for p, _ in example.asks[JOINT]]
    ends = [n for n, (one, other) in enumerate(pairwise(positions), 1) if other > one + 1]
    cut = [0, *ends, len(positions)]
    return [range(positions[a], positions[b - 1] + 1) for a, b in pairwise(cut)] if positions else []


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@given(text=texts, tokens=runs, seed=seeds, share=shares)
def test_larger_units_hide_what_may_be_hidden(corruption, text, tokens, seed, share):
    ids, _ = sequence(V, text, tokens, 100)
    one, same = (masked(corruption, ids, seed, share) for _ in range(2))
    assert one == same
    labels = dict(one.asks[JOINT])
    assert len(labels) == len(one.asks[JOINT]) and set(labels) <= set(content_positions(V, ids))
    for position, (old, now) in enumerate(zip(ids, one.ids, strict=True)):
        assert labels.get(position, old) == old
        if position not in labels:
            assert now == old
        elif now != V.mask:
            assert (now >= V.first_visual) == (old >= V.first_visual) and now not in V.specials


@given(text=texts, tokens=runs, seed=seeds, share=shares)
def test_spans(text, tokens, seed, share):
    """Whole words, never across `[>]`, no longer than ten, with boundaries that are read as they are."""
    ids, _ = sequence(V, text, tokens, 100)
    found = masked(units.mask_spans, ids, seed, share)
    asked = {p for p, _ in found.asks[JOINT]}
    n = len(content_positions(V, ids))
    whole = [unit for run in units.whole_words(V, ids) for unit in run]
    assert bool(asked) == bool(n)
    longest = max(map(len, whole), default=0)
    assert len(asked) <= max(1, round(share * n)) + max(longest - 1, 0), "the last word is not cut"
    assert all(asked.issuperset(unit) or asked.isdisjoint(unit) for unit in whole)
    for span in spans(found):
        assert V.join not in [ids[p] for p in span]
        assert sum(unit.start in span for unit in whole) <= units.LONGEST_SPAN
        now = {found.ids[p] for p in span}
        kinds = {
            "mask" if found.ids[p] == V.mask else "kept" if found.ids[p] == ids[p] else "other" for p in span
        }
        assert now == {V.mask} or "mask" not in kinds
    boundaries = extra_terms.from_boundaries(V, found, np.random.default_rng(0))
    for left, right, position, label in boundaries.asks[BOUNDARY]:
        assert left < position < right and label == ids[position]
        assert left not in asked and right not in asked and asked.issuperset(range(left + 1, right))
    assert {p for _, _, p, _ in boundaries.asks[BOUNDARY]} <= asked
    # Packed, a place in a span is still the distance to its boundary.
    packed = pack([boundaries, boundaries]).asks.get(BOUNDARY)
    if packed is not None:
        assert (packed[:, 2] > packed[:, 0]).all() and (packed[:, 2] < packed[:, 1]).all()


def test_words_of_several_pieces_are_hidden_whole():
    ids, _ = sequence(V, V.encode("now slowly unk cut the onion"), [1, 2])
    (words, video) = units.whole_words(V, ids)
    assert [V.decode([ids[p] for p in unit]) for unit in words][:3] == ["now", "slowly", "unk"]
    assert [len(unit) for unit in words] == [1, 2, 2, 1, 1, 1] and [len(unit) for unit in video] == [1, 1]
    broken = 0
    for seed in range(200):
        careless = masked(mask_tokens, ids, seed, 0.3)
        broken += len({2, 3} & {p for p, _ in careless.asks[JOINT]}) == 1
    assert broken, "the control"


def test_lengths_of_spans_are_those_published():
    """Geometric(0.2) up to 10, mean 3.8 (SpanBERT, section 3.1); 80/10/10 is decided for a span."""
    assert units.LENGTH_SHARES @ np.arange(1, 11) == pytest.approx(3.8, abs=0.005)
    assert units.LENGTH_SHARES[1:] / units.LENGTH_SHARES[:-1] == pytest.approx([0.8] * 9)
    ids, _ = sequence(BIG, None, list(range(3000)), 4000)
    lengths, fate = Counter(), Counter()
    for seed in range(20):
        found = masked(units.mask_spans, ids, seed, 0.15, BIG)
        for span in spans(found):
            lengths[len(span)] += 1
            now = [found.ids[p] for p in span]
            kept = now == list(ids[span.start : span.stop])
            fate["mask" if now == [BIG.mask] * len(span) else "kept" if kept else "other"] += 1
    trials = lengths.total()
    assert trials > 2000 and max(lengths) == 10
    seen = np.array([lengths[n] for n in range(1, 11)]) / trials
    deviation = np.sqrt(units.LENGTH_SHARES * (1 - units.LENGTH_SHARES) / trials)
    # Twenty spans of these were cut to what was left.
    assert (abs(seen - units.LENGTH_SHARES) < 4 * deviation + 20 / trials).all()
    assert fate["mask"] / trials == pytest.approx(0.8, abs=0.04)
    assert fate["other"] / trials == pytest.approx(0.1, abs=0.03)


def test_a_span_starts_anywhere_as_often():
    ids, _ = sequence(V, None, [1] * 8, 100)
    first = Counter()
    for seed in range(4000):
        first.update(span.start for span in spans(masked(units.mask_spans, ids, seed, 0.01)))
    assert set(first) == set(range(2, 10))
    assert min(first.values()) > 0.8 * 500 and max(first.values()) < 1.2 * 500


PHRASES = frozenset(
    {tuple(V.encode("cut the")), tuple(V.encode("cut the onion")), tuple(V.encode("slowly in"))}
)


def test_units_of_phrases_and_shots():
    ids, _ = sequence(V, V.encode("now cut the onion slowly in a bowl"), [3, 3, 7, 7, 7, 3])
    text = [V.decode(ids[u.start : u.stop]) for u in units.PhraseMasking(PHRASES).units(V, ids)]
    assert text == [
        "now", "cut the onion", "slowly in", "a", "bowl",
        "v00003 v00003", "v00007 v00007 v00007", "v00003",
    ]  # fmt: skip
    near = NearTokens(np.array([[t] for t in range(V.visual)]))
    near.nearest_KN[3] = 7
    shots = units.PhraseMasking(frozenset(), near.alike).units(V, ids)[-1]
    assert len(shots) == 6, "3 and 7 are alike, whichever comes first"


def test_phrases_are_hidden_whole_and_so_many_tokens_as_the_share_says():
    ids, _ = sequence(V, V.encode("now cut the onion slowly in a bowl"), [3, 3, 7, 7, 7, 3])
    masking = units.PhraseMasking(PHRASES)
    whole, counts = masking.units(V, ids), []
    for seed in range(4000):
        asked = {p for p, _ in masked(masking, ids, seed, 0.15).asks[JOINT]}
        assert all(asked.issuperset(unit) or asked.isdisjoint(unit) for unit in whole)
        counts.append(len(asked))
    n = len(content_positions(V, ids))
    error = np.std(counts) / len(counts) ** 0.5
    assert abs(np.mean(counts) - 0.15 * n) < 4 * error


def test_the_log_likelihood_ratio_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    for _ in range(50):
        both, left, right, rest = (int(n) for n in random.integers(1, 300, 4))
        table = [[both, left], [right, rest]]
        theirs = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
        ours = collocations.log_likelihood_ratio(both, both + left, both + right, both + left + right + rest)
        assert ours == pytest.approx(theirs)
    assert collocations.log_likelihood_ratio(5, 5, 5, 100) > collocations.SIGNIFICANCE
    assert collocations.log_likelihood_ratio(1, 10, 10, 100) == pytest.approx(0)
    assert collocations.association(5, 5, 5, 100) == pytest.approx(1)
    assert collocations.association(1, 10, 10, 100) == pytest.approx(0)


def test_collocations_are_found_and_frequent_words_are_none():
    """Words that always meet are a phrase, and so are three; words that meet as often as chance has it are none."""
    random = np.random.default_rng(0)
    loose = ["now", "the", "a", "cut", "stir", "onion", "carrot", "bowl", "and", "then"]
    sentences = []
    for _ in range(400):
        said = list(random.choice(loose, 6))
        if random.random() < 0.2:
            said[2:2] = ["let", "me", "show"]
        if random.random() < 0.2:
            said[4:4] = ["potato", ".", "apple"]
        sentences.append(V.encode(" ".join(said)))
    found = {V.decode(list(phrase)) for phrase in collocations.collocations(V, sentences)}
    assert "let me show" in found and found <= {"let me", "me show", "let me show"}


def test_trigrams_keep_what_they_hold_and_ask_for_the_order():
    text, tokens = V.encode("now show me how to cut the onion and the carrot in a bowl"), list(range(16))
    ids, _ = sequence(V, text, tokens, 100)
    moved = asked_of = trigrams = 0
    for seed in range(600):
        random = np.random.default_rng(seed)
        before = mask_tokens(V, ids, [0] * len(ids), JOINT, random, 0.15)
        found = extra_terms.shuffle_trigrams(V, before, random)
        hidden = {p for p, _ in before.asks[JOINT]}
        shuffled = dict(found.asks[SHUFFLED])
        assert found.asks[JOINT] == before.asks[JOINT] and not hidden & shuffled.keys()
        assert all(
            now == was
            for p, (was, now) in enumerate(zip(before.ids, found.ids, strict=True))
            if p not in shuffled
        )
        assert all(ids[p] == label for p, label in shuffled.items()) and V.join not in shuffled.values()
        places = sorted(shuffled)
        assert len(places) % 3 == 0
        for side in ([p for p in places if p <= len(text)], [p for p in places if p > len(text)]):
            assert Counter(found.ids[p] for p in side) == Counter(ids[p] for p in side)
        moved += sum(found.ids[p] != ids[p] for p in places)
        asked_of += len(places)
        unmasked = set(content_positions(V, before.ids)) - hidden
        trigrams += sum(unmasked.issuperset((p, p + 1, p + 2)) for p in unmasked)
    assert asked_of / 3 / trigrams == pytest.approx(0.05, abs=0.005)
    assert moved / asked_of == pytest.approx(2 / 3, abs=0.06), "of six orders a token stays in two"


def test_a_trigram_is_permuted_in_all_six_ways():
    ids, _ = sequence(V, None, [1, 2, 3])
    orders = Counter(
        tuple(extra_terms.shuffle_trigrams(V, Example(ids, [1] * 6), np.random.default_rng(s), 1.0).ids[2:5])
        for s in range(1200)
    )
    assert len(orders) == 6 and min(orders.values()) > 140


def test_what_a_generator_fills_is_masked_and_everything_is_asked():
    ids, types = sequence(V, V.encode("now cut the onion"), [1, 2, 3])
    for seed in range(50):
        random = np.random.default_rng(seed)
        before = mask_tokens(V, ids, types, TEXT, random, 0.5)
        found = extra_terms.replaced_or_original(V, before, random)
        hidden = {p for p, _ in before.asks[TEXT]}
        assert {p for p, i in enumerate(found.ids) if i == V.mask} == hidden
        assert found.asks[REPLACED] == list(enumerate(ids)) and found.asks[TEXT] == before.asks[TEXT]


def test_near_tokens_are_those_of_brute_force():
    random = np.random.default_rng(0)
    centroids = random.normal(size=(60, 8)).astype(np.float32)
    centroids[::7] = np.nan
    near = NearTokens.of_centroids(centroids, 3).nearest_KN
    for token in range(60):
        if token % 7 == 0:
            assert set(near[token]) == {token}
        else:
            distance = ((centroids - centroids[token]) ** 2).sum(1)
            distance[token] = np.inf
            assert (
                near[token].tolist()
                == np.argsort(np.where(np.isnan(distance), np.inf, distance))[:3].tolist()
            )
    assert NearTokens.of_centroids(centroids[:2], 3).nearest_KN.tolist() == [[0], [1]], (
        "one used token has none"
    )


def test_near_tokens_replace_what_is_read_and_not_what_is_asked():
    near = NearTokens(np.array([[(t + 1) % V.visual, (t + 2) % V.visual] for t in range(V.visual)]))
    ids, types = sequence(V, V.encode("now cut the onion"), [1, 2, 3, 4, 5, 6])
    replaced = read = 0
    for seed in range(500):
        random = np.random.default_rng(seed)
        before = mask_tokens(V, ids, types, VIDEO, random, 0.3)
        found = near.replace(V, before, random, 0.25)
        assert found.asks == before.asks and found.types == types
        hidden = {p for p, _ in before.asks[VIDEO]}
        for p, (was, now) in enumerate(zip(before.ids, found.ids, strict=True)):
            if p in hidden or was < V.first_visual:
                assert now == was
            else:
                read += 1
                replaced += now != was
                assert now == was or (now - was) % V.visual in (1, 2)
    assert replaced / read == pytest.approx(0.25, abs=0.03)


def test_a_training_with_near_tokens_has_the_masks_of_one_without():
    """And the same draws for the same (seed, epoch, item); what is asked, and what the contrast compares, is the same."""
    near = NearTokens(np.array([[(t + 1) % V.visual] for t in range(V.visual)]))
    options = ExampleOptions(near_rate=0.5)
    plain, one, same = (
        Examples(V, p.spoken, p.runs, options, 0, near_tokens=n)
        for p in [joint_samples.examples(0)]
        for n in (None, near, near)
    )
    different = 0
    for epoch, item in [(0, i) for i in range(0, len(plain), 3)]:
        drawn = one.draw(epoch, item)
        assert drawn == same.draw(epoch, item)
        for found, before in zip(drawn, plain.draw(epoch, item), strict=True):
            assert found.asks == before.asks and len(found.ids) == len(before.ids)
            different += found.ids != before.ids
    assert different > 20
