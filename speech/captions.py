"""Captions: WebVTT and SRT files, and the transcript of their words."""

from __future__ import annotations

import dataclasses
import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from speech.errors import SpeechError
from speech.sentences import OPENERS, Sentence, SentenceOptions, Transcript, Word, sentences, split_end_marks

SIDECARS = (".vtt", ".en.vtt", ".srt", ".en.srt")
LARGEST_FILE = 64 * 2**20

CLOCK = r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})[.,](\d{3})"
TIMING = re.compile(rf"\s*{CLOCK}\s*-->\s*{CLOCK}(?:[ \t]+\S.*)?\s*")
INNER_TIME = re.compile(rf"<{CLOCK}>")
TAG = re.compile(r"</?[A-Za-z][^<>]*>|<>|</>|\{\\[^{}]*\}")
SRT_TAG = re.compile(r"</?(?:b|i|u|font)(?:\s[^<>]*)?>", re.IGNORECASE)
OTHER_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")
NOT_SPEECH = re.compile(r"\[[^\[\]]*\]|[♪♫]+")

# How long a spoken word lasts by its letters, where a caption gives only its start. What is left until the next word
# is a pause. In captions without punctuation one of SHORTEST_PAUSE ends a sentence, unless the speaker makes so many
# that more than one word in WORDS_BETWEEN_PAUSES would: then only the longest do. Measured on the captions of three
# videos.
SECONDS_PER_WORD = 0.12
SECONDS_PER_LETTER = 0.055
SHORTEST_PAUSE = 0.3
WORDS_BETWEEN_PAUSES = 18


@dataclass(frozen=True)
class Cue:
    """`start` and `end` in seconds, whole milliseconds. `text`: WebVTT markup, its lines joined by line feeds."""

    start: float
    end: float
    text: str


def sidecar(video_path: str | Path) -> Path | None:
    """The caption file beside a video: NAME.vtt, NAME.en.vtt, NAME.srt or NAME.en.srt, the first that exists."""
    video = Path(video_path)
    beside = (video.with_name(video.stem + ending) for ending in SIDECARS)
    return next((path for path in beside if path.is_file()), None)


def read(text_or_path: str | Path) -> list[Cue]:
    """The cues of a WebVTT or SRT file in the order of the file; a str with line breaks is the file's content.

    Identifiers, settings, comments, style sheets and regions are ignored. Raises SpeechError that names file, line,
    rule and remedy.
    """
    name, text = _content(text_or_path)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not text.strip():
        raise SpeechError(
            f"{name}: is empty; a caption file begins with WEBVTT or with a cue's number and times"
        )
    return _read_vtt(lines, name) if re.match(r"WEBVTT(?:[ \t]|$)", lines[0]) else _read_srt(lines, name)


def write_webvtt(cues: Iterable[Cue]) -> str:
    """A WebVTT file of the cues. Raises ValueError for a text with an empty line or "-->", and for other times than
    0 <= start <= end."""
    parts = ["WEBVTT\n"]
    for cue in cues:
        if re.search(r"^\n|\n\n|\n$|-->|\r", cue.text):
            raise ValueError(f"text={_shortened(cue.text)}: must hold no empty line and no '-->'")
        if not 0 <= cue.start <= cue.end < math.inf:
            raise ValueError(f"start={cue.start}, end={cue.end}: must be 0 <= start <= end")
        parts.append(f"{_clock(cue.start)} --> {_clock(cue.end)}\n{cue.text}\n")
    return "\n".join(parts)


def cues_of(rows: Iterable[tuple[float, float, str]]) -> list[Cue]:
    """Cues of plain texts from ``start`` to ``end`` seconds, in order of time, each on one line.

    Times before 0, which no caption file can hold, become 0. A text that is then shown for no time is left out.
    """
    clamped = [(max(start, 0.0), max(end, 0.0), text) for start, end, text in rows]
    clamped.sort(key=lambda row: row[:2])
    return [
        Cue(start, end, html.escape(" ".join(text.split()), quote=False))
        for start, end, text in clamped
        if end > start
    ]


def write_srt(cues: Iterable[Cue]) -> str:
    """An SRT file of the cues, whose markup is left out."""
    parts = []
    for number, cue in enumerate(cues, start=1):
        times = f"{_clock(cue.start)} --> {_clock(cue.end)}".replace(".", ",")
        parts.append(f"{number}\n{times}\n{plain(cue.text).replace('-->', '->')}\n\n")
    return "".join(parts)


def plain(text: str) -> str:
    """A cue's text without markup: tags and word times removed, entities resolved."""
    return html.unescape(TAG.sub("", INNER_TIME.sub("", text)))


