"""Notes for the hard of hearing in captions: descriptions of sounds and names of speakers, which nobody speaks."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from speech.cues import counted

# Square brackets hold no speech. Round ones and asterisks may, so there the place and the words decide.
BRACKETED = re.compile(r"\[[^\[\]]*\]|【[^【】]*】|〔[^〔〕]*〕")
MUSIC = re.compile(r"[♩♪♫♬]+")
ENCLOSED = re.compile(r"\(([^()]*)\)|（([^（）]*)）|\*([^*\n]+)\*")
SOUNDS = re.compile(
    r"""\b(?:music|instrumental|applause|laugh(?:s|ing|ter)?|chuckl(?:es|ing)|giggl(?:es|ing)|sigh(?:s|ing)|cough(?:s|ing)|
    gasp(?:s|ing)|cheer(?:s|ing)|clear(?:s|ing)\ (?:his\ |her\ )?throat|groan(?:s|ing)|inaudible|indistinct|
    foreign\ language|musik|gelächter|applaus|musique|rires|música|risas|musica|risate)\b""",
    re.IGNORECASE | re.VERBOSE,
)
"""What is a sound wherever it stands. Bells and rings are not among them: they may be peppers and onions."""
SUNG = re.compile(r"[♩♪♫♬]([^♩♪♫♬]*)[♩♪♫♬]")
END_OF_SENTENCE = re.compile(r"[.!?…:。！？؟][\"'”’»)\]]*\s*$")
SPEAKER_DASH = re.compile(r"^[ \t]*(?:[-–—‐]+[ \t]*(?=[^\W\d]|[\"'“‘«¿¡(\[*♪])|>{1,3}[ \t]*)", re.MULTILINE)
KNOWN_SPEAKER = "Narrator|Speaker|Host|Interviewer|Man|Woman|Male|Female|Voiceover"
SPEAKER = re.compile(
    r"^[ \t]*(?P<mark>>{2,3}[ \t]*|[-–—‐][ \t]*)?"
    rf"(?P<name>[^\W\d_a-z][^\n:：a-z]{{1,29}}(?: \([^()\n]{{1,30}}\))?|(?:{KNOWN_SPEAKER})(?: \d{{1,3}})?(?: \([^()\n]{{1,30}}\))?)"
    r"[ \t]*[:：](?=\s|$)[ \t]*",
    re.MULTILINE,
)
NO_SPEAKER = re.compile(
    r"(?:STEPS?|TIPS?|NOTES?|WARNING|CAUTION|IMPORTANT|EXAMPLES?|QUESTION|ANSWER|PS|FAQ|INGREDIENTS|RESULT|OK|FYI)\b"
)
# A name as people write it, such as those with which programs for meetings begin each cue.
NAMED = re.compile(
    r"^[ \t]*(?:[-–—‐>]{1,3}[ \t]*)?(?P<name>[^\W\d_][^\n:：]{0,39}?)[ \t]*(?:：|:(?=\s))[ \t]*", re.MULTILINE
)
SHARE_NAMED = 0.5
LONGEST_NAME = 4
"""Words in the name of a speaker."""
WINDOW = 200
"""Characters beside a note that are looked at."""
ESCAPED_TAG = re.compile(r"</?(?:b|i|u|s|font|em|strong|span|c|v|br)(?:[\s.][^<>]*)?/?>", re.IGNORECASE)
TWICE_ESCAPED = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#39|#34);")
# Marks that are not seen: of direction, of width 0, of the order of bytes. Those that join letters are kept.
UNSEEN = re.compile(r"[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


@dataclass
class Dropped:
    """How many descriptions of `sounds` and names of `speakers` were left out. `names`: those of the file's speakers."""

    sounds: int = 0
    speakers: int = 0
    names: frozenset[str] = frozenset()

    def notes(self) -> list[str]:
        counts = ((self.sounds, "sound note"), (self.speakers, "speaker name"))
        return [f"{counted(count, noun)} left out" for count, noun in counts if count]


