"""VAD: speech is found where Silero's own program finds it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speech import vad
from speech.vad import VADOptions


@pytest.fixture(scope="module")
def silero():
    """The package itself; its import sets the whole process to one thread, which is undone."""
    threads = torch.get_num_threads()
    import silero_vad

    torch.set_num_threads(threads)
    return silero_vad


def test_the_network_is_silero_s_with_silero_s_own_program_as_oracle(silero, narration):
    """The archive and the safetensors of the package hold two trainings: here both run the archive's weights."""
    program = silero.load_silero_vad()
    theirs = program._model.state_dict()
    network = vad.SileroVAD()
    mine = {"stft_conv.weight": theirs["stft.forward_basis_buffer"]}
    for kind in ("weight", "bias"):
        mine[f"final_conv.{kind}"] = theirs[f"decoder.decoder.2.{kind}"]
        for n in range(4):
            mine[f"conv{n + 1}.{kind}"] = theirs[f"encoder.{n}.reparam_conv.{kind}"]
        for part in ("ih", "hh"):
            mine[f"lstm.{kind}_{part}_l0"] = theirs[f"decoder.rnn.{kind}_{part}"]
    network.load_state_dict(mine)
    samples = torch.from_numpy(narration)
    with torch.inference_mode():
        expected = program.audio_forward(samples, 16_000)[0]
        assert torch.allclose(network(samples), expected, atol=1e-4)


def test_speech_segments_agree_with_silero_s(silero, narration):
    expected = silero.get_speech_timestamps(
        torch.from_numpy(narration),
        silero.load_silero_vad(),
        return_seconds=True,
        time_resolution=3,
        speech_pad_ms=0,
    )
    found = vad.speech_segments(vad.probabilities(narration), len(narration) / 16_000, VADOptions(margin=0))

    def mask(segments):
        times = np.arange(0, len(narration) / 16_000, 0.01)
        return np.array([any(s <= t < e for s, e in segments) for t in times])

    assert np.mean(mask(found) == mask([(part["start"], part["end"]) for part in expected])) > 0.98


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.4, 0.9]), max_size=80), st.floats(0, 0.5))
def test_speech_segments_are_silero_s_for_the_same_probabilities(silero, probabilities, margin):
    samples = len(probabilities) * 512
    expected = silero.utils_vad.get_speech_timestamps_from_probs(
        probabilities, speech_pad_ms=0, min_speech_duration_ms=249, audio_length_samples=samples
    )
    seconds = samples / 16_000
    found = vad.speech_segments(np.array(probabilities), seconds, VADOptions(margin=0))
    assert [time for segment in found for time in segment] == pytest.approx(
        [part[edge] / 16_000 for part in expected for edge in ("start", "end")], abs=1e-9
    )
    assert len(found) == len(expected)
    wide = vad.speech_segments(np.array(probabilities), seconds, VADOptions(margin=margin))
    edges = [time for segment in wide for time in segment]
    assert edges == sorted(edges)
    assert all(0 <= time <= seconds for time in edges)
    assert all(w[0] <= f[0] and f[1] <= w[1] for w, f in zip(wide, found, strict=True))


def test_no_frame_is_lost_where_long_audio_is_taken_in_parts(narration, monkeypatch):
    whole = vad.probabilities(narration)
    monkeypatch.setattr(vad, "FRAMES_AT_ONCE", 100)
    assert np.allclose(vad.probabilities(narration), whole, atol=1e-5)
    assert len(whole) == -(-len(narration) // 512)
    assert len(vad.probabilities(narration[:1])) == 1
    assert len(vad.probabilities(narration[:0])) == 0


def test_the_process_keeps_its_threads():
    threads = torch.get_num_threads()
    vad._network.cache_clear()
    vad.probabilities(np.zeros(512, np.float32))
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("wrong", [{"threshold": 1.0}, {"release": 0.6}, {"margin": -0.1}])
def test_options_that_cannot_be_followed_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VADOptions(**wrong)