def transcript(
    cues: Sequence[Cue],
    source: dict,
    *,
    language: str | None = None,
    options: SentenceOptions | None = None,
) -> Transcript:
    """The words of the cues as sentences. Words have no probability.

    A word's time comes from its cue where the cue has word times, else the words share the cue's time. In roll-up
    captions each line is taken once. Captions without punctuation are cut at pauses, and where some cues begin with a
    capital letter.
    """
    timed = any(INNER_TIME.search(cue.text) for cue in cues)
    rows, repeats = _new_lines(cues)
    # Roll-up captions show most lines again, or have word times as YouTube's do. Elsewhere a line that comes twice was
    # spoken twice.
    rolls_up = timed or repeats * 2 >= len(cues) > 1
    if not rolls_up:
        rows = [(cue, cue.text.split("\n")) for cue in cues]
    notes = ["lines that roll up are taken once"] if rolls_up and repeats else []
    words, sounds = [], 0
    openings: set[Word] = set()
    for cue, lines in rows:
        spoken, dropped = NOT_SPEECH.subn(" ", "\n".join(lines))
        sounds += dropped
        cue_words = _words(cue, spoken)
        words += cue_words
        openings |= set(cue_words[:1])
    if sounds:
        notes.append(f"{sounds} descriptions of sounds left out")
    # Cues may overlap, as those of two speakers do.
    words.sort(key=lambda word: word.start)
    options = options or SentenceOptions()
    if _has_marks(words, options):
        found = sentences(words, options)
    else:
        found = _unmarked_sentences(words, openings, options)
        notes += ["no punctuation: sentences are cut at pauses"] if words else []
    return Transcript(language, dict(source), found, tuple(notes))


def spread(texts: Sequence[str], start: float, end: float, *, timed: bool) -> list[Word]:
    """Words that share the time from `start` to `end` (seconds) by their number of letters.

    `timed`: the words are no slower than people speak, and what is left before `end` is a pause. Dashes and ">>", which
    mark a change of speaker, are no words.
    """
    texts = [text for text in texts if text.strip(">-–—")]
    if not texts:
        return []
    if timed:
        end = min(end, start + spoken_seconds(texts))
    letters = list(accumulate((len(text) + 1 for text in texts), initial=0))
    edges = [round(start + (end - start) * count / letters[-1], 3) for count in letters]
    return [Word(first, last, text) for text, first, last in zip(texts, edges, edges[1:], strict=False)]


def spoken_seconds(texts: Sequence[str]) -> float:
    """How long the words take to say, in seconds, by their number of letters."""
    return sum(SECONDS_PER_WORD + SECONDS_PER_LETTER * len(text) for text in texts)


def _new_lines(cues: Sequence[Cue]) -> tuple[list[tuple[Cue, list[str]]], int]:
    """Each cue with the lines that the cue before did not show, and the number of cues that show lines again.

    Roll-up captions show the last lines again above a new one. So the longest end of the last cue that this one begins
    with is old. It is compared without markup, since word times are shown only once.
    """
    rows, shown, again = [], [], 0
    for cue in cues:
        lines = [line for line in cue.text.split("\n") if plain(line).strip()]
        texts = [plain(line).strip() for line in lines]
        longest = min(len(shown), len(texts))
        repeated = next((k for k in range(longest, 0, -1) if shown[-k:] == texts[:k]), 0)
        again += repeated > 0
        rows.append((cue, lines[repeated:]))
        shown = texts
    return rows, again


def _has_marks(words: Sequence[Word], options: SentenceOptions) -> bool:
    """Whether punctuation ends at least as many sentences as there must be at their greatest length."""
    marks = sum(bool(split_end_marks(word.text)[1]) for word in words)
    return marks * options.most_words >= len(words) > 0


