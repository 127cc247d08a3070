"""Cues of caption formats beside WebVTT and SRT: YouTube's json3 and srv1 to srv3, TTML (DFXP), ASS and SSA."""

from __future__ import annotations

import html
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from speech.cues import CLOCK, Cue, clock_of, counted, seconds_of, shortened
from speech.errors import SpeechError

LONGEST = 1_000_000 * 3600.0
OVERRIDE = re.compile(r"\{[^{}]*\}")
DRAWING = re.compile(r"\{[^{}]*\\p[1-9][^{}]*\}.*?(?:\{[^{}]*\\p0[^{}]*\}|\Z)", re.DOTALL)
ON_SCREEN = re.compile(r"\b(?:signs?|typeset(?:ting)?|karaoke|credits?|titles?|logo)\b", re.IGNORECASE)
STRAY_AMPERSAND = re.compile(r"&(?!#\d{1,7};|#x[0-9A-Fa-f]{1,6};|(?:amp|lt|gt|quot|apos);)")
NAMED_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)[A-Za-z][A-Za-z0-9]{1,31};")
DECLARATIONS = re.compile(r"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
RUBY = ("text", "textContainer", "delimiter")
"""TTML's names of what says how characters are read."""
TTML_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9})|[:;](\d{1,3})(?:\.\d+)?)?")
TTML_OFFSET = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(h|m|s|ms|f|t)")


@dataclass
class Parsed:
    """What a parser has found in a file. `bad`: the place and fault of each cue that is left out.

    `kind`: what the file says it is, such as `captions` or `chapters`. `automatic`: a recogniser wrote it. `frame_rate`:
    of the video, where it is known, for times that are frames.
    """

    cues: list[Cue] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    automatic: bool = False
    language: str | None = None
    kind: str | None = None
    frame_rate: float | None = None

    def add(self, start: float, end: float, text: str, place: str) -> None:
        """Adds a cue of WebVTT markup, without empty lines; one of impossible times is bad."""
        if not 0 <= start <= end <= LONGEST:
            self.bad.append(f"{place}: {start:g} to {end:g} s are no times; correct them")
            return
        lines = [line.strip() for line in text.split("\n")]
        text = "\n".join(line for line in lines if line)
        self.cues.append(Cue(round(start, 3), round(end, 3), text))


@dataclass
class _Line:
    """A line of YouTube's formats in milliseconds; `words`: (offset from `start`, text) where words have times."""

    start: float
    length: float
    words: list[tuple[float, str]]
    place: str


