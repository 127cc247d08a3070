"""WebVTT and SRT caption files: cues in and out, and the transcript that they carry."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from speech.sentences import SentenceOptions, Transcript, Word, sentences

LARGEST_FILE = 64 * 2**20
FORMATS = ("vtt", "srt")
SIDECARS = (".vtt", ".en.vtt", ".srt", ".en.srt")
# How long a spoken word may last for its letters, where a caption gives only its start.
SECONDS_PER_WORD = 0.3
SECONDS_PER_LETTER = 0.09

CLOCK = r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})[.,](\d{3})"
TIMING = re.compile(rf"\s*{CLOCK}\s*-->\s*{CLOCK}(?:[ \t]+(\S.*))?\s*")
INNER_TIME = re.compile(rf"<{CLOCK}>")
TAG = re.compile(r"</?[A-Za-z][^<>]*>|<>|</>|\{\\[^{}]*\}")
SRT_TAG = re.compile(r"</?(?:b|i|u|font)(?:\s[^<>]*)?>", re.IGNORECASE)
NOT_SPEECH = re.compile(r"\[[^\[\]]*\]|[♪♫]+")


class CaptionError(ValueError):
    """A caption file that breaks its format; the message names file, line, rule and remedy."""


@dataclass(frozen=True)
class Cue:
    """`start`, `end` in seconds, whole milliseconds; `text` as WebVTT markup, lines joined by a line feed.

    `identifier` is the line before the times and `settings` the text after them ("align:start position:0%").
    """

    start: float
    end: float
    text: str
    identifier: str = ""
    settings: str = ""


def read(text_or_path: str | Path) -> list[Cue]:
    """The cues of a WebVTT or SRT file in the order of the file; a str that has line breaks is its content.

    Comments, style sheets and regions are passed over. Raises CaptionError.
    """
    name, text = _content(text_or_path)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not text.strip():
        raise CaptionError(
            f"{name}: is empty; a caption file begins with WEBVTT or with a cue's number and times"
        )
    if re.match(r"WEBVTT(?:[ \t]|$)", lines[0]):
        return _read_vtt(lines, name)
    return _read_srt(lines, name)


def write(cues: Sequence[Cue], format: str) -> str:
    """The cues as the text of a "vtt" or "srt" file; `read` gives them back.

    SRT has no settings and no word times: they are left out. Raises CaptionError for a cue that no file can hold.
    """
    if format not in FORMATS:
        raise CaptionError(f"format={format!r}: must be one of {', '.join(FORMATS)}")
    blocks = [_block(cue, number, format) for number, cue in enumerate(cues, start=1)]
    return "\n".join(["WEBVTT\n", *blocks] if format == "vtt" else blocks)


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
    """The words of the cues as sentences; word times from the cue where it has them, else spread over the cue.

    Lines that roll up, shown again by later cues, are taken once. Words have no probability.
    """
    timed = any(INNER_TIME.search(cue.text) for cue in cues)
    rows, again = _new_lines(cues)
    rolls = timed or again * 2 >= len(cues) > 1
    if not rolls:
        rows = [(cue, cue.text.split("\n")) for cue in cues]
    notes = ["lines that roll up are taken once"] if rolls and again else []
    words, sounds = [], 0
    for cue, lines in rows:
        spoken, dropped = NOT_SPEECH.subn(" ", "\n".join(lines))
        sounds += dropped
        words += _words(cue, spoken)
    if sounds:
        notes.append(f"{sounds} descriptions of sounds left out")
    words.sort(key=lambda word: word.start)
    return Transcript(language, dict(source), sentences(words, options), tuple(notes))


def sidecar(video_path: str | Path) -> Path | None:
    """The caption file beside a video: NAME.vtt, NAME.en.vtt, NAME.srt or NAME.en.srt, the first there is."""
    video = Path(video_path)
    beside = (video.with_name(video.stem + ending) for ending in SIDECARS)
    return next((path for path in beside if path.is_file()), None)


def _content(text_or_path: str | Path) -> tuple[str, str]:
    if isinstance(text_or_path, str) and re.search(r"[\r\n]", text_or_path):
        return "captions", text_or_path.removeprefix("\ufeff")
    path = Path(text_or_path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise CaptionError(
                f"{path.name}: {path.stat().st_size} bytes; a caption file has at most {LARGEST_FILE}; split it"
            )
        data = path.read_bytes()
    except OSError as error:
        raise CaptionError(f"{path.name}: cannot be read ({error.strerror})") from error
    try:
        return path.name, data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CaptionError(f"{path.name}, line {line}: is not UTF-8 text; save the file as UTF-8") from error


def _read_vtt(lines: Sequence[str], name: str) -> list[Cue]:
    cues = []
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
        at = next((k for k in (0, 1) if k < len(block) and "-->" in block[k]), None)
        if at is not None:
            start, end, settings = _times(block[at], name, first + at + 1)
            identifier = block[0] if at else ""
            cues.append(Cue(start, end, "\n".join(block[at + 1 :]), identifier, settings))
        elif not re.match(r"(?:NOTE|STYLE|REGION)(?:[ \t]|$)", block[0]):
            raise CaptionError(
                f"{name}, line {first + 1}: {_shown(block[0])} is no cue, NOTE, STYLE or REGION; "
                "give its times on a line of their own, 00:01.000 --> 00:02.000"
            )
    return cues


def _read_srt(lines: Sequence[str], name: str) -> list[Cue]:
    """Cues begin at lines of times: empty lines within a text, as some programs write them, do no harm."""
    timings = [n for n, line in enumerate(lines) if "-->" in line]
    if not timings:
        raise CaptionError(f"{name}, line 1: is neither WEBVTT nor an SRT cue; give a .vtt or .srt file")
    heads = [n - 1 if n and re.fullmatch(r"\s*[0-9]+\s*", lines[n - 1]) else n for n in timings]
    if any(line.strip() for line in lines[: heads[0]]):
        raise CaptionError(
            f"{name}, line 1: {_shown(lines[0])} stands before the first cue; an SRT file begins with a cue's number"
        )
    cues = []
    for at, head, following in zip(timings, heads, [*heads[1:], len(lines)], strict=True):
        start, end, settings = _times(lines[at], name, at + 1)
        text = "\n".join(line for line in lines[at + 1 : following] if line.strip())
        cues.append(Cue(start, end, _to_markup(text), lines[head].strip() if head < at else "", settings))
    return cues


def _times(line: str, name: str, number: int) -> tuple[float, float, str]:
    match = TIMING.fullmatch(line)
    if not match:
        raise CaptionError(
            f"{name}, line {number}: {_shown(line)} are no times; write 00:00:01.000 --> 00:00:02.000"
        )
    start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:8])
    for part in (match[2], match[3], match[6], match[7]):
        if int(part) > 59:
            raise CaptionError(
                f"{name}, line {number}: {_shown(line)} has {part} minutes or seconds; 59 is the most"
            )
    if end < start:
        raise CaptionError(
            f"{name}, line {number}: {_shown(line)} ends before it starts; exchange or correct them"
        )
    return start, end, (match[9] or "").rstrip()


def _seconds(clock: Sequence[str | None]) -> float:
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in clock)
    return ((hours * 60 + minutes) * 60_000 + seconds * 1000 + milliseconds) / 1000


def _block(cue: Cue, number: int, format: str) -> str:
    for part, value, bad in (
        ("text", cue.text, r"^\n|\n\n|\n$|-->|\r"),
        ("identifier", cue.identifier, r"[\r\n]|-->|^WEBVTT|^(?:NOTE|STYLE|REGION)(?:\s|$)"),
        ("settings", cue.settings, r"[\r\n]|-->|^\s|\s$"),
    ):
        if re.search(bad, value):
            raise CaptionError(
                f"cue {number}, {part}={_shown(value)}: must hold no empty line, mark '-->' or keyword"
            )
    if not 0 <= cue.start <= cue.end < float("inf"):
        raise CaptionError(f"cue {number}: {cue.start} --> {cue.end}: must be 0 <= start <= end")
    times = f"{_clock(cue.start, format)} --> {_clock(cue.end, format)}"
    if format == "srt":
        return (
            f"{cue.identifier if cue.identifier.isdecimal() else number}\n{times}\n{_from_markup(cue.text)}\n"
        )
    head = f"{cue.identifier}\n" if cue.identifier else ""
    settings = f" {cue.settings}" if cue.settings else ""
    return f"{head}{times}{settings}\n{cue.text}\n" if cue.text else f"{head}{times}{settings}\n"


def _clock(seconds: float, format: str) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    mark = "." if format == "vtt" else ","
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{mark}{milliseconds % 1000:03}"


def _to_markup(text: str) -> str:
    """SRT text as WebVTT markup: its few tags stay, all other < and & are letters."""
    parts, end = [], 0
    for tag in SRT_TAG.finditer(text):
        parts += [html.escape(text[end : tag.start()], quote=False), tag[0]]
        end = tag.end()
    return "".join([*parts, html.escape(text[end:], quote=False)])


def _from_markup(text: str) -> str:
    def keep(tag: re.Match) -> str:
        return tag[0] if tag[0].startswith("{") or SRT_TAG.fullmatch(tag[0]) else ""

    return html.unescape(TAG.sub(keep, INNER_TIME.sub("", text)))


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


def _words(cue: Cue, text: str) -> list[Word]:
    """The words of a cue: each stretch of text between two times is spread over the time between them."""
    pieces = INNER_TIME.split(text)
    times = [cue.start]
    for n in range(1, len(pieces), 5):
        times.append(min(max(_seconds(pieces[n : n + 4]), times[-1]), cue.end))
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


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
