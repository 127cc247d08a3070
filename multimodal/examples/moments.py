"""Moments of videos as a fine-tuned model reads them: single ones, and windows over a whole video.

A moment is ``[start, end)`` seconds with the words said in it and the visual tokens shown in it, a
:class:`~multimodal.segments.Segment`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from multimodal.examples.options import STRIDE, TEXT_READ, VIDEO_READ, WINDOW
from multimodal.examples.orders import ORDERS
from multimodal.examples.packing import Example, pair_sequence, sequence
from multimodal.library import Material
from multimodal.segments import Segment, spoken_segments
from multimodal.systems import LEFT_TO_RIGHT
from multimodal.vocabulary import Vocabulary
from speech.sentences import Sentence, Transcript, Word
from vision.clips import CLIP_SECONDS


def spoken_words(transcript: Transcript) -> list[Word]:
    """The words of a transcript with their times. Those of a sentence without word times share its time equally."""
    words: list[Word] = []
    for sentence in transcript.sentences:
        if sentence.words:
            words += sentence.words
            continue
        texts = sentence.text.split()
        step = (sentence.end - sentence.start) / max(len(texts), 1)
        words += [
            Word(sentence.start + i * step, sentence.start + (i + 1) * step, text)
            for i, text in enumerate(texts)
        ]
    return words


def moments_at(material: Material, times: Sequence[tuple[float, float]]) -> list[Segment]:
    """The moments of a video at these times, in their order: the words whose middle lies in each, and the clips at least half
    of which do, or the one that it overlaps most."""
    words = spoken_words(material.transcript) if material.transcript.is_understood else []
    middles = np.array([(word.start + word.end) / 2 for word in words])
    sentences = []
    for start, end in times:
        said = np.flatnonzero((middles >= start) & (middles < end)) if words else ()
        text = " ".join(words[i].text.strip() for i in said)
        sentences.append(Sentence(start, end, text, ()))
    about = Transcript(None, {}, tuple(sentences))
    return spoken_segments(material.video.video, about, material.starts, material.tokens)


def windows(material: Material, clips: int = WINDOW, stride: int = STRIDE) -> list[Segment]:
    """A whole video in windows of so many clips, one every ``stride`` clips; the last one ends with the video."""
    first = float(material.starts[0]) if len(material.starts) else 0.0
    last = max(
        [
            first + (material.video.seconds or 0.0),
            *(s.end for s in material.transcript.sentences[-1:]),
            *(material.starts[-1:] + CLIP_SECONDS),
        ]
    )
    length, step = clips * CLIP_SECONDS, stride * CLIP_SECONDS
    times = [(first, first + length)]
    while times[-1][1] < last - CLIP_SECONDS / 2:
        start = times[-1][0] + step
        times.append((start, start + length))
    return moments_at(material, times)


def moment_sequence(
    vocabulary: Vocabulary, moment: Segment, read: str, text: str | None = None
) -> tuple[list[int], list[int]]:
    """Ids and types of a moment, of which ``read`` says what is read; ``text`` stands before it where it is given.

    A text and visual tokens alone are one joint sequence, as alignment was learned; words of both kinds are parted by
    ``[SEP]``.
    """
    words = vocabulary.encode(moment.text) if read != VIDEO_READ else []
    tokens = moment.tokens if read != TEXT_READ else ()
    if text is None:
        return sequence(vocabulary, words, tokens)
    if not words:
        return sequence(vocabulary, vocabulary.encode(text), tokens)
    return pair_sequence(vocabulary, (vocabulary.encode(text), ()), (words, tokens))


def has_what_is_read(moment: Segment, read: str) -> bool:
    """Whether there is anything of the moment to read."""
    return bool((read != VIDEO_READ and moment.text.strip()) or (read != TEXT_READ and moment.tokens))


def summary_position(ids: Sequence[int], attention: str) -> int:
    """The position whose state stands for the whole sequence: ``[CLS]``, or the last one where no token sees those after it."""
    return len(ids) - 1 if attention == LEFT_TO_RIGHT else 0


def clip_positions(vocabulary: Vocabulary, ids: Sequence[int]) -> list[int]:
    """The positions of the visual tokens."""
    visual = vocabulary.visual_ids
    return [position for position, token in enumerate(ids) if visual.start <= token < visual.stop]


def ordered(example: Example, attention: str) -> Example:
    """The example as a model of this attention reads it."""
    return ORDERS[attention].read(example)


@dataclasses.dataclass(frozen=True)
class TokenUnits:
    """The units of a window that a token head labels: the time and the position of each in the sequence."""

    ids: list[int]
    types: list[int]
    times: tuple[tuple[float, float], ...]
    positions: tuple[int, ...]


def token_units(vocabulary: Vocabulary, material: Material, window: Segment, read: str) -> TokenUnits:
    """A window with its clips as units, or where words alone are read its words, each by its first piece."""
    if read != TEXT_READ:
        ids, types = moment_sequence(vocabulary, window, read)
        positions = clip_positions(vocabulary, ids)
        starts = [float(material.starts[clip]) for clip in window.clips[: len(positions)]]
        return TokenUnits(ids, types, tuple((s, s + CLIP_SECONDS) for s in starts), tuple(positions))
    words = [
        w
        for w in spoken_words(material.transcript)
        if window.start <= (w.start + w.end) / 2 < window.end and material.transcript.is_understood
    ]
    pieces = [vocabulary.encode(w.text) for w in words]
    ids, types = sequence(vocabulary, [piece for of_word in pieces for piece in of_word], None)
    times, positions, place = [], [], 1
    for word, of_word in zip(words, pieces, strict=True):
        if of_word and place < len(ids) - 1:
            times.append((word.start, word.end))
            positions.append(place)
        place += len(of_word)
    return TokenUnits(ids, types, tuple(times), tuple(positions))
