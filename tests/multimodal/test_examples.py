"""Segments as model input: masks, videos, tails, order; each a function of (seed, epoch, item)."""

import dataclasses
import itertools
import math
from collections import Counter

import joint_samples
import numpy as np
import pytest
import torch
from drawn import DUAL_ENCODER, alignment, hidden, kind, original
from hypothesis import given
from hypothesis import strategies as st

from multimodal.examples.corruption import content_positions, mask_tokens
from multimodal.examples.options import ExampleOptions
from multimodal.examples.packing import (
    ALIGNED,
    MISALIGNED,
    TEXT_TYPE,
    VIDEO_TYPE,
    pack,
    sequence,
)
from multimodal.examples.sampling import Examples
from multimodal.segments import CONTEXT, HORIZONS, Segment, silent_segments
from multimodal.store import InputError
from multimodal.terms import CONTRAST, JOINT, TEXT, VIDEO
from multimodal.vocabulary import Vocabulary
from vision.clips import CLIP_SECONDS

V = joint_samples.vocabulary()
SPOKEN = [s for m in joint_samples.materials() for s in m.spoken()]
"""The segments of the samples that most tests draw from, with their words."""
SPECIAL = {V.pad, V.cls_id, V.sep, V.mask, V.unknown, V.join}
word = st.sampled_from(list(V.replaceable_words))
leaf = st.integers(0, V.visual - 1)


def masked(vocabulary, ids, random, share, used=None) -> tuple[list[int], list[int | None]]:
    """Token masking as new ids and, for each position, the label."""
    found = mask_tokens(vocabulary, ids, [0] * len(ids), JOINT, random, share, used)
    return found.ids, [hidden(found).get(position) for position in range(len(ids))]


def unjoined(**wanted) -> ExampleOptions:
    return ExampleOptions(join_neighbours=0.0, hard_negative_rate=0.0, **wanted)


@given(st.lists(word, max_size=60), st.lists(leaf, max_size=60), st.integers(8, 64))
def test_the_form_of_a_sequence(text, tokens, longest):
    ids, types = sequence(V, text, tokens, longest)
    assert len(ids) == len(types) <= longest
    assert ids[0] == V.cls_id and ids[-1] == V.sep and ids.count(V.sep) == 1
    assert ids.count(V.join) == bool(tokens)
    words = [i for i in ids[1:-1] if i < V.join]
    seen = [i - V.first_visual for i in ids if i >= V.first_visual]
    assert words == text[: len(words)] and seen == tokens[: len(seen)]
    if len(text) + len(tokens) + 2 + bool(tokens) <= longest:
        assert words == text and seen == tokens
    else:
        assert len(ids) == longest
        assert not tokens or seen
        assert not text or words
    assert types == sorted(types)
    assert all(
        t == (VIDEO_TYPE if i >= V.join else TEXT_TYPE) for i, t in list(zip(ids, types, strict=True))[:-1]
    )


@given(
    st.lists(word, max_size=40), st.lists(leaf, max_size=40), st.integers(0, 1 << 30), st.floats(0.01, 0.9)
)
def test_masks(text, tokens, seed, share):
    ids, _ = sequence(V, text, tokens, 100)
    new, labels = masked(V, ids, np.random.default_rng(seed), share)
    asked = [i for i, label in enumerate(labels) if label is not None]
    n = len(text) + len(tokens)
    assert len(asked) == (max(1, round(share * n)) if n else 0)
    assert set(asked) <= set(content_positions(V, ids))
    for i, (old, now) in enumerate(zip(ids, new, strict=True)):
        if i not in asked:
            assert now == old
        else:
            assert labels[i] == old and old not in SPECIAL
            same_modality = (now >= V.first_visual) == (old >= V.first_visual)
            assert now == V.mask or (same_modality and now not in SPECIAL)
            assert not V.name(now).startswith("[unused")


def within(successes: int, trials: int, share: float) -> bool:
    """Five deviations of a binomial: a right program fails once in about two million."""
    return abs(successes - trials * share) < 5 * math.sqrt(trials * share * (1 - share))


def test_eighty_ten_ten():
    big = dataclasses.replace(V, visual=5000)
    ids, _ = sequence(big, None, list(range(0, 4000, 40)), 200)
    fate = Counter()
    for seed in range(1000):
        new, labels = masked(big, ids, np.random.default_rng(seed), 0.15)
        for old, now, label in zip(ids, new, labels, strict=True):
            if label is not None:
                fate["mask" if now == big.mask else "same" if now == old else "other"] += 1
    trials = sum(fate.values())
    assert trials == 15_000
    assert within(fate["mask"], trials, 0.8)
    assert within(fate["other"], trials, 0.1) and within(fate["same"], trials, 0.1)


