"""Caption files: which format one is in, and the cues of a WebVTT or SRT file, its bad ones left out and counted."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from speech import caption_formats, older_formats
from speech.caption_formats import Parsed
from speech.caption_kinds import MOST_OF_FILE, Kind, kind_of, spoken_cues
from speech.cues import CLOCK, INNER_TIME, Cue, counted, seconds_of, shortened
from speech.errors import SpeechError
from speech.sound_notes import UNSEEN
from speech.text_encoding import read_text

SUFFIXES = (
    ".vtt",
    ".srt",
    ".json3",
    ".srv3",
    ".srv2",
    ".srv1",
    ".ttml",
    ".dfxp",
    ".ass",
    ".ssa",
    ".sbv",
    ".smi",
    ".sami",
    ".sub",
)
"""Endings of the files that are read, the preferred first: WebVTT and YouTube's own have times for each word."""

# Programs that translate files write other arrows, and spaces within a time.
ARROW = r"\s*(?:-{1,3}\s?>|[\u2013\u2014]>|\u2192)\s*"
TIMING = re.compile(rf"\s*{CLOCK}{ARROW}{CLOCK}(?:[ \t]+\S.*)?\s*")
# Two whole times on a line of their own are a cue's times, whatever stands between them.
WHOLE_CLOCK = r"(\d{1,6}):(\d{1,2}):(\d{1,2})(?:[.,]|:(?=\d{3}(?!\d)))(\d{1,9})"
LOOSE_TIMING = re.compile(rf"\s*{WHOLE_CLOCK}(?:\s+|\s*[^\w\s:.]{{1,4}}\s*){WHOLE_CLOCK}\s*")
SPACED_TIME = re.compile(r"(?<=\d)[ \t]*([:.,])[ \t]*(?=\d)")
WIDE = str.maketrans("：．，", ":.,")
LIKE_TIMES = re.compile(r"\s*-?\d[\d\s]*:[\d:.,;\s]*-->|\s*\S*\s*-->\s*-?\d+:\d[\d:.,;]*\s*$")
LONGEST_TIMING = 1000
NUMBER = re.compile(r"\s*[0-9]+\s*")
SRT_TAG = re.compile(r"</?(?:b|i|u|font)(?:\s[^<>]*)?>", re.IGNORECASE)
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
OTHER_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION|WEBVTT)(?:\s|$)|X-TIMESTAMP-MAP=")
STYLE_RULE = re.compile(r"::cue|[^{}]*\}\s*$", re.DOTALL)
CHAPTER = re.compile(r"\s*chapter\b", re.IGNORECASE)
HEADER = re.compile(r"\b(Kind|Language)\s*:\s*([\w-]+)", re.IGNORECASE)
# Limits of what is read, each several times what is said in 12 hours.
LONGEST_CUE = 1 << 20
MOST_CUES = 200_000
MOST_CHARACTERS = 8 << 20


@dataclass(frozen=True)
class CaptionFile:
    """The cues of a file in its order, and what it is.

    `kind`: anything but `speech` is no narration. `automatic`: written by a recogniser, as its words have times.
    `language`: a code, where the file names one. `problems`: cues that were left out since they are bad, one sentence.
    `notes`: remarks for a person, such as the encoding.
    """

    cues: tuple[Cue, ...]
    kind: Kind = "speech"
    automatic: bool = False
    language: str | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def counted(self) -> str:
        """What the file holds, such as `2 chapters`."""
        nouns = {"speech": "cue", "chapters": "chapter", "thumbnails": "thumbnail", "metadata": "data cue"}
        return counted(len(self.cues), nouns[self.kind])


def read(
    text_or_path: str | Path, language: str | None = None, frame_rate: float | None = None
) -> CaptionFile:
    """The cues of a caption file; a str with line breaks is the content of a WebVTT or SRT file.

    Its ending tells the format of a path, but for WebVTT and SRT, which their first line tells. `language` helps to
    find the encoding, `frame_rate` is that of the video, for formats that count frames. A bad cue is left out and
    counted in `problems`. Raises SpeechError with file, line, rule and remedy where nothing can be read.
    """
    if isinstance(text_or_path, str) and re.search(r"[\r\n]", text_or_path):
        name, suffix, text, note = "captions", "", text_or_path.removeprefix("\ufeff"), ""
    else:
        path = Path(text_or_path)
        name, suffix = path.name, path.suffix.lower()
        text, note = read_text(path, language)
    parse: Callable[[str, Parsed], None] = _OF_SUFFIX.get(suffix, _parse_lines)
    if not text.strip():
        raise SpeechError(
            f"{name}: is empty; a caption file begins with WEBVTT or with a cue's number and times"
        )
    parsed = Parsed(notes=[note] if note else [], frame_rate=frame_rate)
    try:
        parse(text, parsed)
        _bound(parsed)
    except SpeechError as error:
        raise SpeechError(f"{name}{error}") from error
    if parsed.bad and not parsed.cues:
        raise SpeechError(f"{name}, {parsed.bad[0]}")
    return _whole(parsed)


