"""Speech is found where Silero's own program finds it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speech import activity, audio
from speech.activity import FRAME_SECONDS, ActivityOptions


@pytest.fixture(scope="module")
def silero():
    """The package itself; its import sets the whole process to one thread, which is undone."""
    threads = torch.get_num_threads()
    import silero_vad

    torch.set_num_threads(threads)
    return silero_vad


@pytest.fixture(scope="module")
def narration(videos) -> np.ndarray:
    return audio.read(videos / "narrated/autoeditor_example.mp4").samples


def test_the_network_is_silero_s_with_silero_s_own_program_as_oracle(silero, narration):
    """The archive and the safetensors of the package hold two trainings: here both run the archive's weights."""
    program = silero.load_silero_vad()
    theirs = program._model.state_dict()
    network = activity.VoiceActivity()
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


def test_regions_agree_with_silero_s(silero, narration):
    expected = silero.get_speech_timestamps(
        torch.from_numpy(narration),
        silero.load_silero_vad(),
        return_seconds=True,
        time_resolution=3,
        speech_pad_ms=0,
    )
    found = activity.regions(
        activity.probabilities(narration), len(narration) / 16_000, ActivityOptions(margin=0)
    )

    def mask(stretches):
        return np.array([any(s <= t < e for s, e in stretches) for t in np.arange(0, 42.4, 0.01)])

    assert np.mean(mask(found) == mask([(part["start"], part["end"]) for part in expected])) > 0.98


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.4, 0.9]), max_size=80), st.floats(0, 0.5))
def test_regions_are_the_same_as_silero_s_for_the_same_probabilities(silero, probabilities, margin):
    samples = len(probabilities) * 512
    expected = silero.utils_vad.get_speech_timestamps_from_probs(
        probabilities, speech_pad_ms=0, min_speech_duration_ms=249, audio_length_samples=samples
    )
    seconds = samples / 16_000
    found = activity.regions(np.array(probabilities), seconds, ActivityOptions(margin=0))
    assert [time for region in found for time in region] == pytest.approx(
        [part[edge] / 16_000 for part in expected for edge in ("start", "end")], abs=1e-9
    )
    assert len(found) == len(expected)
    wide = activity.regions(np.array(probabilities), seconds, ActivityOptions(margin=margin))
    edges = [time for region in wide for time in region]
    assert edges == sorted(edges)
    assert all(0 <= time <= seconds for time in edges)
    assert all(w[0] <= f[0] and f[1] <= w[1] for w, f in zip(wide, found, strict=True))


def test_no_frame_is_lost_where_a_long_sound_is_taken_in_parts(narration, monkeypatch):
    whole = activity.probabilities(narration)
    monkeypatch.setattr(activity, "FRAMES_AT_ONCE", 100)
    assert np.allclose(activity.probabilities(narration), whole, atol=1e-5)
    assert len(whole) == -(-len(narration) // 512)
    assert len(activity.probabilities(narration[:1])) == 1
    assert len(activity.probabilities(narration[:0])) == 0
    assert FRAME_SECONDS == 0.032


def test_the_process_keeps_its_threads():
    threads = torch.get_num_threads()
    activity._network.cache_clear()
    activity.probabilities(np.zeros(512, np.float32))
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("wrong", [{"threshold": 1.0}, {"release": 0.6}, {"margin": -0.1}])
def test_options_that_cannot_be_followed_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ActivityOptions(**wrong)
