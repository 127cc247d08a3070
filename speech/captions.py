"""Captions as a transcript: the words of the cues with their times, and the sentences that they make."""

from __future__ import annotations

import dataclasses
import html
import math
import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate, pairwise

from speech.cues import INNER_TIME, Cue, counted, plain, seconds_of
from speech.sentences import (
    CERTAIN_MARKS,
    CLOSERS,
    OPENERS,
    UNSPACED,
    Sentence,
    SentenceOptions,
    Transcript,
    Word,
    sentences,
    split_end_marks,
)
from speech.sound_notes import Dropped, speaker_names, spoken, without_brackets

# How long a spoken word lasts by its letters, where a caption gives only its start. What is left until the next word
# is a pause. In captions without punctuation one of SHORTEST_PAUSE ends a sentence, unless the speaker makes so many
# that more than one word in WORDS_BETWEEN_PAUSES would: then only the longest do. Measured on the captions of three
# videos.
SECONDS_PER_WORD = 0.12
SECONDS_PER_LETTER = 0.055
SHORTEST_PAUSE = 0.3
WORDS_BETWEEN_PAUSES = 18


# Captions of two speakers overlap now and then. Lines that YouTube's recogniser wrote overlap nearly always in some
# programs' files, as each stays until the second one after it: they are spoken one after the other.
OVERLAP_SECONDS = 1.0
TOUCHING = 0.25
"""Seconds between two cues at most, where the later shows the text of the earlier again rather than has it said twice."""
MOST_ROLLED = 100
"""Lines of a cue that are looked for in the one before: more are on no screen, and would take quadratic time."""
LEAST_SCROLLED = 5
SHARE_SCROLLED = 0.6
MOST_ENDED = 0.4
# In scripts without capitals the end of a cue ends a sentence, unless this share of the cues ends in some mark.
SHARE_PUNCTUATED = 0.8
# Where no space follows a mark that ends a sentence: "。" anywhere, "!" before a script without spaces.
INNER_END = re.compile(
    rf"(?<=[{re.escape(''.join(sorted(CERTAIN_MARKS - set('!?'))))}])(?![{re.escape(''.join(CERTAIN_MARKS) + CLOSERS)}])"
    rf"|(?<=[!?…])(?={UNSPACED.pattern})(?![{re.escape(''.join(CERTAIN_MARKS) + CLOSERS)}])"
)
NO_WORD = re.compile(r"[-–—]+|[<>]+|[#¶*~]+")
VOICE = re.compile(r"<v(?:\.[^\s<>]*)?[ \t]([^<>]+)>")


def transcript(
    cues: Sequence[Cue],
    source: dict,
    *,
    language: str | None = None,
    seconds: float | None = None,
    options: SentenceOptions | None = None,
) -> Transcript:
    """The words of the cues as sentences. Words have no probability.

    `seconds`: the length of the video; cues that start later are left out. Cues are taken in the order of their start,
    and the words of one that overlaps another stay together. A word's time comes from its cue where the cue has word
    times, else the words share the cue's time. In roll-up captions each line is taken once. Captions without
    punctuation are cut at pauses, and where some cues begin with a capital letter; in scripts without capitals also
    where a cue ends.
    """
    cues, notes = _of_video(cues, seconds)
    joined = _joined(cues)
    cues = joined if len(joined) * 2 <= len(cues) else cues
    timed = any(INNER_TIME.search(cue.text) for cue in cues)
    rows, repeats = _new_lines(cues)
    # Roll-up captions show most lines again, or have word times as YouTube's do. Elsewhere a line that comes twice was
    # spoken twice.
    rolls_up = timed or repeats * 2 >= len(cues) > 1
    if not rolls_up:
        rows = [(cue, cue.text.split("\n")) for cue in cues]
    notes += ["lines that roll up are taken once"] if rolls_up and repeats else []
    dropped = Dropped(names=speaker_names([plain(cue.text) for cue in cues]))
    said = [(cue, _said(cue, "\n".join(lines), dropped)) for cue, lines in rows]
    notes += dropped.notes()
    if _scrolls(said):
        ends = [min(cue.end, after.start) for (cue, _), (after, _) in pairwise(said)]
        said = [
            (dataclasses.replace(cue, end=max(end, cue.start)), text)
            for (cue, text), end in zip(said, [*ends, said[-1][0].end], strict=True)
        ]
    of_cues = [(cue, words) for cue, text in said if (words := _words(cue, text))]
    options = options or SentenceOptions()
    runs = _runs(of_cues, cut_at_ends=not rolls_up and _ends_at_cues([words for _, words in of_cues]))
    words = [word for run in runs for word in run]
    if _has_marks(words, options):
        found = [sentence for run in runs for sentence in sentences(run, options)]
    else:
        openings = {cue_words[0] for _, cue_words in of_cues}
        found = _unmarked_sentences(runs, openings, options)
        notes += ["no punctuation: sentences are cut at pauses"] if words else []
    found.sort(key=lambda sentence: sentence.start)
    return Transcript(language, dict(source), tuple(found), tuple(notes))


