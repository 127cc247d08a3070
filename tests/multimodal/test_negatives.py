"""Negative pairs are misaligned, from where the option says, and subsampled as their positives are."""

import dataclasses
import math
from collections import Counter

import joint_samples
import pytest
from drawn import DUAL_ENCODER, alignment, hidden, kind, original
from hypothesis import given
from hypothesis import strategies as st

from multimodal.examples.negatives import MINIMUM_DISTANCE, distance
from multimodal.examples.options import ExampleOptions
from multimodal.examples.packing import ALIGNED, MISALIGNED
from multimodal.examples.sampling import Examples
from multimodal.segments import Segment
from multimodal.store import InputError
from multimodal.terms import JOINT, PRETRAINING_TERMS, TEXT, VIDEO
from vision.clips import CLIP_SECONDS

V = joint_samples.vocabulary(visual=4000)
MOST_CLIPS = 120
"""So many tokens are set apart for the clips of one video: a token tells its video and its clip."""


def segment(video: int, first: int, count: int, text: str = "now cut the onion") -> Segment:
    clips = tuple(range(first, first + count))
    start, end = first * CLIP_SECONDS, (first + count) * CLIP_SECONDS
    return Segment(str(video), start, end, text, tuple(video * MOST_CLIPS + c for c in clips), clips)


@st.composite
def corpora(draw) -> list[Segment]:
    """Videos of segments in order, which may overlap and lie apart; some have no picture."""
    found = []
    for video in range(draw(st.integers(1, 4))):
        at = 0
        for _ in range(draw(st.integers(1, 8))):
            count = draw(st.integers(0, 5))
            found.append(segment(video, at, count))
            at = max(0, at + draw(st.integers(-2, 9)))
    return found


def leaves(ids: list[int]) -> list[int]:
    return [i - V.first_visual for i in ids if i >= V.first_visual]