def spoken(text: str, dropped: Dropped) -> str:
    """What is spoken of a cue's plain text, whose lines end in line feeds.

    A note in round brackets or between asterisks is left out where it stands between sentences or is a whole cue, or
    names a sound; within a sentence it may be spoken. A name in capitals before a colon is that of a speaker.
    """
    text = UNSEEN.sub("", text).replace("\\N", "\n").replace("\\h", " ")
    text = ESCAPED_TAG.sub(" ", TWICE_ESCAPED.sub(lambda entity: html.unescape(entity[0]), text))
    text = SUNG.sub(lambda sung: _described(sung, dropped), text)
    text = without_brackets(text, dropped)
    text = ENCLOSED.sub(lambda note: _enclosed(note, dropped), text)
    if dropped.names:
        text = NAMED.sub(lambda label: _named(label, dropped), text)
    text = SPEAKER.sub(lambda label: _speaker(label, dropped), text)
    return SPEAKER_DASH.sub("", text)


def speaker_names(texts: Sequence[str]) -> frozenset[str]:
    """The names with which at least half of the plain texts of a file begin, each of them more than one."""
    labels = [label["name"] for text in texts if (label := NAMED.match(text))]
    counts = Counter(
        name
        for name in labels
        if len(name.split()) <= LONGEST_NAME
        and not NO_SPEAKER.match(name.upper())
        and all(not word[:1].islower() for word in name.split())
    )
    names = {name: count for name, count in counts.items() if count > 1}
    return frozenset(names if sum(names.values()) >= SHARE_NAMED * len(texts) else ())


def without_brackets(text: str, dropped: Dropped) -> str:
    """The text without what stands in square brackets, and without notes of music."""
    text, brackets = BRACKETED.subn(" ", text)
    dropped.sounds += brackets
    return MUSIC.sub(" ", text)


def _described(sung: re.Match[str], dropped: Dropped) -> str:
    """A song between notes of music is kept without them; "♪ soft music ♪" is a description."""
    if SOUNDS.search(sung[1]):
        dropped.sounds += 1
        return " "
    return sung[0]


def _enclosed(note: re.Match[str], dropped: Dropped) -> str:
    text = next(group for group in note.groups() if group is not None)
    # A window, so that a text of nothing but notes takes linear time.
    before = note.string[max(0, note.start() - WINDOW) : note.start()].rstrip()
    after = note.string[note.end() : note.end() + WINDOW].lstrip()
    before = re.sub(r"(?:^|\n)[ \t]*(?:[-–—‐]|>{1,3})$", "", before)
    begins = not before or END_OF_SENTENCE.search(before[-8:])
    ends = not after or (not after[:1].islower() and (after[:1].isalpha() or after[:1] in "\"'“‘«¿¡-–—(（[♪"))
    # In Chinese and Japanese a wide bracket at the start of a line names the speaker or a sound.
    wide = note[0].startswith("（") and (not before or note.string[note.start() - 1] == "\n")
    # A sentence of its own in brackets is an aside that is spoken.
    aside = END_OF_SENTENCE.search(text) is not None
    if (begins and ends and not aside) or wide or SOUNDS.search(text):
        dropped.sounds += 1
        return " "
    return text if note[0].startswith("*") else note[0]


def _named(label: re.Match[str], dropped: Dropped) -> str:
    if label["name"] not in dropped.names:
        return label[0]
    dropped.speakers += 1
    return ""


def _speaker(label: re.Match[str], dropped: Dropped) -> str:
    name, after = label["name"].strip(), label.string[label.end() : label.end() + WINDOW]
    marked = bool(label["mark"] and label["mark"].startswith(">"))
    spoken_in_capitals = any(c.isalpha() for c in after) and after.upper() == after
    certain = marked or re.match(rf"(?:{KNOWN_SPEAKER})\b", name, re.IGNORECASE) is not None
    letters = sum(c.isalpha() for c in name)
    # Only scripts with capitals have names in capitals.
    in_capitals = name.upper() == name and name.lower() != name
    known = name[:1].isupper() and not in_capitals
    if (
        letters < 2
        or len(name.split()) > LONGEST_NAME
        or NO_SPEAKER.match(name)
        or not (in_capitals or known)
        or (spoken_in_capitals and not certain)
    ):
        return label[0]
    dropped.speakers += 1
    return label["mark"] or ""
