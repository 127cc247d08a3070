"""Sentences that Whisper is known to write over silence and music, dropped where nobody speaks them.

Whisper learned them from captions of videos: thanks and farewells, and the credits of those who made the captions
(Koenecke et al. 2024, "Careless Whisper"; https://github.com/openai/whisper/discussions/928).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from speech.sentences import SentenceOptions, Word, sentences
from speech.vad import Segment

HEARD_SHARE = 1 / 3
"""A sentence is spoken if VAD finds speech in so much of its time: Whisper's alignment gives it the silence beside."""
LOG_PROBABILITY = -0.5
"""Of a word on average, below which Whisper is unsure. Clear speech had -0.05 to -0.44 a token, what tiny.en wrote over
silence, noise, tones and chords -0.64 to -1.93 (docs/decisions.md)."""

SENTENCES = """
you | thank you | thank you very much | thank you so much | thanks | thanks for watching | thank you for watching
thank you for watching this video | thanks for listening | thank you for listening | bye | bye bye | goodbye
please subscribe | please subscribe to my channel | see you next time | see you in the next video | the end
vielen dank | vielen dank fürs zuschauen | danke | danke fürs zuschauen | tschüss | bis zum nächsten mal
merci | merci d'avoir regardé cette vidéo | gracias | gracias por ver el video | gracias por ver | grazie
grazie per la visione | obrigado | obrigada | bedankt voor het kijken | dziękuję | dziękuję za uwagę | dziękuje za uwagę
продолжение следует | спасибо за просмотр | дякую за перегляд | teşekkürler | izlediğiniz için teşekkürler
ご視聴ありがとうございました | ありがとうございました | 谢谢观看 | 謝謝觀看 | 시청해주셔서 감사합니다
"""
CREDITS = """
subtitles by | subtitles made by | subtitled by | captions by | captioned by | captioning by | transcribed by
transcription by | transcript by | translated by | untertitel von | untertitel der | untertitel im auftrag
untertitelung | sous-titrage | sous-titres par | sous-titres réalisés | sous-titres fait | subtítulos por
subtítulos realizados | legendas pela | legendas por | sottotitoli creati | sottotitoli a cura | sottotitoli e revisione
ondertitels ingediend | ondertiteling door | napisy stworzone | napisy wykonane | субтитры создавал | субтитры сделал
субтитры делал | редактор субтитров | altyazı m.k | 字幕由 | 字幕志愿者
"""


def _key(text: str) -> str:
    """The letters and digits of a text: case, spaces and marks do not tell phrases apart."""
    return "".join(filter(str.isalnum, text.casefold()))


_WHOLE = frozenset(_key(text) for line in SENTENCES.split("\n") for text in line.split("|")) - {""}
_BEGINNINGS = tuple(_key(text) for line in CREDITS.strip().split("\n") for text in line.split("|"))


def is_silent_phrase(text: str) -> bool:
    """True for a sentence that Whisper is known to write where nobody speaks."""
    key = _key(text)
    return key in _WHOLE or key.startswith(_BEGINNINGS)


def drop_unspoken(
    words: Sequence[Word], speech: Sequence[Segment], unsure: bool, options: SentenceOptions
) -> tuple[list[Word], list[str]]:
    """The words of a chunk without known phrases that nobody speaks, and the text of the sentences dropped.

    A phrase is dropped where VAD's ``speech`` segments cover too little of its time, and Whisper is ``unsure`` that the
    chunk holds speech or of the words. Times are those of Whisper's alignment, not yet cut to the speech.
    """
    kept: list[Word] = []
    dropped: list[str] = []
    for sentence in sentences(words, options):
        unsure_of_it = unsure or _log_probability(sentence.words) < LOG_PROBABILITY
        unspoken = _share(sentence.start, sentence.end, speech) < HEARD_SHARE
        if unsure_of_it and unspoken and is_silent_phrase(sentence.text):
            dropped.append(sentence.text)
        else:
            kept += sentence.words
    return kept, dropped


def _log_probability(words: Sequence[Word]) -> float:
    return sum(math.log(max(word.probability or 0.0, 1e-9)) for word in words) / len(words)


def _share(start: float, end: float, speech: Sequence[Segment]) -> float:
    """The share of the time from ``start`` to ``end`` in seconds that is speech."""
    covered = sum(max(0.0, min(end, last) - max(start, first)) for first, last in speech)
    return covered / (end - start) if end > start else float(any(a <= start < b for a, b in speech))


def note(dropped: Sequence[str]) -> str:
    """What was dropped, for people."""
    shown = ", ".join(f'"{text}"' for text in dict.fromkeys(dropped))
    count = "1 sentence" if len(dropped) == 1 else f"{len(dropped)} sentences"
    return f"{count} that nobody speaks {'was' if len(dropped) == 1 else 'were'} dropped: {shown}"
