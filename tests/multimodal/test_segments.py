"""Sentences and visual tokens paired by time, checked against tables worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.segments import SILENT_TOKENS, joined, moments, silent_segments, spoken_segments
from speech.sentences import Sentence, Transcript
from vision.clips import CLIP_SECONDS


def said(*times: tuple[float, float]) -> Transcript:
    return Transcript("en", {}, tuple(Sentence(s, e, f"words {i}", ()) for i, (s, e) in enumerate(times)))


FOUR = np.arange(4) * 1.5
LATE = np.array([10.0, 11.5])
GAP = np.array([0.0, 1.5, 6.0])


@pytest.mark.parametrize(
    ("starts", "sentence", "clips"),
    [
        pytest.param(FOUR, (0.0, 6.0), (0, 1, 2, 3), id="all of them"),
        pytest.param(FOUR, (1.5, 3.0), (1,), id="one clip, neither neighbour: half open"),
        pytest.param(FOUR, (0.75, 2.25), (0, 1), id="exactly half of two"),
        pytest.param(FOUR, (0.76, 2.2), (0,), id="less than half of each: the one overlapped most"),
        pytest.param(FOUR, (1.4, 1.7), (1,), id="short, across a border: the one overlapped most"),
        pytest.param(FOUR, (3.1, 3.3), (2,), id="shorter than half a clip"),
        pytest.param(FOUR, (0.8, 4.6), (1, 2), id="0.7 s of the first and 0.1 s of the last are not half"),
        pytest.param(FOUR, (6.0, 9.0), (), id="after the picture"),
        pytest.param(FOUR, (5.9, 9.0), (3,), id="only begins in the picture"),
        pytest.param(LATE, (0.0, 10.0), (), id="before the picture: its end is not in it"),
        pytest.param(LATE, (0.0, 10.1), (0,), id="only ends in the picture"),
        pytest.param(LATE, (10.0, 13.0), (0, 1), id="the picture starts late"),
        pytest.param(GAP, (3.0, 6.0), (), id="while no clip is shown"),
        pytest.param(GAP, (2.0, 7.0), (1, 2), id="across a gap in the picture"),
        pytest.param(np.zeros(0), (0.0, 3.0), (), id="no clips"),
    ],
)
def test_the_clips_of_a_sentence(starts, sentence, clips):
    tokens = np.arange(len(starts)) * 7 + 3
    (found,) = spoken_segments("v", said(sentence), starts, tokens)
    assert found.clips == clips
    assert found.tokens == tuple(c * 7 + 3 for c in clips)
    assert (found.video, found.start, found.end, found.text) == ("v", *sentence, "words 0")


def test_silence_is_read_in_runs_of_16_tokens():
    starts = np.arange(37) * CLIP_SECONDS + 0.2
    found = silent_segments("v", starts, np.arange(37) % 5)
    assert [len(s.tokens) for s in found] == [SILENT_TOKENS, SILENT_TOKENS, 5]
    assert [s.clips[0] for s in found] == [0, 16, 32]
    assert [t for s in found for t in s.tokens] == [i % 5 for i in range(37)]
    assert [(round(s.start, 6), round(s.end, 6)) for s in found] == [(0.2, 24.2), (24.2, 48.2), (48.2, 55.7)]
    assert all(s.text == "" for s in found)
    assert silent_segments("v", np.zeros(0), np.zeros(0, int)) == []


sentences = st.lists(
    st.tuples(st.floats(0, 60), st.floats(0.05, 12)).map(lambda x: (x[0], x[0] + x[1])), max_size=12
).map(sorted)


@given(clips=st.integers(0, 50), first=st.floats(0, 10), times=sentences)
def test_moments_hold_every_clip_and_every_sentence(clips, first, times):
    starts = first + np.arange(clips) * CLIP_SECONDS
    found = moments("v", said(*times), starts, np.arange(clips))
    spoken, quiet = [m for m in found if m.text], [m for m in found if not m.text]
    assert sorted((m.start, m.end) for m in spoken) == times
    heard = {c for m in spoken for c in m.clips}
    silent = [c for m in quiet for c in m.clips]
    assert len(silent) == len(set(silent)) and not heard & set(silent)
    assert heard | set(silent) == set(range(clips))
    assert all(1 <= len(m.tokens) <= SILENT_TOKENS for m in quiet)
    assert [m.start for m in found] == sorted(m.start for m in found)
    for m in quiet:
        assert list(m.clips) == list(range(m.clips[0], m.clips[-1] + 1))
        assert (m.start, m.end) == (starts[m.clips[0]], starts[m.clips[-1]] + CLIP_SECONDS)


def test_a_clip_shared_by_neighbours_is_joined_once():
    one, after = spoken_segments("v", said((0.0, 2.25), (2.25, 6.0)), FOUR, np.array([5, 6, 7, 8]))
    assert (one.clips, after.clips) == ((0, 1), (1, 2, 3))
    both = joined(one, after)
    assert (both.clips, both.tokens) == ((0, 1, 2, 3), (5, 6, 7, 8))
    assert (both.start, both.end, both.text) == (0.0, 6.0, "words 0 words 1")
