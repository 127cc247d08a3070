"""What is said in a sound, and when: Whisper over the stretches in which somebody speaks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import whisper

from speech.audio import Sound
from speech.decoding import LANGUAGES, Decoder, TranscribeError, TranscribeOptions, check
from speech.models import SpeechModel, SpeechModelError, load
from speech.repetition import without_repetition
from speech.sentences import Transcript, Word, sentences
from speech.windows import WINDOW_SECONDS, Window, windows

__all__ = [
    "LANGUAGES",
    "SpeechModel",
    "SpeechModelError",
    "TranscribeError",
    "TranscribeOptions",
    "load",
    "transcribe",
]

# A word may begin this long before voice is found, so that no soft beginning is lost, but not end after it: on real
# narration voice activity begins with the sound (within 0.01 s) and ends 0.05 to 0.11 s after it.
SOFT_BEGINNING = 0.1


def transcribe(
    sound: Sound | Iterable[Sound],
    model: SpeechModel,
    options: TranscribeOptions | None = None,
    *,
    progress: Callable[[float, float], None] | None = None,
    window: float = WINDOW_SECONDS,
) -> Transcript:
    """The words of `sound`, whole or in pieces that follow each other, as sentences on the container's timeline.

    It is heard in windows of about `window` seconds, so that memory does not grow with its length, and cut at silences
    into stretches of at most 30 s; each is decoded once, without earlier text.
    `progress` is called with the seconds done and the seconds in all. Raises TranscribeError.
    """
    options = options or TranscribeOptions()
    check(model, options)
    run = Decoder(model.whisper, options)
    heard = Heard()
    pieces = [sound] if isinstance(sound, Sound) else sound
    for part in windows(pieces, options.activity, options.longest_silence, seconds=window):
        done = heard.seconds

        def report(
            seconds: float, done: float = done, total: float = part.sound.declared_seconds or 0.0
        ) -> None:
            if progress:
                progress(done + seconds, max(total, done + seconds))

        heard.add(part.sound, *_hear(run, part, options, report))
    if progress:
        progress(heard.seconds, heard.seconds)
    return Transcript(
        run.language,
        _source(model, options, heard.words),
        sentences(heard.words, options.sentences),
        heard.notes(),
    )


@dataclass
class Heard:
    """What was heard so far; `words` with times on the container's timeline."""

    words: list[Word] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    stretches: int = 0
    silent: int = 0
    repeated: int = 0

    def add(self, sound: Sound, words: Sequence[Word], stretches: int, silent: int, repeated: int) -> None:
        """A window that follows: its words in seconds from its start, and what of it was dropped."""
        self.words += _on_timeline(words, sound)
        self.problems += sound.problems
        self.seconds += sound.seconds
        self.stretches += stretches
        self.silent += silent
        self.repeated += repeated

    def notes(self) -> tuple[str, ...]:
        notes = list(self.problems)
        if not self.stretches:
            notes.append("no speech found")
        elif not self.words:
            notes.append("no speech found: sounds like speech, but no words were understood")
        if self.silent and self.words:
            notes.append(f"{self.silent} of {self.stretches} stretches that sound like speech held no words")
        if self.repeated:
            notes.append(f"{self.repeated} repeated words dropped")
        return tuple(notes)


def _hear(
    run: Decoder, part: Window, options: TranscribeOptions, progress: Callable[[float], None]
) -> tuple[list[Word], int, int, int]:
    """The words of a window, its number of stretches, how many of these held no words, and words dropped."""
    sound, cut, voiced = part.sound, part.stretches, part.voiced
    heard: list[Word] = []
    repeated = silent = 0
    with torch.inference_mode():
        for first in range(0, len(cut), options.batch):
            batch = cut[first : first + options.batch]
            for (start, end), words in zip(batch, run.hear(sound.samples, batch), strict=True):
                silent += words is None
                kept, dropped = without_repetition(words or [])
                repeated += dropped
                within = [region for region in voiced if region[0] < end and region[1] > start]
                heard += [_within_speech(word, within) for word in kept]
            progress(batch[-1][1])
    progress(sound.seconds)
    return heard, len(cut), silent, repeated


def _within_speech(word: Word, voiced: Sequence[tuple[float, float]]) -> Word:
    """The word without the silence that the alignment gave it."""
    overlaps = [(min(word.end, end) - max(word.start, start), start, end) for start, end in voiced]
    overlap, start, end = max(overlaps, default=(0, 0, 0))
    if overlap <= 0:
        return word
    return dataclasses.replace(word, start=max(word.start, start - SOFT_BEGINNING), end=min(word.end, end))


def _on_timeline(words: Sequence[Word], sound: Sound) -> list[Word]:
    """Shifted by the sound's start, in order, within the sound, in whole milliseconds."""
    placed, earliest = [], sound.start
    for word in words:
        start = min(max(sound.start + word.start, earliest), sound.end)
        end = min(max(sound.start + word.end, start), sound.end)
        earliest = end
        placed.append(
            Word(
                round(start, 3),
                round(end, 3),
                word.text,
                None if word.probability is None else round(word.probability, 4),
            )
        )
    return placed


def _source(model: SpeechModel, options: TranscribeOptions, words: Sequence[Word]) -> dict:
    return {
        "kind": "whisper",
        "model": model.name,
        "sha256": model.sha256,
        "options": dataclasses.asdict(options),
        "version": whisper.__version__,
        "confidence": round(float(np.mean([word.probability for word in words])), 4) if words else None,
    }