FEW_USED = [3, 700, 701, 3999]


def replaced(used: list[int] | None) -> Counter:
    """The visual tokens that were put in for others, in each modality that asks for tokens."""
    big = dataclasses.replace(V, visual=4000)
    spoken = [Segment("v", 0, 9, "now cut the onion", (3, 700) * 3, tuple(range(6)))]
    silent = [Segment("v", 0, 24, "", (701, 3999) * 8, tuple(range(16)))]
    options = unjoined(mask=0.5, suffix_rate=0.0, misaligned_rate=0.0)
    examples = Examples.of(big, spoken, silent, options, 0, frozenset({"joint", "video"}), used)
    return Counter(
        now - big.first_visual
        for epoch in range(300)
        for item in range(len(examples))
        for drawn in examples.draw(epoch, item)
        for position, label in hidden(drawn).items()
        for now in [drawn.ids[position]]
        if label >= big.first_visual and now not in (label, big.mask)
    )


def test_only_tokens_that_clips_have_stand_in_for_others():
    """Each of them as often; the careless way, any of the 4,000, nearly always gives itself away."""
    found, careless = replaced(FEW_USED), replaced(None)
    assert set(found) == set(FEW_USED)
    assert sum(n for token, n in careless.items() if token not in FEW_USED) > 0.95 * sum(careless.values())
    big = dataclasses.replace(V, visual=4000)
    other = [big.first_visual + 9] * 500
    stand_ins = Counter()
    for seed in range(20):
        new, _ = masked(big, other, np.random.default_rng(seed), 1.0, FEW_USED)
        stand_ins.update(i - big.first_visual for i in new if i not in (big.mask, other[0]))
    trials = sum(stand_ins.values())
    assert trials > 800 and all(within(stand_ins[token], trials, 1 / 4) for token in FEW_USED)


def test_where_every_token_is_used_the_draws_are_those_of_all():
    every = list(range(V.visual))
    spoken, silent = joint_samples.segments(joint_samples.materials())
    one, other = (Examples.of(V, spoken, silent, ExampleOptions(), 0, used=used) for used in (None, every))
    assert all(
        one.draw(epoch, item) == other.draw(epoch, item) for epoch in (0, 1) for item in range(len(one))
    )


def test_every_place_is_asked_as_often():
    ids, _ = sequence(V, V.encode("now cut the onion"), [1, 2, 3], 100)
    asked = Counter()
    for seed in range(2000):
        asked.update(
            i
            for i, label in enumerate(masked(V, ids, np.random.default_rng(seed), 0.15)[1])
            if label is not None
        )
    assert sum(asked.values()) == 2000 and len(asked) == 7
    assert all(within(n, 2000, 1 / 7) for n in asked.values())


def test_an_unknown_word_is_never_asked_for():
    ids, _ = sequence(V, V.encode("cut the zucchini"), None)
    assert V.unknown in ids
    assert all(
        masked(V, ids, np.random.default_rng(s), 1.0)[1][ids.index(V.unknown)] is None for s in range(5)
    )
    assert masked(V, [V.cls_id, V.unknown, V.sep], np.random.default_rng(0), 0.15)[1] == [None] * 3


def test_draws_are_a_function_of_seed_epoch_and_item():
    one, same, other = (joint_samples.examples(seed) for seed in (3, 3, 4))
    every = range(len(one))
    assert [one.draw(5, i) for i in every] == [same.draw(5, i) for i in reversed(every)][::-1]
    some = range(len(one.spoken))
    assert sum(one.draw(5, i) != one.draw(6, i) for i in some) > 0.9 * len(some), "short runs may meet twice"
    assert sum(one.draw(5, i) != other.draw(5, i) for i in some) > 0.9 * len(some)


@given(seed=st.integers(0, 1 << 30), epoch=st.integers(0, 1000))
def test_the_order_is_a_permutation_and_a_function_of_seed_and_epoch(seed, epoch):
    one = joint_samples.examples(seed, videos=4)
    assert sorted(one.order(epoch)) == list(range(len(one)))
    assert np.array_equal(one.order(epoch), joint_samples.examples(seed, videos=4).order(epoch))
    assert not np.array_equal(one.order(epoch), one.order(epoch + 1))


