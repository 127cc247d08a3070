"""What Whisper writes over silence and music is dropped where nobody speaks it, and what is spoken stays."""

import numpy as np
import pytest

from speech.decoding import Decoder, TranscribeOptions
from speech.sentences import SentenceOptions, Word
from speech.silent_phrases import drop_unspoken, is_silent_phrase, note

SURE, UNSURE = 0.9, 0.4


def spoken(text: str, probability: float, start: float = 0.0) -> list[Word]:
    return [
        Word(start + n / 2, start + n / 2 + 0.5, part, probability) for n, part in enumerate(text.split())
    ]


def dropped(words: list[Word], speech: list[tuple[float, float]], unsure: bool = False) -> list[str]:
    kept, texts = drop_unspoken(words, speech, unsure, SentenceOptions())
    assert len(kept) + sum(len(text.split()) for text in texts) == len(words)
    return texts


def test_it_is_dropped_only_where_it_is_known_and_unheard_and_unsure():
    thanks = spoken("Thank you.", UNSURE)
    assert dropped(thanks, []) == ["Thank you."]
    assert dropped(thanks, [(5.0, 9.0)]) == ["Thank you."]
    assert dropped(thanks, [(0.3, 0.9)]) == [], "somebody speaks"
    assert dropped(spoken("Thank you.", SURE), []) == [], "Whisper is sure of it"
    assert dropped(spoken("Thank you.", SURE), [], unsure=True) == ["Thank you."]
    assert dropped(spoken("Peel it.", UNSURE), [], unsure=True) == [], "nothing that it is known to write"


def test_a_sentence_goes_and_its_neighbours_stay():
    words = spoken("Peel the carrot.", SURE) + spoken("Thanks for watching!", UNSURE, 4.0)
    kept, texts = drop_unspoken(words, [(0.0, 1.5)], False, SentenceOptions())
    assert (kept, texts) == (words[:3], ["Thanks for watching!"])
    assert note(texts).startswith("1 sentence") and note([*texts, "Bye."]).startswith("2 sentences")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("you", True), ("Thank you!", True), ("Bye-bye.", True), ("Subtitles by the Amara.org community", True),
        ("Untertitelung des ZDF, 2020", True), ("Sous-titrage Société Radio-Canada", True), ("字幕由Amara.org社区提供", True),
        ("Продолжение следует...", True), ("ご視聴ありがとうございました。", True),
        ("Thank you for the onions.", False), ("You peel it.", False), ("Subtract two.", False), ("", False), ("...", False),
    ],
)  # fmt: skip
def test_the_phrases(text, known):
    assert is_silent_phrase(text) == known


def test_what_tiny_en_writes_over_silence_and_a_tone_is_dropped(tiny_en):
    time = np.arange(20 * 16_000) / 16_000
    options = TranscribeOptions()
    decoder = Decoder(tiny_en.whisper, options)
    for samples in (0 * time, 0.3 * np.sin(2 * np.pi * 440 * time)):
        (found,) = decoder.transcribe(samples.astype(np.float32), [(0.0, 20.0)])
        words = found.words if found else []
        kept, _ = drop_unspoken(
            words, [], bool(found) and found.no_speech > options.no_speech, options.sentences
        )
        assert kept == []
        assert found is None or words, "what is dropped was written"