def of_cues(cues: Sequence[Cue]) -> CaptionFile:
    """The caption file of cues that come from elsewhere, such as a stream of a video."""
    parsed = Parsed(list(cues))
    _bound(parsed)
    return _whole(parsed)


def _whole(parsed: Parsed) -> CaptionFile:
    kind, bad, count = kind_of(parsed), len(parsed.bad), len(parsed.bad) + len(parsed.cues)
    cues = spoken_cues(parsed) if kind == "speech" else parsed.cues
    problems = [f"{bad} of {counted(count, 'cue')} left out ({parsed.bad[0]})"] if bad else []
    return CaptionFile(
        tuple(cues), kind, parsed.automatic, parsed.language, tuple(problems), tuple(parsed.notes)
    )


def _bound(parsed: Parsed) -> None:
    """Leaves out cues that are too long, as bad ones. Raises SpeechError where there are too many, or too much text."""
    long = [cue for cue in parsed.cues if len(cue.text) > LONGEST_CUE]
    if long:
        parsed.bad += [
            f"the cue at {cue.start:g} s has {len(cue.text)} characters; at most {LONGEST_CUE} are read; part it into several"
            for cue in long
        ]
        parsed.cues = [cue for cue in parsed.cues if len(cue.text) <= LONGEST_CUE]
    for count, most, what in (
        (len(parsed.cues), MOST_CUES, "cues"),
        (sum(len(cue.text) for cue in parsed.cues), MOST_CHARACTERS, "characters of text"),
    ):
        if count > most:
            raise SpeechError(f": {count} {what}; at most {most} are read; split it")


def _parse_lines(text: str, parsed: Parsed) -> None:
    """WebVTT or SRT. Line ends are damaged in some files: any number of carriage returns belongs to a line feed."""
    lines = re.sub(r"\r*\n|\r", "\n", text).split("\n")
    if UNSEEN.search(text):
        lines = [_without_unseen(lines, n) for n in range(len(lines))]
    first = next(n for n, line in enumerate(lines) if line.strip())
    if re.match(r"WEBVTT(?:[ \t]|$)", lines[first]):
        _parse_vtt(lines, first, parsed)
    else:
        _parse_srt(lines, parsed)
    if any(INNER_TIME.search(cue.text) for cue in parsed.cues):
        parsed.automatic = True


def _without_unseen(lines: Sequence[str], n: int) -> str:
    """Line `n` without marks that are not seen, where it is a cue's times, the number above them, or a header.

    They stand there in texts from right to left, and where files were put together.
    """
    line = lines[n]
    bare = UNSEEN.sub("", line)
    if bare == line:
        return line
    is_number = NUMBER.fullmatch(bare) and n + 1 < len(lines) and _is_timing(UNSEEN.sub("", lines[n + 1]))
    return bare if is_number or _is_timing(bare) or bare.startswith("WEBVTT") else line


def _parse_vtt(lines: Sequence[str], first: int, parsed: Parsed) -> None:
    """As the parser of the standard has it (W3C WebVTT, section 6): an empty line or a line of times ends a cue's text.

    The text may hold an arrow that stands between no times.
    """
    # The header reaches to the first empty line, unless a cue follows it at once.
    n = first + 1
    while n < len(lines) and lines[n].strip() and not _is_timing(lines[n]):
        n += 1
    header = {
        role.lower(): value
        for line in lines[first:n]
        if len(line) <= LONGEST_TIMING
        for role, value in HEADER.findall(line)
    }
    parsed.kind, parsed.language = header.get("kind", "").lower() or None, header.get("language")
    numbered = styles = False
    chapters = 0
    strange: list[int] = []
    while n < len(lines):
        if not lines[n].strip():
            n += 1
            continue
        at = n
        identifier = at + 1 < len(lines) and _is_timing(lines[at + 1])
        if identifier and not _is_timing(lines[at]):
            numbered = bool(NUMBER.fullmatch(lines[at]))
            chapters += bool(CHAPTER.match(lines[at]))
            at += 1
        n = at + 1
        comment = OTHER_BLOCK.match(lines[at]) and _matched(lines[at]) is None
        if not comment and "-->" in lines[at] or _matched(lines[at]) is not None:
            while n < len(lines) and not _ends_text(lines, n):
                n += 1
            text = lines[at + 1 : n]
            # In a file whose cues are numbered the number before a cue's times is no text of the cue before.
            ended_by_cue = n < len(lines) and _is_timing(lines[n])
            if ended_by_cue and numbered and text and NUMBER.fullmatch(text[-1]):
                text = text[:-1]
            _add(parsed, lines[at], at + 1, "\n".join(text))
            styles = False
            continue
        while n < len(lines) and lines[n] and not _is_timing(lines[n]):
            n += 1
        block = "\n".join(lines[at:n])
        if OTHER_BLOCK.match(block):
            styles = block.startswith("STYLE")
        # A style sheet may not hold an empty line, yet many do.
        elif not (styles and STYLE_RULE.match(block)) and not NUMBER.fullmatch(block):
            strange.append(at)
    if chapters and chapters >= MOST_OF_FILE * len(parsed.cues):
        parsed.kind = parsed.kind or "chapters"
    if strange:
        place = f"line {strange[0] + 1}: {shortened(lines[strange[0]])}"
        if not parsed.cues:
            raise SpeechError(
                f", {place} is no cue, NOTE, STYLE or REGION; "
                "give its times on a line of their own, 00:01.000 --> 00:02.000"
            )
        parsed.bad += [f"{place} has no times"] * len(strange)


