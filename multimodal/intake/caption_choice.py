"""The captions of a video: those beside it and in it, which are taken for its words, and what is said of the others.

The rule is that of :mod:`speech.sidecars`; a file beside the video comes before an equal stream in it. Captions whose tag
or script is of another language than what is spoken are a translation: they are not taken where the words that are said
can be had. What is spoken is told (``--language``, ``language.txt``), else heard by Whisper in the first minute, else what
the sound track's tag says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from multimodal.catalogue import Video
from multimodal.intake import caption_reading, sandbox
from multimodal.intake.caption_reading import Captions
from multimodal.library import SUFFIXES as MEDIA
from multimodal.library import read_json
from multimodal.names import listed
from multimodal.store import Store, canonical_json, file_digest, recipe, write_artefact
from speech import embedded_captions, sidecars
from speech.errors import SpeechError
from speech.languages import language_code, language_name
from speech.sentences import Transcript
from speech.sidecars import UNREADABLE, Sidecar, Tags
from vision.caption_streams import CaptionStream
from vision.media import Media

VERSION = 4
"""To be raised when the same captions give another transcript."""
EARLIER = (3, 2)
"""Versions of transcripts by captions in stores of before; what Whisper makes has a version of its own."""
RULE = 3
"""To be raised when other captions are taken."""
NAMED = 5
"""Captions that are named in a video's reason; more are counted."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """The ``transcript`` of the captions that were taken, as it is stored, or ``None`` where none were.

    ``made_of``: what the transcript's address is made of beside the version. ``problems`` and ``notes``: sentences for
    the video's reason.
    """

    transcript: dict | None = None
    made_of: object = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclasses.dataclass
class _Candidate:
    """Captions that could be taken: a ``sidecar`` or a ``stream``. ``refused``: why they are not, where that is known.

    ``written``: the language in which a file is probably written.
    """

    name: str
    tags: Tags
    sidecar: Sidecar | None = None
    stream: CaptionStream | None = None
    file: Captions | None = None
    written: str | None = None
    refused: str = ""
    unreadable: bool = False

    def place(self, spoken: str | None, certain: bool) -> tuple[int, ...]:
        automatic = self.tags.automatic or (self.file is not None and self.file.automatic)
        return sidecars.order(
            self.tags,
            self.sidecar.path.suffix.lower() if self.sidecar else "",
            spoken=spoken,
            certain=certain,
            automatic=automatic,
            untagged=self.sidecar is not None and not self.sidecar.tag,
        )


REASONS = ("another language", "a recogniser's", "for the hard of hearing", "another format", "another file")
"""Why captions come behind those that were taken, by the part of their place that differs."""


def identity(video: Path, taken: bool) -> object:
    """What of the captions beside a video decides its ingestion, as JSON; ``None`` where there are none to speak of."""
    found = sidecars.beside(video, MEDIA)
    names = [s.name for s in sidecars.beside(video, MEDIA, UNREADABLE)]
    if not taken:
        return [s.name for s in found] + names or None
    return [VERSION, RULE, [[s.name, _digest(s.path)] for s in found], names]


def _digest(file: Path) -> str | None:
    """The digest of a caption file, or ``None`` where it cannot be read, which its video's reason says."""
    try:
        return file_digest(file)
    except OSError:
        return None


def not_taken(video: Path, media: Media) -> list[str]:
    """A note on the captions beside and in a video that is transcribed all the same."""
    found = [s.name for s in sidecars.beside(video, MEDIA) if not s.tags.never]
    found += [f"stream {s.index}" for s in media.captions if s.codec in embedded_captions.CODECS]
    if not found:
        return []
    return [f"captions are there and were not taken: {listed(found, NAMED)} (--captions takes them)"]


