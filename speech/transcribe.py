"""Transcription: audio to sentences with times, by VAD, Whisper and the cutting of sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import whisper

from speech import silent_phrases
from speech.audio import Audio
from speech.decoding import Decoder, TranscribeOptions, check
from speech.hallucination_loops import remove_loops
from speech.models import SpeechModel, load
from speech.sentences import LEAST_CONFIDENCE, Transcript, Word, sentences
from speech.vad import Segment
from speech.windows import WINDOW_SECONDS, Window, windows

__all__ = ["SpeechModel", "TranscribeOptions", "load", "spoken_language", "transcribe"]

# A word may begin this long before its speech segment, so that no soft beginning is lost, but not end after it: on real
# narration VAD begins with the speech (within 0.01 s) and ends 0.05 to 0.11 s after it.
SOFT_BEGINNING = 0.1
LISTENING_SECONDS = 45.0
"""A stretch of sound in which the spoken language is looked for."""
LEAST_WORDS = 5
"""Words that tell a language, at least."""


def transcribe(
    audio: Audio | Iterable[Audio],
    model: SpeechModel,
    options: TranscribeOptions | None = None,
    *,
    progress: Callable[[float, float], None] | None = None,
    window: float = WINDOW_SECONDS,
) -> Transcript:
    """The transcript of `audio`, whole or in pieces that follow each other, from the file's start.

    The audio is read in windows of about `window` seconds, so that memory does not grow with its length, and cut at
    silences into chunks of at most 30 s. Each chunk is decoded without the text before it. `progress` is called with
    the seconds done and the seconds in all. Raises SpeechModelError, and what the pieces raise.
    """
    options = options or TranscribeOptions()
    check(model, options)
    decoder = Decoder(model.whisper, options)
    transcribed = _Transcribed()
    pieces = [audio] if isinstance(audio, Audio) else audio
    for part in windows(pieces, options.activity, options.longest_silence, seconds=window):
        done = transcribed.seconds
        declared = part.audio.declared_seconds or 0.0

        def report(seconds: float, done: float = done, declared: float = declared) -> None:
            # A file may be longer than it declares: never more is done than there is in all.
            if progress:
                progress(done + seconds, max(declared, done + seconds))

        transcribed.append(_transcribe_window(decoder, part, options, report))
    if progress:
        progress(transcribed.seconds, transcribed.seconds)
    return Transcript(
        decoder.language,
        _source(model, options, transcribed),
        sentences(transcribed.words, options.sentences),
        transcribed.notes(),
    )


def spoken_language(pieces: Iterable[Audio], model: SpeechModel) -> str | None:
    """The language of the first :data:`LISTENING_SECONDS` of speech, None where the model does not understand them.

    A model that knows English alone understands English. Raises what the pieces raise.
    """
    options = TranscribeOptions(beam_size=0)
    decoder = Decoder(model.whisper, options)
    for part in windows(pieces, options.activity, options.longest_silence, seconds=LISTENING_SECONDS):
        heard = _transcribe_window(decoder, part, options, lambda _: None).words
        if heard:
            sure = float(np.mean([word.probability for word in heard]))
            return decoder.language if len(heard) >= LEAST_WORDS and sure >= LEAST_CONFIDENCE else None
    return None


@dataclass
class _Transcribed:
    """The result for the audio so far, or for one window.

    `words`: with times from the file's start. `problems`: those of the audio. `seconds`: its length. `chunks`:
    how many were decoded. `silent`: how many of these held no words. `looped`: words dropped from hallucination loops.
    `unspoken`: sentences dropped that nobody speaks.
    """

    words: list[Word] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    chunks: int = 0
    silent: int = 0
    looped: int = 0
    unspoken: list[str] = field(default_factory=list)

    def append(self, following: _Transcribed) -> None:
        for name in ("words", "problems", "seconds", "chunks", "silent", "looped", "unspoken"):
            setattr(self, name, getattr(self, name) + getattr(following, name))

    def notes(self) -> tuple[str, ...]:
        """Remarks for a person. They are part of the stored transcript, so their wording stays."""
        notes = list(self.problems)
        if not self.chunks:
            notes.append("no speech found")
        elif not self.words:
            notes.append("no speech found: sounds like speech, but no words were understood")
        if self.silent and self.words:
            notes.append(f"{self.silent} of {self.chunks} stretches that sound like speech held no words")
        if self.looped:
            notes.append(f"{self.looped} repeated words dropped")
        if self.unspoken:
            notes.append(silent_phrases.note(self.unspoken))
        return tuple(notes)


def _transcribe_window(
    decoder: Decoder, window: Window, options: TranscribeOptions, progress: Callable[[float], None]
) -> _Transcribed:
    audio, chunks = window.audio, window.chunks
    result = _Transcribed([], list(audio.problems), audio.seconds, len(chunks))
    words: list[Word] = []
    with torch.inference_mode():
        for first in range(0, len(chunks), options.batch):
            batch = chunks[first : first + options.batch]
            for (start, end), found in zip(batch, decoder.transcribe(audio.samples, batch), strict=True):
                result.silent += found is None
                kept, dropped = remove_loops(found.words if found else [])
                result.looped += dropped
                within = [segment for segment in window.speech if segment[0] < end and segment[1] > start]
                unsure = found is not None and found.no_speech > options.no_speech
                kept, unspoken = silent_phrases.drop_unspoken(kept, within, unsure, options.sentences)
                result.unspoken += unspoken
                words += [_within_speech(word, within) for word in kept]
            progress(min(batch[-1][1], audio.seconds))
    progress(audio.seconds)
    result.words = _on_timeline(words, audio)
    return result


def _within_speech(word: Word, speech: Sequence[Segment]) -> Word:
    """The word, cut to the speech segment that it overlaps most: Whisper's alignment gives words the silence beside."""
    overlaps = [(min(word.end, end) - max(word.start, start), start, end) for start, end in speech]
    overlap, start, end = max(overlaps, default=(0, 0, 0))
    if overlap <= 0:
        return word
    return dataclasses.replace(word, start=max(word.start, start - SOFT_BEGINNING), end=min(word.end, end))


def _on_timeline(words: Sequence[Word], audio: Audio) -> list[Word]:
    """Words in seconds from the first sample, shifted to the file's clock and rounded to milliseconds.

    The times are within the audio and in order: cutting to speech segments may have moved a start before the end of the
    word before.
    """
    shifted, earliest = [], audio.start
    for word in words:
        start = min(max(audio.start + word.start, earliest), audio.end)
        end = min(max(audio.start + word.end, start), audio.end)
        earliest = end
        probability = None if word.probability is None else round(word.probability, 4)
        shifted.append(Word(round(start, 3), round(end, 3), word.text, probability))
    return shifted


def _source(model: SpeechModel, options: TranscribeOptions, transcribed: _Transcribed) -> dict:
    """What the transcript was made with; `confidence` is the mean probability of its words.

    `unspoken`: sentences that were dropped, as nobody speaks them; only where there are any.
    """
    words = transcribed.words
    made = {
        "kind": "whisper",
        "model": model.name,
        "sha256": model.sha256,
        "options": dataclasses.asdict(options),
        "version": whisper.__version__,
        "confidence": round(float(np.mean([word.probability for word in words])), 4) if words else None,
    }
    return made | ({"unspoken": transcribed.unspoken} if transcribed.unspoken else {})