def test_a_spoken_item_gives_words_alone_video_alone_and_both():
    examples = joint_samples.examples(wanted=unjoined(misaligned_rate=0.0))
    for item, segment in enumerate(SPOKEN):
        text, said, shown_alone, joint = examples.draw(0, item)
        assert [kind(i) for i in (text, said, shown_alone, joint)] == [
            TEXT,
            DUAL_ENCODER,
            DUAL_ENCODER,
            JOINT,
        ]
        assert (
            alignment(joint) == ALIGNED
            and alignment(text) is alignment(said) is alignment(shown_alone) is None
        )
        assert said.ids == sequence(V, V.encode(segment.text), None)[0]
        assert shown_alone.ids == sequence(V, None, segment.tokens)[0]
        assert not hidden(said) and not hidden(shown_alone)
        assert max(text.ids) < V.join and hidden(text)
        assert original(joint) == sequence(V, V.encode(segment.text), segment.tokens)[0]
    runs = [examples.draw(0, i) for i in range(len(examples.spoken), len(examples))]
    assert all(len(r) == 1 and kind(r[0]) == VIDEO for r in runs)


def shown(ids: list[int]) -> list[int]:
    return [i for i in ids if i >= V.first_visual]


def test_misaligned_pairs_are_misaligned_and_ask_for_no_token():
    examples = joint_samples.examples(
        wanted=ExampleOptions(mask=0.01, misaligned_rate=0.5, join_neighbours=0.5, hard_negative_rate=0.0),
        videos=3,
    )
    pairs = Counter()
    for epoch in range(60):
        for item in range(len(examples.spoken)):
            _, _, shown_alone, joint, *negative = examples.draw(epoch, item)
            assert alignment(joint) == ALIGNED
            pairs[bool(negative)] += 1
            for other in negative:
                assert alignment(other) == MISALIGNED
                assert not hidden(other)
                most_of_it = Counter(shown(other.ids)) - Counter(shown(shown_alone.ids))
                assert most_of_it, f"segment {item}: all that is shown belongs to it"
                assert other.types.count(TEXT_TYPE) == joint.types.count(TEXT_TYPE), "the same words"
    assert within(pairs[True], sum(pairs.values()), 0.5)


def test_a_mask_does_not_give_away_whether_a_pair_is_aligned():
    examples = joint_samples.examples(wanted=unjoined())
    masks = {ALIGNED: [], MISALIGNED: []}
    for epoch in range(40):
        for item in range(len(examples.spoken)):
            for joint in examples.draw(epoch, item)[3:]:
                masks[alignment(joint)].append(joint.ids.count(V.mask))
    aligned, misaligned = (np.array(masks[kind]) for kind in (ALIGNED, MISALIGNED))
    deviation = math.hypot(aligned.std() / len(aligned) ** 0.5, misaligned.std() / len(misaligned) ** 0.5)
    assert abs(aligned.mean() - misaligned.mean()) < 5 * deviation


def test_whole_pairs_are_read_as_they_are_and_cloze_is_asked_beside_them():
    wanted = unjoined(whole_pairs=True, misaligned_rate=1.0)
    examples = joint_samples.examples(wanted=wanted)
    for item in range(len(examples.spoken)):
        _, _, _, joint, own, foreign = examples.draw(0, item)
        assert kind(joint) == kind(own) == kind(foreign) == JOINT
        assert alignment(joint) is None and hidden(joint)
        assert (alignment(own), alignment(foreign)) == (ALIGNED, MISALIGNED)
        assert V.mask not in own.ids + foreign.ids and not hidden(own) and not hidden(foreign)
        assert own.ids == original(joint)
        assert [i for i in own.ids if i < V.join] == [i for i in foreign.ids if i < V.join]


def test_the_neighbour_that_was_joined_is_no_negative():
    two = [
        Segment("v", 0, 3, "now cut the onion", (1, 1), (0, 1)),
        Segment("v", 3, 6, "stir", (2, 2), (2, 3)),
    ]
    joining = ExampleOptions(join_neighbours=1.0, misaligned_rate=1.0, hard_negative_rate=0.0)
    examples = Examples.of(V, two, [], joining, 0)
    assert all(len(examples.draw(epoch, 0)) == 4 for epoch in range(50)), "no negative"
    with_another = Examples.of(V, [*two, Segment("w", 0, 3, "wash", (3,), (0,))], [], joining, 0)
    negatives = [negative for epoch in range(50) for negative in with_another.draw(epoch, 0)[4:]]
    videos = [set(shown(negative.ids)) for negative in negatives]
    assert videos and all(len(s) <= 1 for s in videos), "only the video w, or its mask's replacement"