def choose(
    video: Path,
    media: Media,
    *,
    language: str | None,
    heard: Callable[[], str | None] = lambda: None,
    track: str | None = None,
    english: bool,
    limits: sandbox.Limits,
) -> Choice:
    """The captions of a video that are taken for its words.

    ``language``: what is spoken, where it was said. ``heard`` gives the language that Whisper hears, ``None`` where it does
    not understand; it is asked where the captions may be a translation. ``track``: the sound track that would be heard, as it was asked for;
    the language of that track, or of the first, is else taken for the spoken one. ``english``: whether the recogniser
    that would listen instead knows English alone. Files and streams are read in the sandbox.
    """
    found = _candidates(video, media, language, limits)
    open_ = [c for c in found if not c.refused]
    tracks = [track or "", media.audio.language if media.audio else ""]
    spoken, certain = _spoken(found, language or next(filter(None, map(_language_of, tracks)), None), english)
    for candidate in open_:
        if language and candidate.tags.language not in (None, language):
            candidate.refused = f"another language than --language {language}"
    open_ = sorted(
        (c for c in open_ if not c.refused),
        key=lambda c: (c.place(spoken, certain), c.stream.index if c.stream else -1, c.name),
    )
    taken = None
    problems: list[str] = []
    best = open_[0].tags.language if open_ else None
    # Whisper for English alone tells nothing of English captions that they do not say themselves.
    if not language and best and not (english and best == "en") and (listened := heard()):
        spoken, certain = listened, True
        open_.sort(key=lambda c: (c.place(spoken, certain), c.stream.index if c.stream else -1, c.name))
        if open_[0].tags.language not in (None, spoken):
            for candidate in open_:
                candidate.refused = f"in {language_name(candidate.tags.language)}"
            return Choice(
                notes=(
                    f"captions in {language_name(open_[0].tags.language)}, speech in {language_name(spoken)}: the words that "
                    f"are said are taken (--language {open_[0].tags.language} takes the captions)",
                )
            )
    for candidate in open_:
        if taken is not None:
            parts = zip(REASONS, candidate.place(spoken, certain), taken.place(spoken, certain), strict=True)
            candidate.refused = next((why for why, own, best in parts if own != best), "another file")
            continue
        try:
            transcript = _transcript(candidate, video, media, limits)
        except (SpeechError, sandbox.SandboxError) as error:
            candidate.refused, candidate.unreadable = _without(str(error), candidate.name), True
            continue
        if transcript.sentences:
            taken, said = candidate, transcript
        else:
            candidate.refused = "; ".join(["no words", *transcript.notes])
    # Captions that cannot be read are a problem where nothing stands in for them.
    passed = [f"{c.name} ({c.refused})" for c in found if c.refused and (taken or not c.unreadable)]
    notes = [f"captions passed over: {listed(passed, NAMED)}"] if passed else []
    if taken is None:
        return Choice(
            problems=tuple(f"captions {c.name}: {c.refused}" for c in found if c.unreadable),
            notes=tuple(notes),
        )
    own = taken.tags.language
    other = ""
    if certain and own not in (None, spoken):
        other = f": captions in {language_name(own)}, speech in {language_name(spoken)}"
    made_of: object = {"stream": taken.stream.index} if taken.stream else said.source["sha256"]
    problems += [f"captions: {problem}" for problem in taken.file.problems]
    return Choice(
        said.to_dict() | {"problems": problems},
        made_of,
        tuple(problems),
        (f"captions taken from {taken.name}{other}", *taken.file.notes, *said.notes, *notes),
    )


def _candidates(video: Path, media: Media, language: str | None, limits: sandbox.Limits) -> list[_Candidate]:
    """All captions of a video; of those that will not be taken it is known why."""
    found = [_Candidate(s.name, s.tags, s, refused=s.tags.never) for s in sidecars.beside(video, MEDIA)]
    open_ = [candidate for candidate in found if not candidate.refused]
    files = caption_reading.read_files(
        [c.sidecar.path for c in open_],
        [c.tags.language or language for c in open_],
        _end(media),
        _frame_rate(media),
        limits,
    )
    for candidate, file in zip(open_, files, strict=True):
        candidate.file, candidate.written = file, candidate.tags.language or language
        if file.problem:
            candidate.refused, candidate.unreadable = _without(file.problem, candidate.name), True
        elif file.kind != "speech":
            candidate.refused = f"{file.held}, no speech"
        else:
            own = candidate.tags.language or _language_of(file.language or "")
            candidate.tags = dataclasses.replace(candidate.tags, language=_written(file, own))
    for sidecar in sidecars.beside(video, MEDIA, UNREADABLE):
        refused = "in a format that is not read: convert it to .vtt"
        found.append(_Candidate(sidecar.name, sidecar.tags, sidecar, refused=refused))
    for stream in media.captions:
        tags = _tags_of(stream)
        if stream.codec not in embedded_captions.CODECS:
            tags = dataclasses.replace(tags, never=f"{stream.codec}, which is not read")
        found.append(_Candidate(f"stream {stream.index}", tags, stream=stream, refused=tags.never))
    return found


