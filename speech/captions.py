"""What captions say: their words as a transcript, and the caption file beside a video."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from speech.caption_files import (
    INNER_TIME,
    CaptionError,
    CaptionFile,
    Cue,
    plain,
    read,
    read_file,
    seconds_of,
    write,
)
from speech.sentences import OPENERS, Sentence, SentenceOptions, Transcript, Word, end_mark, sentences

__all__ = [
    "CaptionError",
    "CaptionFile",
    "Cue",
    "plain",
    "read",
    "read_file",
    "sidecar",
    "transcript",
    "write",
]

SIDECARS = (".vtt", ".en.vtt", ".srt", ".en.srt")
# How long a spoken word lasts by its letters, where a caption gives only its start. What is left until the next word
# is a pause. In captions without marks one of SHORTEST_PAUSE ends a sentence, unless the speaker makes so many that
# more than one word in WORDS_BETWEEN_PAUSES would: then the longest do. Measured in docs/log.md.
SECONDS_PER_WORD = 0.12
SECONDS_PER_LETTER = 0.055
SHORTEST_PAUSE = 0.3
WORDS_BETWEEN_PAUSES = 18

NOT_SPEECH = re.compile(r"\[[^\[\]]*\]|[♪♫]+")


def transcript(
    cues: Sequence[Cue],
    source: dict,
    *,
    language: str | None = None,
    options: SentenceOptions | None = None,
) -> Transcript:
    """The words of the cues as sentences; word times from the cue where it has them, else spread over the cue.

    Lines that roll up, shown again by later cues, are taken once. Words have no probability. Captions without
    punctuation are cut at pauses, which word times show, and where some cues begin with a capital letter.
    """
    timed = any(INNER_TIME.search(cue.text) for cue in cues)
    rows, again = _new_lines(cues)
    rolls = timed or again * 2 >= len(cues) > 1
    if not rolls:
        rows = [(cue, cue.text.split("\n")) for cue in cues]
    notes = ["lines that roll up are taken once"] if rolls and again else []
    words, sounds = [], 0
    opens: set[Word] = set()
    for cue, lines in rows:
        spoken, dropped = NOT_SPEECH.subn(" ", "\n".join(lines))
        sounds += dropped
        words += (new := _words(cue, spoken))
        opens |= set(new[:1])
    if sounds:
        notes.append(f"{sounds} descriptions of sounds left out")
    words.sort(key=lambda word: word.start)
    options = options or SentenceOptions()
    if _has_marks(words, options):
        found = sentences(words, options)
    else:
        found = _unmarked_sentences(words, opens, options)
        notes += ["no punctuation: sentences are cut at pauses"] if words else []
    return Transcript(language, dict(source), found, tuple(notes))


def sidecar(video_path: str | Path) -> Path | None:
    """The caption file beside a video: NAME.vtt, NAME.en.vtt, NAME.srt or NAME.en.srt, the first there is."""
    video = Path(video_path)
    beside = (video.with_name(video.stem + ending) for ending in SIDECARS)
    return next((path for path in beside if path.is_file()), None)


def _new_lines(cues: Sequence[Cue]) -> tuple[list[tuple[Cue, list[str]]], int]:
    """Each cue with the lines that the cue before did not show, and how many cues show lines again."""
    rows, shown, again = [], [], 0
    for cue in cues:
        lines = [line for line in cue.text.split("\n") if plain(line).strip()]
        texts = [plain(line).strip() for line in lines]
        longest = min(len(shown), len(texts))
        repeats = next((k for k in range(longest, 0, -1) if shown[-k:] == texts[:k]), 0)
        again += repeats > 0
        rows.append((cue, lines[repeats:]))
        shown = texts
    return rows, again


def _has_marks(words: Sequence[Word], options: SentenceOptions) -> bool:
    """Whether punctuation ends at least as many sentences as there must be at their greatest length."""
    marks = sum(bool(end_mark(word.text)[1]) for word in words)
    return marks * options.most_words >= len(words) > 0


def _unmarked_sentences(
    words: Sequence[Word], opens: set[Word], options: SentenceOptions
) -> tuple[Sentence, ...]:
    """Cut where a cue begins with a capital letter, if not all of them do, and at the speaker's longer pauses."""
    capital = {word for word in opens if word.text.lstrip(OPENERS)[:1].isupper()}
    begins = capital if any(word.text[:1].islower() for word in opens) else set()
    gaps = sorted(after.start - before.end for before, after in zip(words, words[1:], strict=False))
    if gaps:
        usual = gaps[math.floor(len(gaps) * (1 - 1 / WORDS_BETWEEN_PAUSES))]
        options = dataclasses.replace(options, pause=max(SHORTEST_PAUSE, usual))
    cuts = [0, *(n for n, word in enumerate(words) if n and word in begins), len(words)]
    parts = [words[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
    return tuple(sentence for part in parts for sentence in sentences(part, options))


def _words(cue: Cue, text: str) -> list[Word]:
    """The words of a cue: each stretch of text between two times is spread over the time between them."""
    pieces = INNER_TIME.split(text)
    times = [cue.start]
    for n in range(1, len(pieces), 5):
        times.append(min(max(seconds_of(pieces[n : n + 4]), times[-1]), cue.end))
    texts = [pieces[0], *pieces[5::5]]
    words = []
    for start, end, piece in zip(times, [*times[1:], cue.end], texts, strict=True):
        words += spread(plain(piece).split(), start, end, timed=len(times) > 1)
    return words


def spread(texts: Sequence[str], start: float, end: float, *, timed: bool) -> list[Word]:
    """Words that share the time from `start` to `end` by their letters; `timed`: no slower than people speak."""
    texts = [text for text in texts if text.strip(">-–—")]
    if not texts:
        return []
    if timed:
        longest = sum(SECONDS_PER_WORD + SECONDS_PER_LETTER * len(text) for text in texts)
        end = min(end, start + longest)
    letters = list(accumulate((len(text) + 1 for text in texts), initial=0))
    edges = [start + (end - start) * count / letters[-1] for count in letters]
    return [
        Word(round(first, 3), round(last, 3), text)
        for text, first, last in zip(texts, edges, edges[1:], strict=False)
    ]
