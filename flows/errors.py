"""Owns the list of errors that are for people: what was asked for cannot be done, and the message says why in one line."""

from multimodal.intake.sandbox import SandboxError
from multimodal.store import InputError
from multimodal.training.train_step import DivergedError
from multimodal.weights.fetching import WeightsError
from speech.activity import ActivityError
from speech.audio import AudioError
from speech.captions import CaptionError
from speech.models import SpeechModelError
from speech.sentences import TranscriptError
from speech.transcribe import TranscribeError
from vision.backbones import BackboneError
from vision.codebook import CodebookError
from vision.containers import MediaError

PART_MISSING = (InputError, WeightsError, SpeechModelError, TranscribeError, ActivityError, BackboneError)
"""No video can be taken in before the person has chosen otherwise."""

FOR_PEOPLE = (
    *PART_MISSING, DivergedError, CodebookError, TranscriptError, CaptionError, AudioError, MediaError, SandboxError,
)  # fmt: skip