def test_a_clip_that_both_show_makes_no_negative():
    two = [Segment("v", 0, 0.4, "cut", (1,), (0,)), Segment("v", 0.4, 3, "stir", (1, 2), (0, 1))]
    examples = Examples.of(V, two, [], unjoined(misaligned_rate=1.0), 0)
    assert all(len(examples.draw(e, i)) == 4 for e in range(50) for i in (0, 1)), "no negative"


def test_where_all_show_the_same_nothing_is_misaligned():
    same = [Segment(f"v{i}", 0, 3 + i, "cut", (4,) * (1 + i), tuple(range(1 + i))) for i in range(4)]
    examples = Examples.of(V, same, [], unjoined(misaligned_rate=1.0), 0)
    assert all(len(examples.draw(e, i)) == 4 for e in range(20) for i in range(4)), "no negative"


def test_joined_neighbours_are_of_one_video():
    examples = joint_samples.examples(wanted=ExampleOptions(join_neighbours=1.0))
    last = joint_samples.materials()[0].spoken()[-1]
    own = len(sequence(V, V.encode(last.text), None)[0])
    for item, segment in enumerate(SPOKEN):
        is_last = item + 1 == len(SPOKEN) or SPOKEN[item + 1].video != segment.video
        assert (len(examples.draw(0, item)[0].ids) == own) == is_last


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_as_many_sentences_are_joined_with_the_next_as_the_option_says(share):
    examples = joint_samples.examples(wanted=ExampleOptions(join_neighbours=share))
    joined = trials = 0
    for item, segment in enumerate(SPOKEN[:-1]):
        if SPOKEN[item + 1].video == segment.video:
            alone = len(sequence(V, V.encode(segment.text), None)[0])
            trials += 60
            joined += sum(len(examples.draw(epoch, item)[0].ids) > alone for epoch in range(60))
    assert trials == 60 * 40
    assert abs(joined - trials * share) <= 5 * math.sqrt(trials * share * (1 - share))


@pytest.mark.parametrize("spoken, silent, visits", [(6, 1, 24), (6, 5, 5), (1, 8, 1), (0, 3, 1)])
def test_so_many_video_only_examples_for_each_spoken_segment(spoken, silent, visits):
    """Four, to the next whole number of visits, and each run as often as the others; once at least."""
    said = [Segment("v", 3 * n, 3 * n + 3, "cut", (n, n + 1), (2 * n, 2 * n + 1)) for n in range(spoken)]
    runs = [Segment("v", 0, 3, "", (n, n), (n, n + 1)) for n in range(silent)]
    examples = Examples.of(V, said, runs, unjoined(suffix_rate=0.0, mask=1e-9, misaligned_rate=0.0), 0)
    drawn = [examples.draw(0, item) for item in range(len(examples))]
    met = Counter(
        max(hidden(i).values()) - V.first_visual for (i, *rest) in drawn if not rest and kind(i) == VIDEO
    )
    assert met == dict.fromkeys(range(silent), visits)


@given(st.integers(1, 40), st.integers(0, 10_000))
def test_suffix_masking(tokens, epoch):
    run = Segment("v", 0, 1, "", tuple(i % V.visual for i in range(tokens)), tuple(range(tokens)))
    examples = Examples.of(V, [], [run], ExampleOptions(suffix_rate=1.0), 0)
    (found,) = examples.draw(epoch, 0)
    asked = sorted(hidden(found))
    assert found.ids[:2] == [V.cls_id, V.join] and found.ids[-1] == V.sep
    if tokens > 1:
        end = len(found.ids) - 1
        assert asked == list(range(asked[0], end)), "the asked ones are the last"
        assert 1 <= asked[0] - 2 <= CONTEXT, "what stays to go by"
        assert {found.ids[i] for i in asked} == {V.mask}
    leaves = [i - V.first_visual for i in original(found)[2:-1]]
    assert any(leaves == list(run.tokens[o : o + len(leaves)]) for o in range(tokens))


