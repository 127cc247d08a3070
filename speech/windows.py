"""A long sound in windows that fit into memory, cut between the stretches that Whisper is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from whisper.audio import CHUNK_LENGTH

from speech import activity
from speech.activity import FRAME_SAMPLES, FRAME_SECONDS, ActivityOptions
from speech.audio import SAMPLE_RATE, Sound

WINDOW_SECONDS = 300.0
# More than any speech that activity may not have told apart from silence yet.
LEFT_FOR_LATER = 2.0


Regions = list[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a sound with its stretches for Whisper and, not widened, where speech is.

    Both in seconds from the part's start.
    """

    sound: Sound
    stretches: Regions
    voiced: Regions


def windows(
    pieces: Iterable[Sound],
    options: ActivityOptions,
    longest_silence: float,
    *,
    seconds: float = WINDOW_SECONDS,
) -> Iterator[Window]:
    """The sound that `pieces` make, one after the other, in windows of about `seconds` and one of what is left.

    Each window ends where a stretch begins or nobody speaks: the stretches in the windows are those of the whole.
    Problems of a piece stand in the window after which it is read. Of what was heard before only the probabilities are kept, half a megabyte an hour.
    """
    listen = activity.Listener()
    samples, probabilities = np.zeros(0, np.float32), np.zeros(0, np.float32)
    narrow = dataclasses.replace(options, margin=0.0)
    given = 0
    origin, declared, problems = None, None, []

    def window(size: int, end: float, found: Regions) -> Window:
        first, start = given / SAMPLE_RATE, origin or 0.0
        voiced = [(a - first, b - first) for a, b in activity.regions(probabilities, end, narrow)]
        return Window(
            Sound(samples[:size], start + first, tuple(problems), declared),
            [(a - first, b - first) for a, b in found],
            [(a, b) for a, b in voiced if b > 0 and a < size / SAMPLE_RATE],
        )

    for piece in pieces:
        origin = piece.start if origin is None else origin
        declared = piece.declared_seconds
        problems += piece.problems
        samples = np.concatenate([samples, piece.samples])
        fresh = samples[len(probabilities) * FRAME_SAMPLES - given :]
        whole = len(fresh) // FRAME_SAMPLES * FRAME_SAMPLES
        probabilities = np.concatenate([probabilities, listen(fresh[:whole])])
        if len(samples) < seconds * SAMPLE_RATE:
            continue
        end = len(probabilities) * FRAME_SECONDS
        found = _left(
            stretches(activity.regions(probabilities, end, options), probabilities, longest_silence), given
        )
        over = end - LEFT_FOR_LATER - options.margin - options.shortest_speech
        goes_on = bool(found) and found[-1][1] + longest_silence >= over
        size = int((found.pop()[0] if goes_on else over) * SAMPLE_RATE) - given
        if size > 0:
            yield window(size, end, found)
            samples, problems = samples[size:].copy(), []
            given += size
    fresh = samples[len(probabilities) * FRAME_SAMPLES - given :]
    probabilities = np.concatenate([probabilities, listen(fresh)])
    end = (given + len(samples)) / SAMPLE_RATE
    found = stretches(activity.regions(probabilities, end, options), probabilities, longest_silence)
    yield window(len(samples), end, _left(found, given))


def _left(found: Regions, given: int) -> Regions:
    """The stretches that lie in none of the windows before."""
    first = given / SAMPLE_RATE
    return [(max(a, first), b) for a, b in found if a >= first - FRAME_SECONDS]


def stretches(
    spoken: Sequence[tuple[float, float]], probability: np.ndarray, longest_silence: float
) -> Regions:
    """Neighbouring speech regions joined into stretches that fit Whisper's window of 30 s."""
    found: Regions = []
    for start, end in spoken:
        if found and end - found[-1][0] <= CHUNK_LENGTH and start - found[-1][1] <= longest_silence:
            found[-1] = (found[-1][0], end)
            continue
        while end - start > CHUNK_LENGTH:
            cut = _quietest(probability, start + CHUNK_LENGTH * 2 / 3, start + CHUNK_LENGTH)
            found.append((start, cut))
            start = cut
        found.append((start, end))
    return found


def _quietest(probability: np.ndarray, start: float, end: float) -> float:
    first, last = (int(time / activity.FRAME_SECONDS) for time in (start, end))
    return (first + int(np.argmin(probability[first:last]))) * activity.FRAME_SECONDS
