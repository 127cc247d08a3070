"""Cues of three older caption formats: YouTube's SubViewer (.sbv), SAMI (.smi, .sami) and MicroDVD (.sub)."""

from __future__ import annotations

import html
import re
from collections import Counter

from speech.caption_formats import Parsed
from speech.cues import CLOCK, counted, seconds_of, shortened
from speech.errors import SpeechError

SBV_TIMES = re.compile(rf"\s*{CLOCK}\s*,\s*{CLOCK}\s*")
SYNC = re.compile(r"<sync\b[^<>]*?\bstart\s*=\s*[\"']?(-?\d{1,12})[^<>]*>", re.IGNORECASE)
PARAGRAPH = re.compile(r"<p\b([^<>]*)>", re.IGNORECASE)
CLASS = re.compile(r"\bclass\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
LANGUAGE = re.compile(r"\.([\w-]+)\s*\{[^{}]*?(?<![\w-])lang\s*:\s*([A-Za-z]{2,3})(?:-\w+)?\b", re.IGNORECASE)
SAMI_END = re.compile(r"</(?:body|sami)\s*>.*", re.IGNORECASE | re.DOTALL)
BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
ELEMENT = re.compile(r"</?[A-Za-z!][^<>]*>")
LAST_CUE_SECONDS = 5.0
"""How long SAMI's last text is shown, as nothing says when it ends."""
FRAMES = re.compile(r"\{(\d{1,9})\}\{(\d{1,9})\}(.*)")
RATE = re.compile(r"\d{1,3}(?:[.,]\d{1,6})?")
STYLE = re.compile(r"\{[A-Za-z]:[^{}]*\}")


def sbv(text: str, parsed: Parsed) -> None:
    """SubViewer as YouTube writes it: a line `0:00:01.000,0:00:02.500`, then the text. Raises SpeechError."""
    lines = text.splitlines()
    heads = [n for n, line in enumerate(lines) if SBV_TIMES.fullmatch(line)]
    if not heads:
        raise SpeechError(", line 1: holds no line of times; write 0:00:01.000,0:00:02.500")
    for at, following in zip(heads, [*heads[1:], len(lines)], strict=True):
        times = SBV_TIMES.fullmatch(lines[at]).groups()
        said = html.escape("\n".join(lines[at + 1 : following]).strip(), quote=False)
        parsed.add(seconds_of(times[:4]), seconds_of(times[4:]), said, f"line {at + 1}")


def sami(text: str, parsed: Parsed) -> None:
    """SAMI: from each `<SYNC Start=milliseconds>` on its text is shown, until the next of its class. Raises SpeechError.

    Of several classes, which are languages, the one with most texts is taken, the others are noted.
    """
    text = SAMI_END.sub("", text)
    syncs = list(SYNC.finditer(text))
    if not syncs:
        raise SpeechError(": holds no <SYNC Start=...>; give a .smi file")
    shown: dict[str, list[tuple[float, str]]] = {}
    for sync, following in zip(syncs, [*syncs[1:], None], strict=True):
        body = text[sync.end() : following.start() if following else len(text)]
        # Before the first <P> there is nothing, or a text without a class.
        before, *paragraphs = PARAGRAPH.split(body)
        parts = [("", before)] if not paragraphs else zip(paragraphs[::2], paragraphs[1::2], strict=True)
        for attributes, content in parts:
            found = CLASS.search(attributes)
            said = html.unescape(ELEMENT.sub("", BREAK.sub("\n", content))).replace("\xa0", " ").strip()
            shown.setdefault(found[1].lower() if found else "", []).append((int(sync[1]) / 1000, said))
    counts = Counter({name: sum(bool(said) for _, said in texts) for name, texts in shown.items()})
    taken = counts.most_common(1)[0][0]
    languages = {name.lower(): code.lower() for name, code in LANGUAGE.findall(text)}
    parsed.language = languages.get(taken)
    texts = shown[taken]
    ends = [start for start, _ in texts[1:]] + [texts[-1][0] + LAST_CUE_SECONDS]
    for n, ((start, said), end) in enumerate(zip(texts, ends, strict=True), 1):
        if said:
            parsed.add(start, end, html.escape(said, quote=False), f"text {n} ({shortened(said)})")
    if others := [languages.get(name, name) for name in counts if name != taken and counts[name]]:
        parsed.notes.append(f"of {counted(len(others) + 1, 'language')} in it, {', '.join(others)} left out")


def microdvd(text: str, parsed: Parsed) -> None:
    """MicroDVD: `{first frame}{last frame}text|second line`; `{1}{1}25` says the frames a second, else the video's are taken.

    SubViewer has the same ending, and the times of YouTube's. Raises SpeechError.
    """
    if any(SBV_TIMES.fullmatch(line) for line in text.splitlines()):
        sbv(re.sub(r"\[br\]", "\n", text, flags=re.IGNORECASE), parsed)
        return
    rate = parsed.frame_rate
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        found = FRAMES.fullmatch(line.strip())
        if found is None:
            if not parsed.cues:
                raise SpeechError(f", line {number}: is no MicroDVD cue; write {{25}}{{50}}text")
            parsed.bad.append(f"line {number}: {shortened(line)} has no frames")
            continue
        first, last, said = int(found[1]), int(found[2]), STYLE.sub("", found[3]).strip()
        if not parsed.cues and first == last <= 1 and RATE.fullmatch(said):
            rate = float(said.replace(",", "."))
            continue
        if not rate:
            raise SpeechError(
                f", line {number}: its times are frames; say how many a second by a first line {{1}}{{1}}25"
            )
        parsed.add(
            first / rate, last / rate, html.escape(said.replace("|", "\n"), quote=False), f"line {number}"
        )
