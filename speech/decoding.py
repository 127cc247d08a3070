"""Whisper over stretches of a sound: the encoder in bfloat16, the decoder in batches, a time for each word."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
from speech.audio import SAMPLE_RATE
from speech.models import SpeechModel, has_fast_bf16
from speech.sentences import SentenceOptions, Word

OPENING_MARKS = "\"'“¿([{-"
CLOSING_MARKS = "\"'.。,，!！?？:：”)]}、"
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


def check(model: SpeechModel, options: TranscribeOptions) -> None:
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


class Decoder:
    """One pass of Whisper over a sound: its decoding options and, once known, language."""

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
