"""The outcomes of many videos: which failure of one stops the others, the counts, and whether anything can be used."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from multimodal.catalogue import Video
from multimodal.disk import out_of_space
from multimodal.intake.ingest import whole_recipe
from multimodal.intake.ingest_options import IngestOptions
from multimodal.intake.tries import Outcome, failed
from multimodal.machine import file_refused
from multimodal.names import listed
from multimodal.store import InputError
from speech.errors import SpeechModelError
from vision.errors import ModelError

CONCERNS_ALL = (InputError, SpeechModelError, ModelError)
"""Errors that every video would meet: an option or a model that cannot be used."""
REASONS_SHOWN = 3
LONGEST_REASON = 1000
log = logging.getLogger(__name__)


def outcome_of(result: Callable[[], Outcome], video: Video, options: IngestOptions) -> Outcome:
    """What ``result`` returns. An unexpected error of one video is logged and refuses that video alone; it counts as a try.

    Raises what concerns all videos: :data:`CONCERNS_ALL`, and a disk that is full or may not be written.
    """
    try:
        return result()
    except CONCERNS_ALL:
        raise
    except Exception as error:
        if out_of_space(error) or file_refused(error):
            raise
        log.exception("%r: could not be ingested", video.name)
        reason = f"{video.name}: an unexpected {type(error).__name__}: {str(error)[:LONGEST_REASON]}"
        return failed(video, reason, whole_recipe(video, options))


def counts(videos: Sequence[Video]) -> str:
    """``3 done, 1 refused``."""
    by_state = Counter(v.state for v in videos)
    return ", ".join(
        f"{by_state[state]} {state}" for state in ("done", "partial", "waiting", "refused") if by_state[state]
    )


def usable_digests(videos: Sequence[Video], sources: Sequence[Any]) -> list[str]:
    """The digests of the videos that can be used. Raises :class:`InputError` with the reasons where all are refused."""
    digests = [v.video for v in videos if v.state in ("done", "partial")]
    if videos and all(v.state == "refused" for v in videos):
        reasons = listed([v.reason for v in videos], REASONS_SHOWN, "; ")
        raise InputError(
            f"{', '.join(map(str, sources))}: no video can be used ({reasons}); give at least one that plays"
        )
    return digests