def test_suffix_masking_are_what_next_asks():
    """Each horizon after each length of what was seen, alike often; shorter ones only where the video ends, not its runs."""
    tokens = np.arange(80)
    runs = silent_segments("v", tokens * CLIP_SECONDS, tokens)
    examples = Examples.of(V, [], runs, ExampleOptions(suffix_rate=1.0), 0)
    seen, ends = Counter(), V.first_visual + len(tokens) - 1
    for epoch, item in itertools.product(range(1000), range(len(runs))):
        (found,) = examples.draw(epoch, item)
        asked = [label for _, label in sorted(hidden(found).items())]
        if len(asked) in HORIZONS:
            seen[len(found.ids) - 3 - len(asked), len(asked)] += 1
        else:
            assert asked[-1] == ends
    assert set(seen) == {(context, ahead) for context in range(1, CONTEXT + 1) for ahead in HORIZONS}
    often = [sum(seen[context, ahead] for context in range(1, CONTEXT + 1)) for ahead in HORIZONS]
    assert min(often) > 0.8 * max(often)


@pytest.mark.parametrize("context", [16, 40])
def test_a_longer_context_begins_in_the_runs_before(context):
    """Of the own video alone: its tokens go on where those of the run before end."""
    tokens = range(48)
    runs = [Segment(video, n, n + 16, "", tuple(tokens[n : n + 16]), tuple(range(n, n + 16)))
            for video in ("a", "b") for n in (0, 16, 32)]  # fmt: skip
    wide = Vocabulary(V.words, 48)
    examples = Examples.of(wide, [], runs, ExampleOptions(suffix_rate=1.0, context=context), 0)
    seen = Counter()
    for epoch in range(400):
        for item in range(len(examples)):
            (found,) = examples.draw(epoch, item)
            asked = hidden(found)
            whole = [asked.get(i, token) - wide.first_visual for i, token in enumerate(found.ids)][2:-1]
            assert whole == list(range(whole[0], whole[0] + len(whole))), "clip after clip of one video"
            seen[len(whole) - len(asked)] += 1
    # the last run's clips alone have so many before them
    assert set(seen) == set(range(1, min(context, 47) + 1))


def test_a_context_out_of_range_is_refused():
    for context in (0, 118):
        with pytest.raises(InputError, match="--context"):
            ExampleOptions(context=context)


def test_long_items_are_cut_to_the_longest():
    long = Segment("v", 0, 90, " ".join(["stir the bowl"] * 60), tuple([1, 2] * 30), tuple(range(60)))
    other = Segment("w", 0, 90, "cut", (5,) * 60, tuple(range(60)))
    examples = Examples.of(V, [long, other], [long], ExampleOptions(longest=48), 0)
    found = [i for epoch in range(20) for item in range(3) for i in examples.draw(epoch, item)]
    assert max(len(i.ids) for i in found) == 48


def test_a_corpus_of_one_kind_only():
    spoken, silent = joint_samples.segments(joint_samples.materials(2))
    no_words = Examples.of(V, [], silent, ExampleOptions(), 0)
    assert {kind(i) for n in range(len(no_words)) for i in no_words.draw(0, n)} == {VIDEO}
    no_picture = Examples.of(
        V, [dataclasses.replace(s, tokens=(), clips=()) for s in spoken], [], ExampleOptions(), 0
    )
    assert {kind(i) for n in range(len(no_picture)) for i in no_picture.draw(0, n)} == {TEXT}
    assert len(Examples.of(V, [], [], ExampleOptions(), 0)) == 0


def test_a_packed_batch_says_where_everything_lies():
    examples = joint_samples.examples(wanted=unjoined())
    inputs = [i for item in (0, 1, len(examples) - 1) for i in examples.draw(0, item)]
    batch = pack(inputs)
    assert batch.ids_T.tolist() == [i for s in inputs for i in s.ids]
    assert batch.sequence_T.tolist() == [n for n, s in enumerate(inputs) for _ in s.ids]
    assert batch.positions_T.tolist() == [p for s in inputs for p in range(len(s.ids))]
    first = 0
    labels = {}
    for example in inputs:
        labels |= {first + position: label for position, label in hidden(example).items()}
        first += len(example.ids)
    asked = torch.cat([batch.asks[name] for name in (TEXT, VIDEO, JOINT)])
    assert dict(asked.tolist()) == labels and len(asked) == len(labels)
    pairs = batch.sequence_T[batch.asks[CONTRAST][:, 0]].view(-1, 2)
    assert pairs.tolist() == [[1, 2], [6, 7]]
    assert pytest.approx(batch.lengths_S.sum()) == len(batch.ids_T)