@given(
    corpora(),
    st.sampled_from([None, 0.0, 0.5, 1.0]),
    st.sampled_from([1, 5]),
    st.sampled_from([0.0, 1.0]),
    st.integers(0, 1000),
)
def test_a_misaligned_pair_shares_no_clip_and_comes_from_where_it_should(corpus, far, subsample, join, epoch):
    options = ExampleOptions(mask=1e-9, in_video_negative_rate=far, subsample=subsample, join_neighbours=join)
    examples = Examples.of(V, corpus, [], options, 0, frozenset({"joint", "alignment"}))
    seen = {s.video for s in corpus if s.tokens}
    for item in range(len(examples)):
        joint, *negatives = examples.draw(epoch, item)
        own = leaves(original(joint))
        video = {t // MOST_CLIPS for t in own}
        assert len(video) == 1 and alignment(joint) == ALIGNED
        for negative in negatives:
            assert alignment(negative) == MISALIGNED and not hidden(negative)
            shown = leaves(negative.ids)
            strange = Counter(t // MOST_CLIPS for t in shown)
            if len(shown) < 3:
                continue
            (theirs, count), *_ = strange.most_common()
            assert count >= len(shown) - 1, "of one video; one token may have been replaced at random"
            kept = [t for t in shown if t // MOST_CLIPS == theirs]
            assert len(set(kept) & set(own)) <= 1, "a replacement may fall on one of its own"
            if far == 0.0 and len(seen) > 1:
                assert theirs not in video
            if far is not None and theirs in video and len(seen) > 1:
                # The nearest may be a token that stands in for another.
                between = sorted(min(abs(a - b) - 1 for b in own) for a in kept)[len(kept) == len(shown)]
                assert between * CLIP_SECONDS >= MINIMUM_DISTANCE


LONG = [segment(video, first, 3) for video in range(3) for first in range(0, 60, 3)]


def chosen(far: float | None, corpus: list[Segment] = LONG, epochs: int = 20) -> Counter:
    """How often the negative's video is of the same video, and of another."""
    options = ExampleOptions(mask=1e-9, in_video_negative_rate=far, join_neighbours=0.0)
    examples = Examples.of(V, corpus, [], options, 0, frozenset({"joint", "alignment"}))
    found = Counter()
    for epoch in range(epochs):
        for item, own in enumerate(corpus):
            _, *negatives = examples.draw(epoch, item)
            for negative in negatives:
                videos = Counter(t // MOST_CLIPS for t in leaves(negative.ids))
                found["same" if str(videos.most_common()[0][0]) == own.video else "other"] += 1
    return found


@pytest.mark.parametrize("far", [0.0, 0.25, 1.0])
def test_the_share_of_in_video_negatives_is_the_option(far):
    found = chosen(far)
    trials = sum(found.values())
    assert trials == 20 * len(LONG), "each has its negative"
    assert abs(found["same"] - far * trials) <= 5 * math.sqrt(trials * far * (1 - far))


def test_without_the_option_any_segment_is_as_likely():
    found = chosen(None)
    trials, share = sum(found.values()), 19 / 59
    assert abs(found["same"] - share * trials) < 5 * math.sqrt(trials * share * (1 - share))


def test_every_far_segment_and_every_other_video_is_as_likely():
    corpus = LONG[:40]
    examples = Examples.of(V, corpus, [], ExampleOptions(mask=1e-9, in_video_negative_rate=0.5, join_neighbours=0.0), 0, frozenset({"alignment"}))  # fmt: skip
    found = Counter()
    for epoch in range(3000):
        _, negative = examples.draw(epoch, 0)
        found[Counter(t // 3 for t in leaves(negative.ids)).most_common()[0][0]] += 1
    away = [s for s in corpus[1:20] if distance(s, corpus[0]) >= MINIMUM_DISTANCE]
    far = [s.tokens[0] // 3 for s in away]
    others = [s.tokens[0] // 3 for s in corpus[20:]]
    assert set(found) == {*far, *others}
    for places in (far, others):
        share = 0.5 / len(places)
        assert all(abs(found[k] - 3000 * share) < 5 * math.sqrt(3000 * share) for k in places)


def test_where_nothing_is_far_away_another_video_is_taken():
    short = [segment(video, first, 3) for video in range(2) for first in (0, 3)]
    assert chosen(1.0, short) == {"other": 20 * len(short)}


@pytest.mark.parametrize("far", [None, 0.0, 0.25, 1.0])
@pytest.mark.parametrize("corpus", [LONG[:20], LONG[:4]], ids=["long", "short"])
def test_one_video_alone_is_misaligned_with_itself(far, corpus):
    """Whatever the share of far ones, and whether or not any is far away."""
    epochs = 400 // len(corpus)
    found = chosen(far, corpus, epochs)
    assert set(found) == {"same"}
    assert found["same"] > 0.99 * epochs * len(corpus), "8 draws hit itself each time once in 4^8"


def test_where_the_other_videos_show_the_same_their_own_video_is_taken():
    same = [dataclasses.replace(s, video="9") for s in LONG[:1]]
    corpus = [*LONG[:20], *same]
    examples = Examples.of(V, corpus, [], ExampleOptions(in_video_negative_rate=0.0, mask=1e-9, join_neighbours=0.0), 0, frozenset({"alignment"}))  # fmt: skip
    elsewhere = {t for s in LONG[1:20] for t in s.tokens}
    for epoch in range(20):
        _, negative = examples.draw(epoch, 0)
        assert len(set(leaves(negative.ids)) - elsewhere) <= 1, "a token may have been replaced"


ALIKE = [dataclasses.replace(s, tokens=(7,) * len(s.tokens)) for s in LONG]


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        (LONG, False),
        (LONG[:4], False),
        ([*ALIKE[:20], *LONG[-1:]], False),
        (LONG[:1], True),
        (ALIKE, True),
        ([dataclasses.replace(s, tokens=(), clips=()) for s in LONG], False),
    ],
    ids=["three videos", "one short video", "one segment apart", "one segment", "all alike", "no picture"],
)
@pytest.mark.parametrize("far", [None, 0.0])
def test_nothing_to_misalign_is_said(corpus, said, far):
    """Where nothing is said there are negatives, or no pairs either."""
    asked = frozenset({"joint", "alignment"})
    examples = Examples.of(V, corpus, [], ExampleOptions(in_video_negative_rate=far), 0, asked)
    drawn = [i for epoch in range(3) for item in range(len(examples)) for i in examples.draw(epoch, item)]
    assert said == bool(drawn and not any(alignment(i) == MISALIGNED for i in drawn))
    assert examples.notice.partition(":")[0] == ("alignment learns nothing" if said else "")
    assert not Examples.of(V, corpus, [], ExampleOptions(misaligned_rate=0.0), 0, asked).notice, (
        "none are wanted"
    )
    assert not Examples.of(V, corpus, [], ExampleOptions(), 0, frozenset({"joint"})).notice, "nobody asks"


@given(st.integers(1, 5), st.integers(0, 10_000))
def test_subsampled_tokens_are_every_so_many_th(subsample, epoch):
    corpus = [segment(0, 0, 20), segment(1, 40, 20)]
    runs = [segment(2, 0, 16, "")]
    options = ExampleOptions(
        mask=1e-9, in_video_negative_rate=0.0, subsample=subsample, join_neighbours=0.0, suffix_rate=0.0
    )
    examples = Examples.of(V, corpus, runs, options, 0)
    text, said, shown, joint, negative = examples.draw(epoch, 0)
    assert [kind(i) for i in (text, said, shown, joint, negative)] == [
        TEXT,
        DUAL_ENCODER,
        DUAL_ENCODER,
        JOINT,
        JOINT,
    ]
    assert leaves(shown.ids) == list(corpus[0].tokens), "search reads a segment whole"
    read = leaves(original(joint))
    steps = {b - a for a, b in zip(read, read[1:], strict=False)}
    assert len(steps) == 1 and max(steps) <= subsample
    (step,) = steps
    assert read[0] < step and read[-1] + step >= 20, "from end to end"
    assert abs(sum(i >= V.first_visual or i == V.mask for i in negative.ids) - len(read)) <= 2, (
        "no length tells"
    )
    (run,) = examples.draw(epoch, 2)
    read = leaves(original(run))
    assert kind(run) == VIDEO and read
    assert len({b - a for a, b in zip(read, read[1:], strict=False)}) <= 1


def test_every_step_is_as_likely():
    options = ExampleOptions(mask=1e-9, subsample=5, join_neighbours=0.0)
    examples = Examples.of(V, [segment(0, 0, 20)], [], options, 0, frozenset({"joint"}))
    found = Counter()
    for epoch in range(2000):
        (joint,) = examples.draw(epoch, 0)
        read = leaves(original(joint))
        found[read[1] - read[0]] += 1
    assert set(found) == {1, 2, 3, 4, 5}
    assert all(abs(n - 400) < 5 * math.sqrt(2000 * 0.2 * 0.8) for n in found.values())


@given(st.integers(0, 10_000))
def test_suffix_masking_is_never_subsampled(epoch):
    """`next` looks ahead in steps of a clip."""
    runs = [segment(2, 0, 16, "")]
    examples = Examples.of(V, [], runs, ExampleOptions(subsample=5, suffix_rate=1.0), 0)
    (run,) = examples.draw(epoch, 0)
    read = leaves(original(run))
    assert read == list(range(read[0], read[0] + len(read)))


@given(st.integers(0, 1 << 30), st.integers(0, 100), st.sampled_from([None, 0.3]), st.sampled_from([1, 5]))
def test_draws_with_every_option_are_a_function_of_seed_epoch_and_item(seed, epoch, far, subsample):
    options = ExampleOptions(in_video_negative_rate=far, subsample=subsample, join_neighbours=0.5)
    one, same = (
        Examples.of(V, LONG[:8] + LONG[30:36], [segment(2, 0, 16, "")], options, seed) for _ in range(2)
    )
    backwards = {item: same.draw(epoch, item) for item in reversed(range(len(same)))}
    assert all(one.draw(epoch, item) == backwards[item] for item in range(len(one)))


@given(st.frozensets(st.sampled_from(PRETRAINING_TERMS)))
def test_only_what_is_asked_for_is_drawn(asked):
    corpus = [*LONG[:6], Segment("0", 27.0, 30.0, "stir", ()), *LONG[20:24]]
    examples = Examples.of(V, corpus, [segment(2, 0, 16, "")], ExampleOptions(), 0, asked)
    found = [i for item in range(len(examples)) for i in examples.draw(0, item)]
    assert all(examples.draw(0, item) for item in range(len(examples))), "no item is empty"
    kinds = {kind(i) for i in found}
    expected = {TEXT: "text" in asked, VIDEO: "video" in asked, DUAL_ENCODER: "contrast" in asked,
                JOINT: bool(asked & {"joint", "alignment"})}  # fmt: skip
    assert kinds == {each for each, wanted in expected.items() if wanted}
    assert any(alignment(i) == MISALIGNED for i in found) == ("alignment" in asked)
    assert any(alignment(i) == ALIGNED for i in found) == ("alignment" in asked)
    cloze = any(hidden(i) for i in found if kind(i) == JOINT)
    assert cloze == ("joint" in asked)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"in_video_negative_rate": 1.5}, "--in-video-negative-rate 1.5"),
        ({"in_video_negative_rate": -0.1}, "--in-video-negative-rate -0.1"),
        ({"subsample": 0}, "--subsample 0"),
    ],
)
def test_options_out_of_range(wrong, said):
    with pytest.raises(InputError, match=said):
        ExampleOptions(**wrong)


@given(corpora(), st.sampled_from([0.0, 1.0]), st.integers(0, 1000))
def test_a_hard_negative_is_of_the_same_video_and_shares_no_clip(corpus, join, epoch):
    options = ExampleOptions(hard_negative_rate=1.0, join_neighbours=join)
    examples = Examples.of(V, corpus, [], options, 0, frozenset({"contrast"}))
    for item in range(len(examples)):
        pair = [i for i in examples.draw(epoch, item) if kind(i) == DUAL_ENCODER]
        own, *near = [leaves(i.ids) for i in pair[1::2]]
        assert len(pair) == 2 * (1 + len(near)) and len(near) <= 1
        for other in near:
            assert {t // MOST_CLIPS for t in other} == {t // MOST_CLIPS for t in own}
            assert not set(other) & set(own)
    assert not any(
        len(
            Examples.of(
                V, corpus, [], ExampleOptions(hard_negative_rate=0.0), 0, frozenset({"contrast"})
            ).draw(epoch, item)
        )
        > 2
        for item in range(len(examples))
    )


def test_a_video_of_several_segments_gives_a_hard_negative():
    corpus = [segment(0, 4 * n, 3) for n in range(4)]
    examples = Examples.of(V, corpus, [], ExampleOptions(hard_negative_rate=1.0), 0, frozenset({"contrast"}))
    drawn = [len(examples.draw(epoch, item)) for epoch in range(20) for item in range(len(examples))]
    assert sum(n == 4 for n in drawn) > 0.9 * len(drawn)
