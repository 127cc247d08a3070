"""BART's noises and T5's sentinels: what is read, what is written, and the published lengths."""

import collections
import itertools
import math

import joint_samples
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multimodal.examples import tasks
from multimodal.examples.denoising import CLIPS_A_SENTENCE, SPAN_MEAN, Denoising, span_lengths
from multimodal.examples.packing import sequence
from multimodal.examples.sentinels import MEAN_SPAN, mask_sentinels, noise_mask
from multimodal.systems import NOISES, SENTINELS, SYSTEMS
from multimodal.terms import JOINT, TASKS, TEXT, VIDEO

V = joint_samples.vocabulary_of(SYSTEMS["t5"])
BART = Denoising.of(V, None)
WORDS = V.encode("now let me show you how to cut the onion. then stir the apple in a bowl. and wash it")
TOKENS = list(range(14))
IDS, TYPES = sequence(V, WORDS, TOKENS)
sequences = st.tuples(
    st.lists(st.sampled_from(V.replaceable_words), max_size=25), st.lists(st.integers(0, V.visual - 1), max_size=25)
).filter(any)  # fmt: skip


def noised(*noises, share=0.3, ids=IDS, types=TYPES, seed=0):
    return BART.noised(V, list(ids), list(types), JOINT, np.random.default_rng(seed), share, noises)


def content(ids):
    return [i for i in ids if i not in V.specials]


def parts(ids):
    """The words and the visual tokens of a sequence, apart."""
    join = ids.index(V.join)
    return ids[1:join], ids[join + 1 : -1]


def output(example, term):
    """What the decoder is asked to write."""
    places, labels = zip(*example.target.asks[term], strict=True)
    assert list(places) == list(range(len(places)))
    assert [V.cls_id, *labels[:-1]] == example.target.ids
    return list(labels)


@settings(max_examples=50, deadline=None)
@given(sequences, st.integers(0, 10**6), st.sampled_from([TEXT, VIDEO, JOINT]))
def test_whatever_the_noise_all_of_the_sequence_is_written(found, seed, term):
    ids, types = sequence(V, *found)
    example = BART(V, ids, types, term, np.random.default_rng(seed), 0.15)
    assert output(example, term) == ids[1:] and not example.asks
    assert len(example.ids) == len(example.types) and example.ids[0] == V.cls_id and example.ids[-1] == V.sep
    assert all((t == 1) == (i >= V.first_visual) for i, t in zip(example.ids, example.types, strict=True) if content([i]))  # fmt: skip


def test_without_noise_the_input_is_the_target():
    found = noised("keep")
    assert found.ids == IDS == [V.cls_id, *output(found, JOINT)] and found.types == TYPES


def test_masked_and_deleted_tokens_are_as_many_as_asked():
    for seed in range(20):
        found = noised("mask", seed=seed)
        changed = [(a, b) for a, b in zip(IDS, found.ids, strict=True) if a != b]
        assert len(changed) <= round(0.3 * len(content(IDS)))
        assert all(b == V.mask or (b >= V.first_visual) == (a >= V.first_visual) for a, b in changed)
        shorter = noised("delete", seed=seed).ids
        assert len(IDS) - len(shorter) == round(0.3 * len(content(IDS))) and V.mask not in shorter
        rest = iter(IDS)
        assert all(token in rest for token in shorter), "in the same order"


def test_spans_have_the_lengths_of_a_poisson_distribution():
    random = np.random.default_rng(0)
    found = [n for _ in range(400) for n in span_lengths(random, 60)[:-1]]
    counts = collections.Counter(found)
    for length in range(8):
        expected = math.exp(-SPAN_MEAN) * SPAN_MEAN**length / math.factorial(length)
        assert counts[length] / len(found) == pytest.approx(expected, abs=0.015)
    assert np.mean(found) == pytest.approx(SPAN_MEAN, rel=0.03)


def test_an_infilled_span_is_one_mask_however_long_and_hides_as_many_as_asked():
    lengths = collections.Counter()
    for seed in range(60):
        found = noised("infill", seed=seed)
        kept = [token for token in content(found.ids) if token in content(IDS)]
        masks = found.ids.count(V.mask)
        lengths[len(IDS) - len(found.ids) + masks] += 1
        assert masks and len(content(IDS)) - len(kept) >= round(0.3 * len(content(IDS))) - 2
    # A span without a token is a mask that hides nothing.
    assert len(lengths) > 1


