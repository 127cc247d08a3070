"""Errors of the speech package. Their messages are one line for a person: place, value, rule, remedy."""


class SpeechError(ValueError):
    """An audio track, caption file or transcript that cannot be read. Base class of the package's errors."""


class SpeechModelError(SpeechError):
    """A Whisper model, VAD weights or decoding options that cannot be used, whatever the input is."""
