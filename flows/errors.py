"""Owns the list of errors that are for people: what was asked for cannot be done, and the message says why in one line."""

from multimodal.intake.sandbox import SandboxError
from multimodal.store import InputError
from multimodal.training.train_step import DivergedError
from multimodal.weights.fetching import WeightsError
from speech.errors import SpeechError, SpeechModelError
from vision.backbones import BackboneError
from vision.codebook import CodebookError
from vision.containers import MediaError

PART_MISSING = (InputError, WeightsError, SpeechModelError, BackboneError)
"""No video can be taken in before the person has chosen otherwise."""

FOR_PEOPLE = (
    *PART_MISSING, DivergedError, CodebookError, SpeechError, MediaError, SandboxError,
)  # fmt: skip