def test_permutation_permutes_and_keeps_every_sentence_whole():
    words, tokens = parts(IDS)
    sentences = BART._sentences(V, words)
    assert len(sentences) == 3 and sum(sentences, []) == words
    assert [len(s) for s in BART._sentences(V, tokens)] == [CLIPS_A_SENTENCE] * 3 + [2]
    for seed in range(20):
        found = noised("permute", seed=seed)
        for before, after in zip(parts(IDS), parts(found.ids), strict=True):
            assert sorted(after) == sorted(before) and after != before
            for s in BART._sentences(V, before):
                assert any(after[i : i + len(s)] == s for i in range(len(after)))
    alone, types = sequence(V, V.encode("cut the onion."), [3])
    assert noised("permute", ids=alone, types=types).ids == alone, "one sentence has one order"


def test_rotation_begins_elsewhere_and_keeps_the_order():
    begins = set()
    for seed in range(30):
        for before, after in zip(parts(IDS), parts(noised("rotate", seed=seed).ids), strict=True):
            first = before.index(after[0]) if after[0] >= V.first_visual else None
            if first is not None:
                begins.add(first)
                assert after == before[first:] + before[:first]
            assert sorted(after) == sorted(before)
    assert len(begins) > 8


# sentinels


def put_together(read, written):
    """The original of what T5 reads and writes: each sentinel is replaced by what follows it in what is written."""
    spans, current = {}, None
    for token in written:
        if token >= V.visual_ids.stop:
            current = spans.setdefault(token, [])
        elif token != V.sep:
            current.append(token)
    return [t for token in read for t in (spans[token] if token >= V.visual_ids.stop else [token])]


@settings(max_examples=100, deadline=None)
@given(sequences, st.integers(0, 10**6), st.floats(0.0, 0.6))
def test_input_and_target_put_together_give_the_original(found, seed, share):
    ids, types = sequence(V, *found)
    example = mask_sentinels(V, ids, types, JOINT, np.random.default_rng(seed), share)
    written = output(example, JOINT)
    assert put_together(example.ids, written) == ids
    sentinels = [token for token in example.ids if token >= V.visual_ids.stop]
    assert sentinels == list(range(V.size - 1, V.size - 1 - len(sentinels), -1)), (
        "they count down from the end"
    )
    assert [t for t in written if t >= V.visual_ids.stop] == [*sentinels, V.size - 1 - len(sentinels)]
    assert {V.join, V.cls_id} & set(written) == set()


def test_the_share_and_the_spans_are_the_published_ones():
    random = np.random.default_rng(0)
    for count in (100, 400):
        masks = [noise_mask(count, 0.15, random) for _ in range(200)]
        assert all(mask.sum() == round(0.15 * count) for mask in masks)
        assert np.mean(masks, 0).min() > 0.05, "the first and the last place, too"
        spans = np.mean([(np.diff([0, *mask.astype(int), 0]) == 1).sum() for mask in masks])
        assert 0.15 * count / spans == pytest.approx(MEAN_SPAN, rel=0.1)
    assert noise_mask(1, 0.15, random).all() and noise_mask(2, 0.15, random).sum() == 1


# tasks


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_each_task_is_drawn_and_says_what_the_segments_say(name):
    examples = joint_samples.examples(system=SYSTEMS[name])
    form, V = SYSTEMS[name].mask_unit, examples.vocabulary
    drawn = [e for item in range(len(examples)) for epoch in range(3) for e in examples.draw(epoch, item)]
    found = [e for e in drawn if e.target and TASKS in e.target.asks]
    one = [tuple(ids) for ids in examples.spoken.sentences()]
    said = {*one, *(a + b for a, b in itertools.pairwise(one))}
    ends = {label for e in found for _, label in e.target.asks[TASKS][-1:]}
    assert ends == {tasks.end_of(V, form, t) for t in tasks.TASKS_OF[form] if t != tasks.NEXT}
    answers = collections.Counter(tuple(label for _, label in e.target.asks[TASKS][:-1]) for e in found)
    true, false = (tuple(V.encode(t)) for t in (tasks.TRUE, tasks.FALSE))
    assert set(answers) <= said | ({true, false} if form == SENTINELS else set())
    if form == SENTINELS:
        assert min(answers[true], answers[false]) > 5
    if form == NOISES:
        assert all(e.ids[1] == V.mask for e in found)
    kinds = {e.ids.count(V.sep) > 1 for e in found}
    assert kinds == {True, False}, "captions of one segment, summaries of several"


def test_the_central_sentence_shares_most():
    assert tasks.most_central([[1, 2], [2, 3, 4], [4, 5], [9, 8]]) == 1
