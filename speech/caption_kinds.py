"""What a caption file holds: speech, or thumbnails, chapters and data, which nobody speaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from speech.caption_formats import Parsed
from speech.cues import Cue, counted, plain
from speech.sentences import UNSPACED, is_ended

Kind = Literal["speech", "chapters", "thumbnails", "metadata"]

PICTURE = r"\.(?:jpe?g|jxl|png|webp|gif|avif|bmp|hei[cf]|tiff?|svg)(?:\?\S*)?(?:#\S*)?"
THUMBNAIL = re.compile(rf"\S+{PICTURE}|[^\n]+#xywh=(?:pixel:|percent:)?[\d,.]+", re.IGNORECASE)
ADDRESS = re.compile(rf"https?://\S+|[^\n]*{PICTURE}", re.IGNORECASE)
"""What can be a sentence by itself, but is the address of a picture where nearly all cues of a file are such."""
METADATA = re.compile(r"\s*\{.*\}\s*|\s*\[\s*\{.*\}\s*\]\s*", re.DOTALL)
# What drones and cameras record of each frame: names with numbers, or a place and a time of day.
READING = re.compile(r"[A-Za-z_]\w*[ \t]*[:=(][ \t]*-?\d")
LEAST_READINGS = 3
TIME_OF_DAY = re.compile(r"\d{4}[-./:]\d{2}[-./:]\d{2}|\d{2}:\d{2}:\d{2}")
SHARE_OF_NUMBERS = 0.4
NUMBERED_CHAPTER = re.compile(
    r"(?:chapter|part|kapitel|chapitre|cap[ií]tulo|capitolo|глава)\s+\d", re.IGNORECASE
)
# A chapter's title is shown for as long as the chapter lasts. What is spoken fills a good part of its cue.
CHAPTER_SECONDS = 8.0
CHAPTER_SHARE = 0.15
LONGEST_TITLE = 80
# Titles that follow one another from 0 on without a gap may be shorter, as in a short video.
TILED_SHARE = 0.25
TILED_GAP = 0.05
SECONDS_PER_CHARACTER = 0.2
"""Of a script without spaces between words, whose characters are syllables or words."""
# A text that is shown for so long and ends with a mark is a title too: nobody speaks it for a minute.
MARKED_TITLE_SECONDS = 60.0
LONGEST_ADDRESS = 2000
"""A pattern that is matched against longer texts could take quadratic time."""
MOST_OF_FILE = 0.8


def kind_of(parsed: Parsed) -> Kind:
    """What nearly all cues are, or what the file itself says that they are."""
    if parsed.kind == "chapters":
        return "chapters"
    if parsed.kind in ("metadata", "descriptions"):
        return "metadata"
    texts = [plain(cue.text).strip() for cue in parsed.cues]
    tests: tuple[tuple[Kind, Callable[[str], bool]], ...] = (
        ("thumbnails", _is_picture),
        ("metadata", _is_data),
    )
    for kind, is_kind in tests:
        if texts and sum(map(is_kind, texts)) >= MOST_OF_FILE * len(texts):
            return kind
    titles = sum(_is_title(cue, text) for cue, text in zip(parsed.cues, texts, strict=True))
    if not parsed.kind and texts and (titles >= MOST_OF_FILE * len(texts) or _are_tiles(parsed.cues, texts)):
        return "chapters"
    return "speech"


def spoken_cues(parsed: Parsed) -> list[Cue]:
    """The cues of a file of speech without pictures and data, which are counted in the notes."""
    kept: list[Cue] = []
    pictures = data = 0
    for cue in parsed.cues:
        text = plain(cue.text).strip()
        if _is_thumbnail(text):
            pictures += 1
        elif text and METADATA.fullmatch(text) and '"' in text:
            data += 1
        else:
            kept.append(cue)
    parsed.notes += [f"{counted(pictures, 'thumbnail')} left out"] if pictures else []
    parsed.notes += [f"{counted(data, 'data cue')} left out"] if data else []
    return kept


def _is_thumbnail(text: str) -> bool:
    return text.startswith("data:image/") or (
        len(text) <= LONGEST_ADDRESS and bool(THUMBNAIL.fullmatch(text))
    )


def _is_picture(text: str) -> bool:
    return _is_thumbnail(text) or (len(text) <= LONGEST_ADDRESS and bool(ADDRESS.fullmatch(text)))


def _is_data(text: str) -> bool:
    if METADATA.fullmatch(text):
        return True
    text = text[:LONGEST_ADDRESS]
    tokens = text.split()
    numbers = sum(any(c.isdigit() for c in token) for token in tokens)
    if not tokens or numbers < SHARE_OF_NUMBERS * len(tokens):
        return False
    return len(READING.findall(text)) >= LEAST_READINGS or TIME_OF_DAY.search(text) is not None


def _is_title(cue: Cue, text: str) -> bool:
    """Whether a text is shown for so long, and is so short, that it is the title of a chapter."""
    seconds = cue.end - cue.start
    if not 0 < len(text) <= LONGEST_TITLE:
        return False
    ended = is_ended(text)
    if NUMBERED_CHAPTER.match(text) and not ended and _seconds_to_say(text) <= seconds / 2:
        return True
    return (
        seconds >= CHAPTER_SECONDS
        and _seconds_to_say(text) <= CHAPTER_SHARE * seconds
        and (seconds >= MARKED_TITLE_SECONDS or not ended)
    )


def _are_tiles(cues: Sequence[Cue], texts: Sequence[str]) -> bool:
    """Whether titles without an end mark follow one another from 0 on, shown for much longer than they take to say."""
    if len(cues) < 2 or cues[0].start > TILED_GAP:
        return False
    if any(abs(after.start - before.end) > TILED_GAP for before, after in pairwise(cues)):
        return False
    if any(not 0 < len(t) <= LONGEST_TITLE or is_ended(t) or t[0].islower() for t in texts):
        return False
    return sum(map(_seconds_to_say, texts)) <= TILED_SHARE * (cues[-1].end - cues[0].start)


def _seconds_to_say(text: str) -> float:
    unspaced = len(UNSPACED.findall(text))
    return 0.12 * len(text.split()) + 0.055 * (len(text) - unspaced) + SECONDS_PER_CHARACTER * unspaced