def _ends_text(lines: Sequence[str], n: int) -> bool:
    """Whether a cue's text ends before line `n`: an empty one, one of times, or one of spaces alone above a cue."""
    if not lines[n] or _is_timing(lines[n]):
        return True
    if lines[n].strip() or n + 1 >= len(lines) or not lines[n + 1].strip():
        return False
    return _is_timing(lines[n + 1]) or (n + 2 < len(lines) and _is_timing(lines[n + 2]))


def _parse_srt(lines: Sequence[str], parsed: Parsed) -> None:
    """Cues begin at lines of times: empty lines within a text, as some programs write them, end no cue."""
    timings = [n for n, line in enumerate(lines) if _is_timing(line) or _heads_cue(lines, n)]
    if not timings:
        raise SpeechError(", line 1: is neither WEBVTT nor an SRT cue; give a .vtt or .srt file")
    heads = []
    for count, n in enumerate(timings):
        above = next((k for k in range(n - 1, -1, -1) if lines[k].strip()), None)
        is_number = above is not None and NUMBER.fullmatch(lines[above])
        # A number with an empty line below it, as in files with an empty line after each, counts where it is due.
        due = is_number and (above == n - 1 or int(lines[above]) == count + 1)
        heads.append(above if due else n)
    if before := sum(bool(line.strip()) for line in lines[: heads[0]]):
        parsed.notes.append(f"{counted(before, 'line')} before the first cue left out")
    for at, following in zip(timings, [*heads[1:], len(lines)], strict=True):
        text = "\n".join(line for line in lines[at + 1 : following] if line.strip())
        _add(parsed, lines[at], at + 1, to_markup(text))


def _is_timing(line: str) -> bool:
    """Whether a line gives a cue's times, right or wrong. Any other line with an arrow is text."""
    return _matched(line) is not None or ("-->" in line and LIKE_TIMES.match(line) is not None)


def _heads_cue(lines: Sequence[str], n: int) -> bool:
    """Whether an arrow stands where SRT has a cue's times: below a number that an empty line sets off."""
    return (
        "-->" in lines[n]
        and n > 0
        and NUMBER.fullmatch(lines[n - 1]) is not None
        and (n == 1 or not lines[n - 2].strip())
    )


def _matched(line: str) -> re.Match[str] | None:
    if ":" not in line and "：" not in line:
        return None
    match = TIMING.fullmatch(line)
    if match is None and len(line) <= LONGEST_TIMING:
        spaced = SPACED_TIME.sub(r"\1", line.translate(WIDE))
        match = TIMING.fullmatch(spaced) or LOOSE_TIMING.fullmatch(spaced)
    return match


def _add(parsed: Parsed, line: str, number: int, text: str) -> None:
    """Adds a cue, or the reason why it is bad."""
    match = _matched(line)
    if not match:
        parsed.bad.append(
            f"line {number}: {shortened(line)} are no times; write 00:00:01.000 --> 00:00:02.000"
        )
        return
    start, end = seconds_of(match.groups()[:4]), seconds_of(match.groups()[4:])
    for part in (match[2], match[3], match[6], match[7]):
        if int(part) > 59:
            parsed.bad.append(
                f"line {number}: {shortened(line)} has {part} minutes or seconds; 59 is the most"
            )
            return
    if end < start:
        parsed.bad.append(f"line {number}: {shortened(line)} ends before it starts; exchange or correct them")
        return
    parsed.cues.append(Cue(start, end, text))


def to_markup(text: str) -> str:
    """SRT text as WebVTT markup: SRT's few tags and entities stay, every other < and & is a character."""
    parts, end = [], 0
    for tag in SRT_TAG.finditer(text):
        parts += [_escaped(text[end : tag.start()]), tag[0]]
        end = tag.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return html.escape(ENTITY.sub(lambda entity: html.unescape(entity[0]), text), quote=False)


_OF_SUFFIX: dict[str, Callable[[str, Parsed], None]] = {
    ".json3": caption_formats.json3,
    **dict.fromkeys((".srv1", ".srv2", ".srv3"), caption_formats.timedtext),
    **dict.fromkeys((".ttml", ".dfxp"), caption_formats.ttml),
    **dict.fromkeys((".ass", ".ssa"), caption_formats.ass),
    ".sbv": older_formats.sbv,
    **dict.fromkeys((".smi", ".sami"), older_formats.sami),
    ".sub": older_formats.microdvd,
}
