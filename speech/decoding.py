"""Whisper decoding: chunks of audio to words with times, the encoder in bfloat16, the decoder in batches."""

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
from whisper.tokenizer import Tokenizer, get_tokenizer

from speech.audio import SAMPLE_RATE
from speech.errors import SpeechModelError
from speech.languages import LANGUAGES
from speech.models import SpeechModel, has_fast_bf16
from speech.sentences import SentenceOptions, Word
from speech.vad import Segment, VADOptions

OPENING_MARKS = "\"'“¿([{-"
CLOSING_MARKS = "\"'.。,，!！?？:：”)]}、"
LANGUAGES_WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


@dataclass(frozen=True)
class TranscribeOptions:
    """How Whisper decodes. Greedy, so that the same audio gives the same words.

    `language`: a code such as "de"; None means English for an English model, else the language that the model detects.
    `longest_silence`: a longer silence, in seconds, is never given to Whisper, which invents words for it. `beam_size`:
    beams of a second try for a chunk whose greedy text repeats (it compresses more than `compression_ratio` times) or
    is improbable (mean log-probability per token below `log_probability`); 0 for no second try. A chunk whose
    probability of no speech is above `no_speech` and whose text is improbable is left out; this and the thresholds are
    those of Radford et al. 2022, section 4.5. `bf16_encoder`: the encoder runs in bfloat16, 1.9 times as fast where the
    CPU multiplies it in hardware, and the default there; it changes less than one word in a hundred. `batch`: chunks of
    at most 30 s decoded together. `activity`: the options of VAD. Raises SpeechModelError.
    """

    language: str | None = None
    longest_silence: float = 2.0
    no_speech: float = 0.6
    log_probability: float = -1.0
    compression_ratio: float = 2.4
    beam_size: int = 5
    bf16_encoder: bool = field(default_factory=has_fast_bf16)
    batch: int = 8
    activity: VADOptions = field(default_factory=VADOptions)
    sentences: SentenceOptions = field(default_factory=SentenceOptions)

    def __post_init__(self):
        if self.batch < 1:
            raise SpeechModelError(f"batch={self.batch}: must be at least 1")
        if self.beam_size < 0:
            raise SpeechModelError(f"beam_size={self.beam_size}: must be 0 (no second try) or more")
        if not 0 < self.longest_silence < CHUNK_LENGTH:
            raise SpeechModelError(
                f"longest_silence={self.longest_silence}: must be above 0 and below {CHUNK_LENGTH} seconds"
            )


def check(model: SpeechModel, options: TranscribeOptions) -> None:
    """Raises SpeechModelError where the model does not know the language of the options."""
    language = options.language
    if language is None:
        return
    if language not in LANGUAGES:
        raise SpeechModelError(
            f"language={language!r}: Whisper has no such language; give a code such as 'en' or 'de'"
        )
    if language != "en" and not model.whisper.is_multilingual:
        raise SpeechModelError(
            f"language={language!r}: {model.name} knows English only; choose a model without '.en'"
        )


@dataclass(frozen=True)
class Decoded:
    """The words of a chunk, and the probability that nobody speaks in it, as Whisper's first token has it."""

    words: list[Word]
    no_speech: float