def json3(text: str, parsed: Parsed) -> None:
    """YouTube's json3: `events` with `tStartMs`, `dDurationMs` and `segs` of `utf8` and `tOffsetMs`. Raises SpeechError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpeechError(f": is not JSON ({str(error)[:80] or 'nested too deep'})") from error
    events = data.get("events") if isinstance(data, dict) else None
    if not isinstance(events, list):
        raise SpeechError(': holds no list "events"; give a file that YouTube calls json3')
    lines: list[_Line] = []
    for n, event in enumerate(events):
        segments = event.get("segs") if isinstance(event, dict) else None
        if not isinstance(segments, list):
            continue  # an event without a text sets the window in which the next are shown
        place = f"events[{n}]"
        try:
            words = [(float(s.get("tOffsetMs", 0)), str(s["utf8"])) for s in segments if "utf8" in s]
            start, length = float(event["tStartMs"]), float(event.get("dDurationMs", 0))
        except (TypeError, ValueError, KeyError, AttributeError):
            parsed.bad.append(f"{place}: has no times in milliseconds; correct it")
            continue
        parsed.automatic |= any("acAsrConf" in s or "tOffsetMs" in s for s in segments)
        lines.append(_Line(start, length, words, place))
    _add_lines(lines, parsed)


def timedtext(text: str, parsed: Parsed) -> None:
    """YouTube's srv3 (`<p t d>` with `<s t>`), srv2 (`<text t d>`, milliseconds) and srv1 (`<text start dur>`, seconds).

    Raises SpeechError.
    """
    lines: list[_Line] = []
    for n, (event, element) in enumerate(_elements(text, parsed)):
        if event == "start" or element.tag not in ("p", "text"):
            continue
        place, attributes = f"<{element.tag}> {n}", element.attrib
        try:
            if "start" in attributes:
                start, length = (1000 * float(attributes.get(name, 0)) for name in ("start", "dur"))
            else:
                start, length = float(attributes["t"]), float(attributes.get("d", 0))
            words = [(0.0, element.text or "")]
            for part in element.iter("s"):
                words += [
                    (float(part.get("t", 0)), part.text or ""),
                    (float(part.get("t", 0)), part.tail or ""),
                ]
        except (ValueError, KeyError):
            parsed.bad.append(f"{place}: has no times; correct it")
            continue
        parsed.automatic |= any(part.get("ac") is not None or part.get("t") for part in element.iter("s"))
        lines.append(_Line(start, length, [word for word in words if word[1]], place))
        element.clear()
    _add_lines(lines, parsed)


def _add_lines(lines: list[_Line], parsed: Parsed) -> None:
    """YouTube's lines as cues, with word times where a recogniser wrote them.

    Such a line stays until the second one after it is shown, though it is spoken until the next one.
    """
    # A line of nothing but a line feed scrolls the window.
    lines = [line for line in lines if "".join(text for _, text in line.words).strip()]
    times = [(line.start, line.length, *(offset for offset, _ in line.words)) for line in lines]
    parsed.bad += [
        f"{line.place}: has times that are no numbers; correct them"
        for line, numbers in zip(lines, times, strict=True)
        if not all(map(math.isfinite, numbers))
    ]
    lines = [line for line, numbers in zip(lines, times, strict=True) if all(map(math.isfinite, numbers))]
    if parsed.automatic:
        lines.sort(key=lambda line: line.start)
        for line, following in pairwise(lines):
            line.length = min(line.length, following.start - line.start)
    for line in lines:
        parts = []
        for offset, text in line.words:
            # YouTube writes some entities twice.
            text = html.escape(html.unescape(text), quote=False)
            parts.append(f"<{clock_of((line.start + offset) / 1000)}>{text}" if offset > 0 else text)
        parsed.add(line.start / 1000, (line.start + line.length) / 1000, "".join(parts), line.place)


def ttml(text: str, parsed: Parsed) -> None:
    """TTML, which DFXP is: `<p begin end dur>`, within `<body>` and `<div>` that may begin later. Raises SpeechError.

    A paragraph without a time of its own has that of what it stands in.
    """
    frame_rate, tick_rate = 30.0, 0.0
    spans: list[tuple[float, float]] = [(0.0, math.inf)]
    for event, element in _elements(text, parsed):
        name = _name(element)
        if event == "start":
            if _attribute(element, "timeContainer") == "seq":
                raise SpeechError(
                    ": its texts follow one another without times of their own; convert it to .vtt"
                )
            if name == "tt":
                frame_rate, tick_rate = _rates(element)
                parsed.language = _attribute(element, "lang") or None
            try:
                spans.append(_ttml_span(element, spans[-1], frame_rate, tick_rate))
            except ValueError:
                spans.append(spans[-1])
            continue
        spans.pop()
        if name != "p":
            continue
        _add_paragraph(element, spans[-1], frame_rate, tick_rate, parsed)
        element.clear()


def _ttml_span(
    element: ET.Element, within: tuple[float, float], frame_rate: float, tick_rate: float
) -> tuple[float, float]:
    """When an element begins and ends, in seconds, by its own times and those of what it stands in. Raises ValueError."""
    begin, end, length = (
        _ttml_seconds(element.get(name), frame_rate, tick_rate) for name in ("begin", "end", "dur")
    )
    starts = within[0] + (begin or 0.0)
    if end is None and length is None:
        return starts, within[1]
    return starts, starts + length if end is None else within[0] + end


def _add_paragraph(
    paragraph: ET.Element, within: tuple[float, float], frame_rate: float, tick_rate: float, parsed: Parsed
) -> None:
    """The cue of a paragraph, or of each of its spans where only these have times."""
    timed = [paragraph]
    if not {"begin", "end", "dur"} & paragraph.attrib.keys():
        timed = [part for part in paragraph if part.get("begin") is not None] or timed
    for element in timed:
        text = _ttml_text(element)
        if not text.strip():
            continue
        place = f"cue {len(parsed.cues) + len(parsed.bad) + 1} ({shortened(' '.join(text.split()))})"
        try:
            begin, end = _ttml_span(element, within, frame_rate, tick_rate)
        except ValueError as error:
            parsed.bad.append(f"{place}: {error}")
            continue
        if math.isinf(end):
            parsed.bad.append(f"{place}: has no end; give begin and end")
            continue
        parsed.add(begin, end, html.escape(text, quote=False), place)


def _ttml_text(element: ET.Element) -> str:
    """The text of an element: white space is one space, a `<br/>` a line feed, descriptions of the file no text."""
    parts: list[str] = []
    waiting: list[ET.Element | str] = [element]
    # Not recursive: a hostile file nests its elements as deep as it likes.
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            parts.append(re.sub(r"\s+", " ", item))
        elif _name(item) == "br":
            parts.append("\n")
        elif _name(item) not in ("metadata", "title", "desc") and _attribute(item, "ruby") not in RUBY:
            inner = [item.text or ""]
            for child in item:
                inner += [child, child.tail or ""]
            waiting += reversed(inner)
    return "".join(parts)


def _ttml_seconds(time: str | None, frame_rate: float, tick_rate: float) -> float | None:
    """Seconds of a time expression, `00:00:01.5`, `00:00:01:12`, `1.5s`, `36f` or `15000000t`. Raises ValueError."""
    if time is None:
        return None
    if clock := TTML_CLOCK.fullmatch(time.strip()):
        return seconds_of(clock.groups()[:4]) + (int(clock[5]) / frame_rate if clock[5] else 0.0)
    if offset := TTML_OFFSET.fullmatch(time.strip()):
        units = {
            "h": 3600.0,
            "m": 60.0,
            "s": 1.0,
            "ms": 0.001,
            "f": 1 / frame_rate,
            "t": 1 / (tick_rate or 1),
        }
        return float(offset[1]) * units[offset[2]]
    raise ValueError(f"{shortened(time)} is no time; write 00:00:01.000")


def _rates(root: ET.Element) -> tuple[float, float]:
    """Frames and ticks a second, as the root says; 30 frames, and as many ticks as frames or one."""
    try:
        frames = float(_attribute(root, "frameRate") or 30)
        numerator, denominator = re.split(r"[\s:]+", _attribute(root, "frameRateMultiplier") or "1 1")
        frames *= float(numerator) / float(denominator)
        ticks = float(_attribute(root, "tickRate") or (frames if _attribute(root, "frameRate") else 1))
    except (ValueError, ZeroDivisionError):
        return 30.0, 1.0
    return (frames, ticks) if min(frames, ticks) > 0 else (30.0, 1.0)


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _attribute(element: ET.Element, name: str) -> str:
    """An attribute by its name in whatever namespace: TTML has had several."""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def _elements(text: str, parsed: Parsed) -> Iterator[tuple[str, ET.Element]]:
    """The starts and ends of the elements of an XML document, up to where it breaks off.

    No document type is read, so no entity can grow. Raises SpeechError where there is no element.
    """
    if DECLARATIONS.search(text):
        raise SpeechError(": declares a document type, which is never read; take that line out")
    # A declaration of the encoding is about the bytes, which are read already. HTML's entities are no XML.
    text = re.sub(r"\A\s*<\?xml[^>]*\?>", "", text)
    text = NAMED_ENTITY.sub(lambda entity: html.escape(html.unescape(entity[0])), text)
    parser = ET.XMLPullParser(("start", "end"))
    parser.feed(STRAY_AMPERSAND.sub("&amp;", text))
    elements, broken = 0, ""
    try:
        for event in parser.read_events():
            elements += 1
            yield event
        parser.close()
    except ET.ParseError as error:
        broken = str(error)[:80]
    if not elements:
        raise SpeechError(f": is no XML ({broken or 'no element'}); fetch it again")
    if broken:
        parsed.bad.append(f"the file breaks off ({broken}); fetch it again")


def ass(text: str, parsed: Parsed) -> None:
    """ASS and SSA: the `Dialogue` lines of `[Events]`, in the order of fields that their `Format` gives."""
    fields = "layer start end style name marginl marginr marginv effect text".split()
    on_screen = 0
    for number, line in enumerate(text.splitlines(), 1):
        role, _, rest = line.partition(":")
        role = role.strip().lower()
        if role == "format" and "text" in rest.lower():
            fields = [name.strip().lower() for name in rest.split(",")]
        if role != "dialogue":
            continue
        values = dict(zip(fields, rest.split(",", len(fields) - 1), strict=False))
        times = [re.fullmatch(CLOCK, values.get(name, "").strip()) for name in ("start", "end")]
        if "text" not in values or not all(times):
            parsed.bad.append(f"line {number}: {shortened(line)} has no start, end and text; correct it")
            continue
        start, end = (seconds_of(time.groups()) for time in times)
        # Signs and credits are read, not spoken.
        if is_on_screen(values.get("style", "")):
            on_screen += 1
        elif said := ass_text(values["text"]):
            parsed.add(start, end, said, f"line {number}")
    if on_screen:
        parsed.notes.append(f"{counted(on_screen, 'sign')} on the picture left out")
    if not parsed.cues and not parsed.bad:
        raise SpeechError(": holds no Dialogue line; give an .ass or .ssa file")


def is_on_screen(style: str) -> bool:
    """Whether the name of a style is that of signs and credits."""
    return ON_SCREEN.search(style.replace("_", " ")) is not None


def ass_text(text: str) -> str:
    """The text of an ASS event as WebVTT markup, without overrides and drawings."""
    text = OVERRIDE.sub("", DRAWING.sub("", text))
    text = re.sub(r"\\[Nn]", "\n", text).replace("\\h", " ")
    return html.escape(text.strip(), quote=False)
