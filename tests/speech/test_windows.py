"""Windows of audio: nothing is lost or doubled where they meet, and none grows with the length of the audio."""

import difflib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speech import transcribe, vad
from speech.audio import SAMPLE_RATE, Audio
from speech.vad import FRAME_SAMPLES, FRAME_SECONDS, VADOptions
from speech.windows import chunks, windows

OPTIONS = VADOptions()
LONGEST_SILENCE = 2.0
MOST_HELD_BACK = 30 + LONGEST_SILENCE + 6
"""Seconds: a chunk that may grow, the silence after it, and what VAD has not decided on."""


def pieces(samples: np.ndarray, seconds: float, start: float = 0.0) -> Iterator[Audio]:
    size = round(seconds * SAMPLE_RATE)
    for first in range(0, len(samples), size):
        yield Audio(samples[first : first + size], start + first / SAMPLE_RATE)


def frames_of(runs: list[tuple[float, float]]) -> np.ndarray:
    """A probability for each frame: runs of (seconds, probability)."""
    return np.concatenate([np.full(max(1, round(s / FRAME_SECONDS)), p, np.float32) for s, p in runs])


class SamplesAreProbabilities:
    """In place of the network: any sequence of probabilities can be given."""

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        return samples[::FRAME_SAMPLES]


runs = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([0.1, 0.3, 1.0, 3.0, 12.0, 40.0, 150.0]), st.sampled_from([0.0, 0.9])),
        st.tuples(st.sampled_from([0.1, 0.3, 1.0]), st.sampled_from([0.2, 0.4, 0.6])),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(runs, st.sampled_from([1.0, 7.3, 60.0]), st.sampled_from([10.0, 45.0, 90.0]))
@example([(150.0, 0.9)] * 6, 60.0, 45.0)
@example([(150.0, 0.0)] * 6, 7.3, 10.0)
def test_the_chunks_in_the_windows_are_those_of_the_whole(frames, piece, window):
    probabilities = frames_of(frames)
    samples = np.repeat(probabilities, FRAME_SAMPLES)
    end = len(probabilities) * FRAME_SECONDS
    whole = chunks(vad.speech_segments(probabilities, end, OPTIONS), probabilities, LONGEST_SILENCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vad, "StreamingVAD", SamplesAreProbabilities)
        cut = list(windows(pieces(samples, piece, 5.0), OPTIONS, LONGEST_SILENCE, seconds=window))
    assert np.array_equal(np.concatenate([w.audio.samples for w in cut]), samples)
    assert [w.audio.start for w in cut] == pytest.approx(
        5.0 + np.cumsum([0, *(w.audio.seconds for w in cut[:-1])]), abs=1e-6
    )
    found = [(w.audio.start - 5.0 + a, w.audio.start - 5.0 + b) for w in cut for a, b in w.chunks]
    assert len(found) == len(whole)
    assert np.allclose(np.ravel(found), np.ravel(whole), atol=1e-6)
    assert max(w.audio.seconds for w in cut) <= window + piece + MOST_HELD_BACK


def test_streaming_vad_gives_the_probabilities_of_the_whole(narration):
    stream = vad.StreamingVAD()
    parts = [stream(part) for part in np.split(narration, [512 * n for n in (1, 3, 400, 1500)])]
    assert np.abs(np.concatenate(parts) - vad.probabilities(narration)).max() < 1e-4


def test_words_where_windows_meet_are_neither_lost_nor_doubled(narration, tiny_en):
    options = transcribe.TranscribeOptions(bf16_encoder=False)
    steps = []
    whole = transcribe.transcribe(Audio(narration, 0.0), tiny_en, options)
    parts = transcribe.transcribe(
        pieces(narration, 3), tiny_en, options, window=10, progress=lambda *step: steps.append(step)
    )
    assert len(list(windows(pieces(narration, 3), OPTIONS, LONGEST_SILENCE, seconds=10))) >= 3
    before, after = ([w for s in t.sentences for w in s.words] for t in (whole, parts))
    blocks = difflib.SequenceMatcher(
        None, [w.text for w in before], [w.text for w in after], autojunk=False
    ).get_matching_blocks()
    same = sum(block.size for block in blocks)
    assert len(before) > 90 and max(len(before), len(after)) - same <= 2
    apart = [after[b + n].start - before[a + n].start for a, b, size in blocks for n in range(size)]
    assert np.abs(apart).max() < 0.1
    assert parts.notes == whole.notes and parts.language == whole.language
    assert steps == sorted(steps) and steps[-1][0] == steps[-1][1] == pytest.approx(
        len(narration) / SAMPLE_RATE
    )