def _of_video(cues: Sequence[Cue], seconds: float | None) -> tuple[list[Cue], list[str]]:
    """The cues in order of their start, each once, without those past the end of the video; and notes."""
    kept = list(dict.fromkeys(cues))
    notes = []
    if len(kept) < len(cues):
        notes.append(f"{counted(len(cues) - len(kept), 'cue')} given twice: taken once")
    if any(after.start < before.start for before, after in pairwise(kept)):
        notes.append("cues were not in the order of their start")
        kept.sort(key=lambda cue: cue.start)
    if seconds is not None and (late := [cue for cue in kept if cue.start >= seconds]):
        kept = kept[: len(kept) - len(late)]
        notes.append(
            f"{counted(len(late), 'cue')} past the video's end ({seconds:.1f} s) left out, the first at {late[0].start:.1f} s"
        )
    return kept, notes


def _joined(cues: Sequence[Cue]) -> list[Cue]:
    """The cues, those that show one text without a pause as one.

    Whisper's option to highlight words writes a cue for each word, with the whole sentence.
    """
    joined: list[Cue] = []
    before = ""
    for cue in cues:
        text = "" if INNER_TIME.search(cue.text) else " ".join(plain(cue.text).split())
        if text and text == before and -TOUCHING <= cue.start - joined[-1].end <= TOUCHING:
            joined[-1] = dataclasses.replace(joined[-1], end=max(cue.end, joined[-1].end))
        else:
            joined.append(cue)
        before = text
    return joined


def _said(cue: Cue, text: str, dropped: Dropped) -> str:
    """What is spoken of the new lines of a cue: plain text, but for the times of words where it has them."""
    if not INNER_TIME.search(text):
        return spoken(plain(text), dropped)
    return without_brackets(text, dropped)


def _scrolls(said: Sequence[tuple[Cue, str]]) -> bool:
    """Whether most cues overlap the next one and few end a sentence: lines that scroll past."""
    texts = [text.strip() for _, text in said if text.strip()]
    pairs = list(pairwise(cue for cue, text in said if text.strip()))
    ended = sum(bool(split_end_marks(text)[1]) for text in texts)
    if len(texts) < LEAST_SCROLLED or ended > MOST_ENDED * len(texts):
        return False
    overlaps = sum(before.start < after.start < before.end for before, after in pairs)
    return overlaps >= SHARE_SCROLLED * len(pairs)


def _ends_at_cues(of_cues: Sequence[Sequence[Word]]) -> bool:
    """Whether the end of a cue ends a sentence: in scripts without capitals, where not nearly all cues end in a mark."""
    letters = [letter for words in of_cues for word in words for letter in word.text if letter.isalpha()]
    if sum(letter.upper() == letter.lower() for letter in letters) * 2 <= len(letters):
        return False
    punctuated = sum(unicodedata.category(words[-1].text[-1]).startswith("P") for words in of_cues)
    return punctuated < SHARE_PUNCTUATED * len(of_cues)


def _runs(of_cues: Sequence[tuple[Cue, list[Word]]], *, cut_at_ends: bool) -> list[list[Word]]:
    """The words of the cues in runs that no sentence reaches across.

    A cue that overlaps the one before begins one, and so does one with another voice.
    """
    runs: list[list[Word]] = []
    end, voice = -math.inf, None
    for cue, words in of_cues:
        voices = VOICE.findall(cue.text)
        overlaps = runs and (words[0].start < runs[-1][-1].start or end - cue.start > OVERLAP_SECONDS)
        if not runs or cut_at_ends or overlaps or (voices and voices[0] != voice):
            runs.append([])
        runs[-1].extend(words)
        end, voice = cue.end, voices[-1] if voices else None
    return runs


