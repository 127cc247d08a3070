"""Whisper in several threads: its aligner's switch, which all of them see, changes nothing."""

import pytest
import torch
import whisper
from whisper.model import MultiHeadAttention

from speech import decoding, models, transcribe


@pytest.fixture(scope="module")
def plain(tiny_en_file):
    """Whisper as it comes."""
    return whisper.load_model(str(tiny_en_file), device="cpu").eval()


@pytest.fixture(scope="module")
def ours(tiny_en_file):
    return models.load("tiny.en", tiny_en_file.parent, "cpu").whisper


@pytest.fixture(params=[True, False], ids=["fast", "shown"])
def switch(request, monkeypatch):
    monkeypatch.setattr(MultiHeadAttention, "use_sdpa", request.param)
    return request.param


@torch.no_grad()
def run(model, tokens: int) -> tuple[torch.Tensor, torch.Tensor, list]:
    torch.manual_seed(0)
    shown = []
    hooks = [
        b.cross_attn.register_forward_hook(lambda _, ins, outs: shown.append(outs[1]))
        for b in model.decoder.blocks
    ]
    encoded = model.encoder(torch.randn(1, 80, 3000))
    logits = model.decoder(torch.randint(0, 1000, (1, tokens)), encoded)
    for hook in hooks:
        hook.remove()
    return encoded, logits, shown


@pytest.fixture(scope="module")
def first(ours):
    return run(ours, 40)


def test_the_switch_changes_no_bit_and_hides_no_weight(ours, first, switch):
    encoded, logits, shown = run(ours, 40)
    assert torch.equal(encoded, first[0]) and torch.equal(logits, first[1])
    assert all(torch.equal(a, b) for a, b in zip(shown, first[2], strict=True))


@pytest.mark.parametrize("tokens", [2, 40])
def test_it_is_whispers_attention(plain, ours, monkeypatch, tokens):
    monkeypatch.setattr(MultiHeadAttention, "use_sdpa", False)
    for found, expected in zip(run(ours, tokens)[:2], run(plain, tokens)[:2], strict=True):
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-3)
    for found, expected in zip(run(ours, tokens)[2], run(plain, tokens)[2], strict=True):
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-3)


def test_a_single_token_which_is_never_aligned_is_fast_and_the_same(plain, ours, monkeypatch):
    monkeypatch.setattr(MultiHeadAttention, "use_sdpa", False)
    (_, logits, shown), (_, expected, _) = run(ours, 1), run(plain, 1)
    torch.testing.assert_close(logits, expected, atol=2e-3, rtol=1e-3)
    assert shown == [None] * len(shown)


def test_plain_whisper_hides_its_weights_when_another_thread_turns_the_switch(plain, monkeypatch):
    """The control: without our layers the tests above would fail."""
    monkeypatch.setattr(MultiHeadAttention, "use_sdpa", True)
    assert run(plain, 4)[2] == [None] * len(plain.decoder.blocks)


def test_the_number_of_torch_s_threads_is_kept(sample_audio, tiny_en, monkeypatch):
    """The first parallel loop in numba sets OpenMP's number of threads, which is torch's; here every one does."""
    align = decoding.find_alignment

    def and_take_every_core(*given):
        found = align(*given)
        torch.set_num_threads(threads + 1)
        return found

    threads = torch.get_num_threads()
    monkeypatch.setattr(decoding, "find_alignment", and_take_every_core)
    transcribe.transcribe(sample_audio, tiny_en)
    assert torch.get_num_threads() == threads
