"""Segments in flat arrays: what goes in comes back, but for the text, which its word-piece ids stand for."""

import dataclasses

import joint_samples
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.examples.segment_table import SegmentTable
from multimodal.segments import Segment

V = joint_samples.vocabulary()
numbers = st.lists(st.integers(0, 2**31 - 1), max_size=8).map(tuple)
seconds = st.floats(0, 1e6, allow_nan=False)
segments = st.lists(
    st.builds(
        Segment,
        video=st.sampled_from(["a", "b", "c"]),
        start=seconds,
        end=seconds,
        text=st.sampled_from(["", "now cut the onion", "stir slowly."]),
        tokens=numbers,
        clips=numbers,
    ),
    max_size=12,
)


@given(segments)
def test_segments_come_back(given_segments):
    table = SegmentTable(given_segments, V)
    assert list(table) == [dataclasses.replace(s, text="") for s in given_segments]
    assert [table[place] for place in range(len(table))] == list(table)
    assert [table.word_ids(place) for place in range(len(table))] == [
        V.encode(s.text) for s in given_segments
    ]
    assert [table.video(place) for place in range(len(table))] == [s.video for s in given_segments]


@given(segments, segments)
def test_an_extended_table_is_that_of_all_segments(first, second):
    table = SegmentTable(first, V)
    table.extend(second)
    whole = SegmentTable([*first, *second], V)
    assert list(table) == list(whole) and len(table) == len(first) + len(second)
    assert [table.word_ids(n) for n in range(len(table))] == [whole.word_ids(n) for n in range(len(whole))]


@given(segments)
def test_columns_are_those_of_the_segments(given_segments):
    table = SegmentTable(given_segments)
    seen = list(dict.fromkeys(s.video for s in given_segments))
    assert table.video_numbers().tolist() == [seen.index(s.video) for s in given_segments]
    assert table.token_counts().tolist() == [len(s.tokens) for s in given_segments]
    assert (table.video_numbers().dtype, table.token_counts().dtype) == (np.int32, np.int64)


@pytest.mark.parametrize("place", [-1, 2])
def test_a_place_beyond_the_end_is_an_index_error(place):
    table = SegmentTable([Segment("a", 0, 1, "", (1,))] * 2)
    with pytest.raises(IndexError):
        table[place]


def test_without_a_vocabulary_there_are_no_word_ids():
    assert SegmentTable([Segment("a", 0, 1, "stir", (1,))]).word_ids(0) == []