def spread(texts: Sequence[str], start: float, end: float, *, timed: bool) -> list[Word]:
    """Words that share the time from `start` to `end` (seconds) by their number of letters.

    `timed`: the words are no slower than people speak, and what is left before `end` is a pause. Dashes and ">>", which
    mark a change of speaker, are no words.
    """
    texts = [text for text in texts if not NO_WORD.fullmatch(text)]
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

    Roll-up captions show the last lines again above a new one, others show a line again with more words. So the longest
    end of the last cue that this one begins with is old. It is compared without markup, since word times are shown only
    once.
    """
    rows, shown, again, end = [], [], 0, -math.inf
    for cue in cues:
        lines = [line for line in cue.text.split("\n") if plain(line).strip()]
        texts = [plain(line).strip() for line in lines]
        old, rest = _old_lines(shown, texts) if cue.start - end <= TOUCHING else (0, "")
        if rest:
            lines[old] = html.escape(rest, quote=False)
        again += old > 0 or bool(rest)
        rows.append((cue, lines[old:]))
        shown, end = texts, cue.end
    return rows, again


def _old_lines(shown: Sequence[str], texts: Sequence[str]) -> tuple[int, str]:
    """How many of the first lines of a cue were shown, and what is new of the next where it goes on with the last one."""
    longest = min(len(shown), len(texts), MOST_ROLLED)
    for count in range(longest, 0, -1):
        if shown[-count:] == texts[:count]:
            return count, ""
    for count in range(longest, 0, -1):
        rest = texts[count - 1].removeprefix(shown[-1])
        goes_on = rest != texts[count - 1] and (rest[:1].isspace() or UNSPACED.match(rest))
        if goes_on and shown[-count:-1] == texts[: count - 1]:
            return count - 1, rest.strip()
    return 0, ""


def _has_marks(words: Sequence[Word], options: SentenceOptions) -> bool:
    """Whether punctuation ends at least as many sentences as there must be at their greatest length."""
    marks = sum(bool(split_end_marks(word.text)[1]) for word in words)
    return marks * options.most_words >= len(words) > 0


def _unmarked_sentences(
    runs: Sequence[Sequence[Word]], openings: set[Word], options: SentenceOptions
) -> list[Sentence]:
    """Sentences of captions without punctuation. `openings`: the first word of each cue."""
    # A capital letter at the start of a cue begins a sentence, unless all cues start with one.
    capital = {word for word in openings if word.text.lstrip(OPENERS)[:1].isupper()}
    begins = capital if any(word.text[:1].islower() for word in openings) else set()
    # A fast speaker's pauses are short, a slow one's long: the share of pauses that end a sentence is bounded.
    pauses = sorted(after.start - before.end for run in runs for before, after in pairwise(run))
    if pauses:
        usual = pauses[math.floor(len(pauses) * (1 - 1 / WORDS_BETWEEN_PAUSES))]
        options = dataclasses.replace(options, pause=max(SHORTEST_PAUSE, usual))
    found = []
    for words in runs:
        cuts = [0, *(n for n, word in enumerate(words) if n and word in begins), len(words)]
        for start, end in pairwise(cuts):
            found += sentences(words[start:end], options)
    return found


def _words(cue: Cue, text: str) -> list[Word]:
    """The words of `text`, the new lines of a cue. Those between two word times share the time between them."""
    # The split gives text, then the four numbers of a time, then text again, and so on.
    pieces = INNER_TIME.split(text)
    if len(pieces) == 1:
        return spread(_split_words(text), cue.start, cue.end, timed=False)
    texts = [pieces[0], *pieces[5::5]]
    times = [cue.start]
    for n in range(1, len(pieces), 5):
        # Times that run backwards or leave the cue are moved to the nearest that do not.
        times.append(min(max(seconds_of(pieces[n : n + 4]), times[-1]), cue.end))
    words = []
    for start, end, piece in zip(times, [*times[1:], cue.end], texts, strict=True):
        words += spread(_split_words(plain(piece)), start, end, timed=True)
    return words


def _split_words(text: str) -> list[str]:
    """The words between spaces; one that holds the end of a sentence, in scripts without spaces, is parted there."""
    words = text.split()
    if text.isascii():
        return words
    return [part for word in words for part in INNER_END.split(word) if part]