class Decoder:
    """Whisper over the chunks of one audio track. `language` is None until it is detected in the first batch."""

    def __init__(self, model: whisper.Whisper, options: TranscribeOptions):
        self.model = model
        self.options = options
        self.language = options.language or (None if model.is_multilingual else "en")
        self.dtype = torch.float16 if model.device.type == "cuda" else torch.float32

    def transcribe(self, samples: np.ndarray, chunks: Sequence[Segment]) -> list[Decoded | None]:
        """Each chunk decoded, or None where Whisper finds no speech in it.

        `samples`: float32 [n] at 16 kHz. `chunks` and the words' times are in seconds from the first sample.
        """
        features = torch.cat([self._encode(samples, *chunk) for chunk in chunks])
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
            None
            if self._is_silence(result)
            else Decoded(self._words(result, encoded, chunk, tokenizer), result.no_speech_prob)
            for result, encoded, chunk in zip(results, features, chunks, strict=True)
        ]

    def _encode(self, samples: np.ndarray, start: float, end: float) -> Tensor:
        """The encoder's output for a chunk, filled up with zeros to 30 s: [1, 1500, state]."""
        part = torch.from_numpy(samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)])
        mel = log_mel_spectrogram(part.to(self.model.device), self.model.dims.n_mels)
        mel = pad_or_trim(mel, N_FRAMES)[None].to(self.dtype)
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.options.bf16_encoder):
            return self.model.encoder(mel).to(self.dtype)

    def _detect(self, features: Tensor) -> str:
        """The most probable language of all chunks of the batch together."""
        _, probabilities = self.model.detect_language(features)
        return max(probabilities[0], key=lambda code: sum(chunk[code] for chunk in probabilities))

    def _decode(self, features: Tensor) -> list[DecodingResult]:
        decoding = DecodingOptions(
            language=self.language, without_timestamps=True, fp16=self.dtype == torch.float16
        )
        results = self.model.decode(features, decoding)
        if not self.options.beam_size:
            return results
        beams = dataclasses.replace(decoding, beam_size=self.options.beam_size)
        for n, result in enumerate(results):
            if self._needs_retry(result) and not self._is_silence(result):
                # One at a time: whisper's beam search takes a single chunk only.
                second = self.model.decode(features[n], beams)
                results[n] = max(result, second, key=self._preference)
        return results

    def _repeats(self, result: DecodingResult) -> bool:
        return result.compression_ratio > self.options.compression_ratio

    def _preference(self, result: DecodingResult) -> tuple[bool, float]:
        # Improbable text comes before text that repeats: a loop is the most probable text of all.
        return not self._repeats(result), result.avg_logprob

    def _needs_retry(self, result: DecodingResult) -> bool:
        return self._repeats(result) or result.avg_logprob < self.options.log_probability

    def _is_silence(self, result: DecodingResult) -> bool:
        return (
            result.no_speech_prob > self.options.no_speech
            and result.avg_logprob < self.options.log_probability
        )

    def _words(
        self, result: DecodingResult, encoded: Tensor, chunk: Segment, tokenizer: Tokenizer
    ) -> list[Word]:
        """The words of a chunk with times by the decoder's cross-attention and dynamic time warping.

        `encoded`: the encoder's output, [1500, state].
        """
        start, end = chunk
        text_tokens = [token for token in result.tokens if token < tokenizer.eot]
        frames = min(N_FRAMES, round((end - start) * FRAMES_PER_SECOND))
        # The encoder has run already: its output goes where whisper's aligner expects a spectrogram. The aligner's
        # first loop in numba sets OpenMP's number of threads to all cores, and with it torch's, which is put back.
        threads = torch.get_num_threads()
        timings = find_alignment(_Encoded(self.model, encoded), tokenizer, text_tokens, encoded, frames)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        # Punctuation is a word of its own for the aligner; here it joins the word that it belongs to.
        merge_punctuations(timings, OPENING_MARKS, CLOSING_MARKS)
        words: list[Word] = []
        for timing in timings:
            text = timing.word.strip()
            if not text:
                continue
            word = Word(
                start + float(timing.start), start + float(timing.end), text, float(timing.probability)
            )
            # Whisper cuts "3.5" and "self-made" in two. Only a part with a space before it is a new word, except in
            # languages that are written without spaces.
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
    """A Whisper whose encoder has already run: the part of its interface that whisper's aligner uses.

    `features`: the encoder's output, [1500, state].
    """

    def __init__(self, model: whisper.Whisper, features: Tensor):
        self.dims, self.device, self.decoder = model.dims, model.device, model.decoder
        self.alignment_heads = model.alignment_heads
        self._features = features

    def __call__(self, _mel: Tensor, tokens: Tensor) -> Tensor:
        return self.decoder(tokens, self._features[None])