def _unmarked_sentences(
    words: Sequence[Word], openings: set[Word], options: SentenceOptions
) -> tuple[Sentence, ...]:
    """Sentences of captions without punctuation. `openings`: the first word of each cue."""
    # A capital letter at the start of a cue begins a sentence, unless all cues start with one.
    capital = {word for word in openings if word.text.lstrip(OPENERS)[:1].isupper()}
    begins = capital if any(word.text[:1].islower() for word in openings) else set()
    # A fast speaker's pauses are short, a slow one's long: the share of pauses that end a sentence is bounded.
    pauses = sorted(after.start - before.end for before, after in zip(words, words[1:], strict=False))
    if pauses:
        usual = pauses[math.floor(len(pauses) * (1 - 1 / WORDS_BETWEEN_PAUSES))]
        options = dataclasses.replace(options, pause=max(SHORTEST_PAUSE, usual))
    cuts = [0, *(n for n, word in enumerate(words) if n and word in begins), len(words)]
    parts = [words[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
    return tuple(sentence for part in parts for sentence in sentences(part, options))


def _words(cue: Cue, text: str) -> list[Word]:
    """The words of `text`, the new lines of a cue. Those between two word times share the time between them."""
    # The split gives text, then the four numbers of a time, then text again, and so on.
    pieces = INNER_TIME.split(text)
    texts = [pieces[0], *pieces[5::5]]
    times = [cue.start]
    for n in range(1, len(pieces), 5):
        # Times that run backwards or leave the cue are moved to the nearest that do not.
        times.append(min(max(_seconds(pieces[n : n + 4]), times[-1]), cue.end))
    words = []
    for start, end, piece in zip(times, [*times[1:], cue.end], texts, strict=True):
        words += spread(plain(piece).split(), start, end, timed=len(times) > 1)
    return words


def _content(text_or_path: str | Path) -> tuple[str, str]:
    """A name for messages, and the text."""
    if isinstance(text_or_path, str) and re.search(r"[\r\n]", text_or_path):
        return "captions", text_or_path.removeprefix("\ufeff")
    path = Path(text_or_path)
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise SpeechError(
                f"{path.name}: {size} bytes; a caption file has at most {LARGEST_FILE}; split it"
            )
        data = path.read_bytes()
    except OSError as error:
        raise SpeechError(f"{path.name}: cannot be read ({error.strerror})") from error
    try:
        return path.name, data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpeechError(f"{path.name}, line {line}: is not UTF-8 text; save the file as UTF-8") from error


def _read_vtt(lines: Sequence[str], name: str) -> list[Cue]:
    cues: list[Cue] = []
    # The header reaches to the first empty line, unless a cue follows it at once.
    n = 1
    while n < len(lines) and lines[n] and "-->" not in lines[n]:
        n += 1
    while n < len(lines):
        if not lines[n]:
            n += 1
            continue
        first = n
        while n < len(lines) and lines[n]:
            n += 1
        block = lines[first:n]
        # A cue's times are on its first line, or on its second after an identifier.
        at = next((k for k in (0, 1) if k < len(block) and "-->" in block[k]), None)
        if at is not None:
            cues.append(Cue(*_times(block[at], name, first + at + 1), "\n".join(block[at + 1 :])))
        elif not OTHER_BLOCK.match(block[0]):
            raise SpeechError(
                f"{name}, line {first + 1}: {_shortened(block[0])} is no cue, NOTE, STYLE or REGION; "
                "give its times on a line of their own, 00:01.000 --> 00:02.000"
            )
    return cues


def _read_srt(lines: Sequence[str], name: str) -> list[Cue]:
    """Cues begin at lines of times: empty lines within a text, as some programs write them, end no cue."""
    timings = [n for n, line in enumerate(lines) if "-->" in line]
    if not timings:
        raise SpeechError(f"{name}, line 1: is neither WEBVTT nor an SRT cue; give a .vtt or .srt file")
    heads = [n - 1 if n and re.fullmatch(r"\s*[0-9]+\s*", lines[n - 1]) else n for n in timings]
    if any(line.strip() for line in lines[: heads[0]]):
        raise SpeechError(
            f"{name}, line 1: {_shortened(lines[0])} is before the first cue; an SRT file begins with a cue's number"
        )
    cues = []
    for at, following in zip(timings, [*heads[1:], len(lines)], strict=True):
        text = "\n".join(line for line in lines[at + 1 : following] if line.strip())
        cues.append(Cue(*_times(lines[at], name, at + 1), _to_markup(text)))
    return cues


def _times(line: str, name: str, number: int) -> tuple[float, float]:
    match = TIMING.fullmatch(line)
    if not match:
        raise SpeechError(
            f"{name}, line {number}: {_shortened(line)} are no times; write 00:00:01.000 --> 00:00:02.000"
        )
    start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
    for part in (match[2], match[3], match[6], match[7]):
        if int(part) > 59:
            raise SpeechError(
                f"{name}, line {number}: {_shortened(line)} has {part} minutes or seconds; 59 is the most"
            )
    if end < start:
        raise SpeechError(
            f"{name}, line {number}: {_shortened(line)} ends before it starts; exchange or correct them"
        )
    return start, end


def _seconds(clock: Sequence[str | None]) -> float:
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in clock)
    return ((hours * 60 + minutes) * 60_000 + seconds * 1000 + milliseconds) / 1000


def _clock(seconds: float) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}.{milliseconds % 1000:03}"


def _to_markup(text: str) -> str:
    """SRT text as WebVTT markup: SRT's few tags stay tags, every other < and & is a character."""
    parts, end = [], 0
    for tag in SRT_TAG.finditer(text):
        parts += [html.escape(text[end : tag.start()], quote=False), tag[0]]
        end = tag.end()
    return "".join([*parts, html.escape(text[end:], quote=False)])


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
