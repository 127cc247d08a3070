"""What is said in a sound, and when: Whisper over the stretches in which somebody speaks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import whisper
from torch import Tensor
from whisper.audio import CHUNK_LENGTH, FRAMES_PER_SECOND, N_FRAMES, log_mel_spectrogram, pad_or_trim
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.timing import find_alignment, merge_punctuations
from whisper.tokenizer import LANGUAGES, Tokenizer, get_tokenizer

from speech.activity import ActivityOptions
from speech.audio import SAMPLE_RATE, Sound
from speech.models import SpeechModel, SpeechModelError, has_fast_bf16, load
from speech.repetition import without_repetition
from speech.sentences import SentenceOptions, Transcript, Word, sentences
from speech.windows import WINDOW_SECONDS, Window, windows

__all__ = ["SpeechModel", "SpeechModelError", "TranscribeError", "TranscribeOptions", "load", "transcribe"]

OPENING_MARKS = "\"'“¿([{-"
CLOSING_MARKS = "\"'.。,，!！?？:：”)]}、"
# A word may begin this long before voice is found, so that no soft beginning is lost, but not end after it: on real
# narration voice activity begins with the sound (within 0.01 s) and ends 0.05 to 0.11 s after it.
SOFT_BEGINNING = 0.1
LANGUAGES_WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


class TranscribeError(ValueError):
    """Options that the model cannot follow."""


@dataclass(frozen=True)
class TranscribeOptions:
    """How Whisper is run. Greedy, hence the same sound gives the same words.

    `language`: a code such as "de"; None means English for an English model, else what the model detects.
    `longest_silence`: a silence of more seconds is never given to Whisper, which invents words for it.
    `beam_size`: beams of the second try for a stretch whose greedy words repeat (text compresses more than
    `compression_ratio` times) or are improbable (mean log-probability below `log_probability`); 0 for no second
    try. A stretch that Whisper calls silent (`no_speech`) and improbable is left out.
    `bf16_encoder`: run the encoder in bfloat16, 1.9 times as quick where the CPU multiplies it in hardware, and
    the default there. Of a hundred words it changes less than one.
    `batch`: stretches of at most 30 s decoded together.
    """

    language: str | None = None
    longest_silence: float = 2.0
    no_speech: float = 0.6
    log_probability: float = -1.0
    compression_ratio: float = 2.4
    beam_size: int = 5
    bf16_encoder: bool = field(default_factory=has_fast_bf16)
    batch: int = 8
    activity: ActivityOptions = field(default_factory=ActivityOptions)
    sentences: SentenceOptions = field(default_factory=SentenceOptions)

    def __post_init__(self):
        if self.batch < 1:
            raise TranscribeError(f"batch={self.batch}: must be at least 1")
        if self.beam_size < 0:
            raise TranscribeError(f"beam_size={self.beam_size}: must be 0 (no second try) or more")
        if not 0 < self.longest_silence < CHUNK_LENGTH:
            raise TranscribeError(
                f"longest_silence={self.longest_silence}: must be above 0 and below {CHUNK_LENGTH} seconds"
            )


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
    _check(model, options)
    run = _Run(model.whisper, options)
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
    run: _Run, part: Window, options: TranscribeOptions, progress: Callable[[float], None]
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


class _Run:
    """One pass of Whisper over a sound: its decoding options, tokenizer and, once known, language."""

    def __init__(self, model: whisper.Whisper, options: TranscribeOptions):
        self.model = model
        self.options = options
        self.language = options.language or (None if model.is_multilingual else "en")
        self.kind = torch.float16 if model.device.type == "cuda" else torch.float32

    def hear(self, samples: np.ndarray, stretches: Sequence[tuple[float, float]]) -> list[list[Word] | None]:
        """For each stretch its words, in seconds from the sound's start; None where Whisper hears no speech."""
        features = torch.cat([self._encode(samples, *stretch) for stretch in stretches])
        if self.language is None:
            self.language = self._detect(features)
        results = self._decode(features)
        tokenizer = get_tokenizer(
            self.model.is_multilingual,
            num_languages=self.model.num_languages,
            language=self.language,
            task="transcribe",
        )
        return [
            None if self._is_silence(result) else self._words(result, encoded, stretch, tokenizer)
            for result, encoded, stretch in zip(results, features, stretches, strict=True)
        ]

    def _encode(self, samples: np.ndarray, start: float, end: float) -> Tensor:
        """float [1, 1500, state]."""
        part = torch.from_numpy(samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)])
        mel = log_mel_spectrogram(part.to(self.model.device), self.model.dims.n_mels)
        mel = pad_or_trim(mel, N_FRAMES)[None].to(self.kind)
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.options.bf16_encoder):
            return self.model.encoder(mel).to(self.kind)

    def _detect(self, features: Tensor) -> str:
        _, each = self.model.detect_language(features)
        return max(each[0], key=lambda code: sum(stretch[code] for stretch in each))

    def _decode(self, features: Tensor) -> list[DecodingResult]:
        decoding = DecodingOptions(
            language=self.language, without_timestamps=True, fp16=self.kind == torch.float16
        )
        results = self.model.decode(features, decoding)
        again = [
            n for n, result in enumerate(results) if self._is_poor(result) and not self._is_silence(result)
        ]
        if again and self.options.beam_size:
            beams = dataclasses.replace(decoding, beam_size=self.options.beam_size)
            for n in again:
                # One at a time: whisper's beam search takes a single stretch only.
                second = self.model.decode(features[n], beams)
                results[n] = max(results[n], second, key=self._merit)
        return results

    def _repeats(self, result: DecodingResult) -> bool:
        return result.compression_ratio > self.options.compression_ratio

    def _merit(self, result: DecodingResult) -> tuple[bool, float]:
        return not self._repeats(result), result.avg_logprob

    def _is_poor(self, result: DecodingResult) -> bool:
        return self._repeats(result) or result.avg_logprob < self.options.log_probability

    def _is_silence(self, result: DecodingResult) -> bool:
        return (
            result.no_speech_prob > self.options.no_speech
            and result.avg_logprob < self.options.log_probability
        )

    def _words(
        self, result: DecodingResult, encoded: Tensor, stretch: tuple[float, float], tokenizer: Tokenizer
    ) -> list[Word]:
        start, end = stretch
        text_tokens = [token for token in result.tokens if token < tokenizer.eot]
        frames = min(N_FRAMES, round((end - start) * FRAMES_PER_SECOND))
        # The encoder has run: the alignment needs its features only, in place of a spectrogram. Its first loop in numba
        # takes every core for OpenMP, and with it for torch.
        threads = torch.get_num_threads()
        timings = find_alignment(_Encoded(self.model, encoded), tokenizer, text_tokens, encoded, frames)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        merge_punctuations(timings, OPENING_MARKS, CLOSING_MARKS)
        words: list[Word] = []
        for timing in timings:
            text = timing.word.strip()
            if not text:
                continue
            word = Word(
                start + float(timing.start), start + float(timing.end), text, float(timing.probability)
            )
            # Whisper cuts "3.5" and "self-made" in two; only a part with a space before it is a new word.
            joins = not timing.word.startswith(" ") and self.language not in LANGUAGES_WITHOUT_SPACES
            if words and joins:
                word = Word(
                    words[-1].start,
                    word.end,
                    words[-1].text + text,
                    min(words[-1].probability, word.probability),
                )
                words[-1] = word
            else:
                words.append(word)
        return words


class _Encoded:
    """A Whisper whose encoder has already run, as much of one as whisper's aligner asks for."""

    def __init__(self, model: whisper.Whisper, features: Tensor):
        self.dims, self.device, self.decoder = model.dims, model.device, model.decoder
        self.alignment_heads = model.alignment_heads
        self._features = features

    def __call__(self, _mel: Tensor, tokens: Tensor) -> Tensor:
        return self.decoder(tokens, self._features[None])


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


def _check(model: SpeechModel, options: TranscribeOptions) -> None:
    language = options.language
    if language is None:
        return
    if language not in LANGUAGES:
        raise TranscribeError(
            f"language={language!r}: Whisper has no such language; give a code such as 'en' or 'de'"
        )
    if language != "en" and not model.whisper.is_multilingual:
        raise TranscribeError(
            f"language={language!r}: {model.name} knows English only; choose a model without '.en'"
        )
