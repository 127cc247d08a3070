"""Owns the list of errors that are for people: what was asked for cannot be done, and the message says why in one line."""

from multimodal.intake.sandbox import SandboxError
from multimodal.store import InputError
from multimodal.training.train_step import DivergedError
from multimodal.weights.fetching import WeightsError
from speech.errors import SpeechError, SpeechModelError
from vision.errors import ModelError, VisionError

PART_MISSING = (InputError, WeightsError, SpeechModelError, ModelError)
"""No video can be taken in before the person has chosen otherwise."""

FOR_PEOPLE = (
    *PART_MISSING, DivergedError, SpeechError, VisionError, SandboxError,
)  # fmt: skip
