"""Whisper base on French and German by espeak-ng's voices; `make languages`."""

import os
import shutil
import subprocess

import pytest

from speech import audio, transcribe

SPOKEN = {
    "fr": ("fr-fr", "D'abord nous coupons les oignons en petits morceaux. Ensuite nous mettons les carottes dans la casserole.", ("nous", "carottes")),
    "de": ("de+f2", "Zuerst schneiden wir die Karotten. Dann geben wir Wasser und Salz in den Topf.", ("zuerst", "die karotten", "dann geben wir")),
}  # fmt: skip
"""The voice, what it says, and words that are heard. Other voices of espeak-ng were not understood (docs/decisions.md)."""


@pytest.fixture(scope="module")
def base(weights_or_skip) -> transcribe.SpeechModel:
    if not os.environ.get("VIDEOBERT_SLOW"):
        pytest.skip("slow: 145 MB of weights; `make languages` runs it")
    if not shutil.which("espeak-ng"):
        pytest.skip("no espeak-ng: apt-get install espeak-ng")
    return transcribe.load("base", weights_or_skip("whisper-base").parent, "cpu")


@pytest.mark.parametrize("language", SPOKEN)
def test_a_language_that_is_told_gives_its_words_with_times(tmp_path, base, language):
    voice, text, heard = SPOKEN[language]
    sound = tmp_path / "said.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-s", "140", "-w", str(sound), text], check=True)
    found = transcribe.transcribe(audio.pieces(sound), base, transcribe.TranscribeOptions(language=language))
    assert found.language == language
    said = " ".join(sentence.text for sentence in found.sentences).lower()
    assert all(words in said for words in heard), said
    last = sum(piece.seconds for piece in audio.pieces(sound))
    words = [word for sentence in found.sentences for word in sentence.words]
    assert all(0 <= w.start <= w.end <= last + 0.1 for w in words) and words[-1].end > last / 2