def _end(media: Media) -> float | None:
    """When the video ends, in seconds from the file's start, where that is known."""
    return media.start + media.duration if media.duration else None


def _frame_rate(media: Media) -> float | None:
    return media.video.average_rate if media.video else None


def _written(file: Captions, tag: str | None) -> str | None:
    """The language of captions by their tag, unless their script is not one of it; that of the script where there is no tag."""
    if not file.written_in or tag in file.written_in:
        return tag
    return None if "en" in file.written_in else file.written_in[0]


def _tags_of(stream: CaptionStream) -> Tags:
    tags = sidecars.tags_of(stream.title)
    never = next((sidecars.NEVER[flag] for flag in stream.dispositions if flag in sidecars.NEVER), tags.never)
    return dataclasses.replace(
        tags,
        language=_language_of(stream.language) or tags.language,
        hard_of_hearing=tags.hard_of_hearing or "hearing_impaired" in stream.dispositions,
        never=never,
    )


def _language_of(tag: str) -> str | None:
    """The code of a language as files and people write it: `deu`, `pt-BR`."""
    return language_code(tag.replace("_", "-").split("-")[0])


def _spoken(candidates: Sequence[_Candidate], language: str | None, english: bool) -> tuple[str | None, bool]:
    """The spoken language as far as is known, and whether it was said rather than guessed."""
    if language:
        return language, True
    original = next((c.tags.language for c in candidates if c.tags.original and c.tags.language), None)
    if original:
        return original, True
    named = {c.tags.language for c in candidates if c.tags.language and not c.refused}
    if len(named) > 1 and english and "en" in named:
        return "en", False
    return (sorted(named)[0] if named else None), False


def _transcript(candidate: _Candidate, video: Path, media: Media, limits: sandbox.Limits) -> Transcript:
    """The candidate's words. Raises SpeechError and SandboxError where they cannot be read."""
    seconds = _end(media)
    if candidate.stream is not None:
        source: dict = {"kind": "captions", "stream": candidate.stream.index}
        candidate.file = caption_reading.words_of_stream(
            video, candidate.stream.index, media.clock, seconds, limits
        )
        if candidate.file.kind != "speech":
            raise SpeechError(f"{candidate.file.held}, no speech")
    else:
        path = candidate.sidecar.path
        source = {"kind": "captions", "file": candidate.name, "sha256": file_digest(path)}
    if candidate.file.words:
        said = Transcript.from_json(candidate.file.words)
    else:
        said = caption_reading.words_of_file(path, candidate.written, seconds, _frame_rate(media), limits)
    return dataclasses.replace(said, source=source, language=candidate.tags.language)


def _without(message: str, name: str) -> str:
    """The message without the name of the file at its front."""
    return message.removeprefix(name).lstrip(":, ")


def store_transcript(store: Store, video: Video, choice: Choice) -> str:
    """Stores the transcript of a choice and returns its recipe.

    Where an earlier version stored the same sentences, its recipe is kept, and so is all that was made of it.
    """
    made, *earlier = (recipe(version=version, captions=choice.made_of) for version in (VERSION, *EARLIER))
    for before in earlier:
        path = store.transcript(video.video, before)
        if path.exists():
            stored = read_json(path)
            if canonical_json(stored["sentences"]) == canonical_json(choice.transcript["sentences"]):
                return before
    path = store.transcript(video.video, made)
    if not path.exists():
        write_artefact(path, canonical_json(choice.transcript).encode())
    return made
