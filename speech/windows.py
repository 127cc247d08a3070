"""Windows of audio: a long track in parts that fit into memory, each cut into chunks that fit Whisper."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from whisper.audio import CHUNK_LENGTH

from speech import vad
from speech.audio import SAMPLE_RATE, Audio
from speech.vad import FRAME_SAMPLES, FRAME_SECONDS, Segment, VADOptions

WINDOW_SECONDS = 300.0
# Seconds at the end of what was read that VAD may not have told apart from silence yet.
UNDECIDED_SECONDS = 2.0


@dataclass(frozen=True, eq=False)
class Window:
    """A part of an audio track. `chunks` and `speech` are in seconds from the part's first sample.

    `chunks`: speech segments with a margin, joined up to 30 s, for Whisper. `speech`: the segments without a margin.
    """

    audio: Audio
    chunks: list[Segment]
    speech: list[Segment]


def windows(
    pieces: Iterable[Audio],
    options: VADOptions,
    longest_silence: float,
    *,
    seconds: float = WINDOW_SECONDS,
) -> Iterator[Window]:
    """Windows of about `seconds`, and one of what is left, over pieces that follow each other.

    No window ends within a chunk: the chunks of all windows are those of the whole track. A window may be longer than
    `seconds` by a piece and a chunk. A piece's problems are in the first window that is given after it was read. Of
    the audio before a window only the VAD probabilities are kept, half a megabyte an hour. Raises SpeechModelError.
    """
    stream = vad.StreamingVAD()
    samples, probabilities = np.zeros(0, np.float32), np.zeros(0, np.float32)
    no_margin = dataclasses.replace(options, margin=0.0)
    given = 0  # samples in the windows before; `samples` begin here
    origin, declared, problems = None, None, []

    def read_on(*, last: bool) -> None:
        nonlocal probabilities
        # Probabilities begin at the start of the track, samples where the last window ended: the difference tells
        # which samples the network has not seen. Only at the end may it see a part of a frame.
        unseen = samples[len(probabilities) * FRAME_SAMPLES - given :]
        size = len(unseen) if last else len(unseen) // FRAME_SAMPLES * FRAME_SAMPLES
        probabilities = np.concatenate([probabilities, stream(unseen[:size])])

    def chunks_left(end: float) -> list[Segment]:
        # All segments are found anew from the start of the track. VAD has a memory (speech that fades belongs to what
        # came before), so that cutting first and finding later would give other segments.
        segments = vad.speech_segments(probabilities, end, options)
        first = given / SAMPLE_RATE
        found = chunks(segments, probabilities, longest_silence)
        return [(max(a, first), b) for a, b in found if a >= first - FRAME_SECONDS]

    def window(size: int, end: float, found: list[Segment]) -> Window:
        first = given / SAMPLE_RATE
        speech = [(a - first, b - first) for a, b in vad.speech_segments(probabilities, end, no_margin)]
        return Window(
            Audio(samples[:size], (origin or 0.0) + first, tuple(problems), declared),
            [(a - first, b - first) for a, b in found],
            [(a, b) for a, b in speech if b > 0 and a < size / SAMPLE_RATE],
        )

    for piece in pieces:
        origin = piece.start if origin is None else origin
        declared = piece.declared_seconds
        problems += piece.problems
        samples = np.concatenate([samples, piece.samples])
        read_on(last=False)
        if len(samples) < seconds * SAMPLE_RATE:
            continue
        end = len(probabilities) * FRAME_SECONDS
        found = chunks_left(end)
        # Up to here no later sample can change what is speech. A last chunk that reaches it, or that later speech may
        # be joined to, is left whole to the next window.
        decided = end - UNDECIDED_SECONDS - options.margin - options.shortest_speech
        may_grow = bool(found) and found[-1][1] + longest_silence >= decided
        size = int((found.pop()[0] if may_grow else decided) * SAMPLE_RATE) - given
        if size > 0:
            yield window(size, end, found)
            samples, problems = samples[size:].copy(), []
            given += size
    read_on(last=True)
    end = (given + len(samples)) / SAMPLE_RATE
    yield window(len(samples), end, chunks_left(end))


def chunks(segments: Sequence[Segment], probabilities: np.ndarray, longest_silence: float) -> list[Segment]:
    """Speech segments, in seconds, joined or cut into chunks of at most the 30 s that Whisper reads at once.

    `probabilities`: [frames], from second 0 on. A silence above `longest_silence` seconds is in no chunk.
    """
    found: list[Segment] = []
    for start, end in segments:
        if found and end - found[-1][0] <= CHUNK_LENGTH and start - found[-1][1] <= longest_silence:
            found[-1] = (found[-1][0], end)
            continue
        while end - start > CHUNK_LENGTH:
            # Speech without a pause is cut where it is least certain, but not so early that chunks become short.
            cut = _quietest(probabilities, start + CHUNK_LENGTH * 2 / 3, start + CHUNK_LENGTH)
            found.append((start, cut))
            start = cut
        found.append((start, end))
    return found


def _quietest(probabilities: np.ndarray, start: float, end: float) -> float:
    first, last = (int(time / FRAME_SECONDS) for time in (start, end))
    return (first + int(np.argmin(probabilities[first:last]))) * FRAME_SECONDS
