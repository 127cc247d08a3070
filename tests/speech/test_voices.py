"""Whisper base on a spoken sample in French, by espeak-ng's voice; `make languages`."""

import os
import shutil
import subprocess

import pytest

from speech import audio, transcribe

TEXT = "D'abord nous coupons les oignons en petits morceaux. Ensuite nous mettons les carottes dans la casserole."
HEARD = ("nous", "carottes")
"""Of the languages that were tried, French is the one whose espeak-ng voice Whisper base understands (docs/decisions.md)."""


@pytest.fixture(scope="module")
def base(weights_or_skip) -> transcribe.SpeechModel:
    if not os.environ.get("VIDEOBERT_SLOW"):
        pytest.skip("slow: 145 MB of weights; `make languages` runs it")
    if not shutil.which("espeak-ng"):
        pytest.skip("no espeak-ng: apt-get install espeak-ng")
    return transcribe.load("base", weights_or_skip("whisper-base").parent, "cpu")


def test_a_language_that_is_told_gives_its_words_with_times(tmp_path, base):
    sound = tmp_path / "said.wav"
    subprocess.run(["espeak-ng", "-v", "fr-fr", "-s", "140", "-w", str(sound), TEXT], check=True)
    found = transcribe.transcribe(audio.pieces(sound), base, transcribe.TranscribeOptions(language="fr"))
    assert found.language == "fr"
    words = " ".join(sentence.text for sentence in found.sentences)
    assert all(word.lower() in words.lower() for word in HEARD), words
    last = sum(piece.seconds for piece in audio.pieces(sound))
    assert all(0 <= s.start < s.end <= last + 0.1 for s in found.sentences) and len(found.sentences) > 1
