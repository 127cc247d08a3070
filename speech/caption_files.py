"""WebVTT and SRT files: cues and what stands between them, in and out without loss."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LARGEST_FILE = 64 * 2**20
FORMATS = ("vtt", "srt")

CLOCK = r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})[.,](\d{3})"
TIMING = re.compile(rf"\s*{CLOCK}\s*-->\s*{CLOCK}(?:[ \t]+(\S.*))?\s*")
INNER_TIME = re.compile(rf"<{CLOCK}>")
TAG = re.compile(r"</?[A-Za-z][^<>]*>|<>|</>|\{\\[^{}]*\}")
SRT_TAG = re.compile(r"</?(?:b|i|u|font)(?:\s[^<>]*)?>", re.IGNORECASE)
SRT_PLACE = re.compile(r"X1:.*")
OTHER_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")


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


@dataclass(frozen=True)
class CaptionFile:
    """A caption file's cues in their order, and all else that it holds.

    `format`: "vtt" or "srt". `header`: what a WebVTT file says after "WEBVTT", up to the first empty line. `blocks`:
    NOTE, STYLE and REGION blocks in their order, each with how many cues stand before it.
    """

    format: str
    cues: tuple[Cue, ...]
    header: str = ""
    blocks: tuple[tuple[int, str], ...] = ()


def read(text_or_path: str | Path) -> list[Cue]:
    """The cues of a WebVTT or SRT file in the order of the file; a str that has line breaks is its content.

    Comments, style sheets and regions are passed over. Raises CaptionError.
    """
    return list(read_file(text_or_path).cues)


def read_file(text_or_path: str | Path) -> CaptionFile:
    """All of a WebVTT or SRT file; a str that has line breaks is its content. Raises CaptionError."""
    name, text = _content(text_or_path)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not text.strip():
        raise CaptionError(
            f"{name}: is empty; a caption file begins with WEBVTT or with a cue's number and times"
        )
    if re.match(r"WEBVTT(?:[ \t]|$)", lines[0]):
        return _read_vtt(lines, name)
    return CaptionFile("srt", tuple(_read_srt(lines, name)))


def write(captions: CaptionFile | Sequence[Cue], format: str) -> str:
    """The cues, of a CaptionFile also all else, as the text of a "vtt" or "srt" file; `read_file` gives them back.

    Within a format nothing is lost: a file whose lines end in a line feed, whose blocks are parted by one empty line
    and whose times have hours comes back byte for byte, any other as the same file in that form. SRT has neither
    settings, voices, word times nor blocks: from WebVTT to SRT they are left out. Raises CaptionError for what no
    file can hold.
    """
    if format not in FORMATS:
        raise CaptionError(f"format={format!r}: must be one of {', '.join(FORMATS)}")
    if not isinstance(captions, CaptionFile):
        captions = CaptionFile(format, tuple(captions))
    cues = [_block(cue, number, format) for number, cue in enumerate(captions.cues, start=1)]
    if format == "srt":
        return "\n".join(cues)
    if re.search(r"^[^ \t\n]|\n\n|\n$|-->|\r", captions.header):
        raise CaptionError(f"header={_shown(captions.header)}: must hold no empty line and no mark '-->'")
    places = [0, *(at for at, _ in captions.blocks), len(cues)]
    if places != sorted(places):
        raise CaptionError(
            f"blocks stand after {places[1:-1]} cues: must be in order, and of {len(cues)} cues"
        )
    parts = [f"WEBVTT{captions.header}\n"]
    for after, (at, text) in zip(places, captions.blocks, strict=False):
        parts += [*cues[after:at], _other(text)]
    parts += cues[places[-2] :]
    return "\n".join(parts)


def plain(text: str) -> str:
    """A cue's text without markup: tags and word times removed, entities resolved."""
    return html.unescape(TAG.sub("", INNER_TIME.sub("", text)))


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


def _read_vtt(lines: Sequence[str], name: str) -> CaptionFile:
    cues: list[Cue] = []
    blocks: list[tuple[int, str]] = []
    # The header reaches to the first empty line, unless a cue follows it at once.
    n = 1
    while n < len(lines) and lines[n] and "-->" not in lines[n]:
        n += 1
    header = "\n".join([lines[0].removeprefix("WEBVTT"), *lines[1:n]])
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
        elif OTHER_BLOCK.match(block[0]):
            blocks.append((len(cues), "\n".join(block)))
        else:
            raise CaptionError(
                f"{name}, line {first + 1}: {_shown(block[0])} is no cue, NOTE, STYLE or REGION; "
                "give its times on a line of their own, 00:01.000 --> 00:02.000"
            )
    return CaptionFile("vtt", tuple(cues), header, tuple(blocks))


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
    start, end = seconds_of(match.groups()[:4]), seconds_of(match.groups()[4:8])
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


def seconds_of(clock: Sequence[str | None]) -> float:
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
        name = cue.identifier if cue.identifier.isdecimal() else number
        place = f" {cue.settings}" if SRT_PLACE.fullmatch(cue.settings) else ""
        return f"{name}\n{times}{place}\n{_from_markup(cue.text)}\n"
    head = f"{cue.identifier}\n" if cue.identifier else ""
    settings = f" {cue.settings}" if cue.settings else ""
    return f"{head}{times}{settings}\n{cue.text}\n" if cue.text else f"{head}{times}{settings}\n"


def _other(text: str) -> str:
    if not OTHER_BLOCK.match(text) or re.search(r"\n\n|\n$|-->|\r", text):
        raise CaptionError(
            f"block={_shown(text)}: must begin with NOTE, STYLE or REGION and hold no empty line and no mark '-->'"
        )
    return f"{text}\n"


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


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
