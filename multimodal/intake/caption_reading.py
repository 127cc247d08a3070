"""The captions beside a video and in it, read in the confined child: what each file is, and the words of the one that is taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from multimodal.intake import sandbox
from multimodal.store import canonical_json
from speech import caption_files, captions, embedded_captions
from speech.caption_files import CaptionFile, Kind
from speech.errors import SpeechError
from speech.languages import written_in
from speech.sentences import Transcript
from vision.clock import Clock

MOST_MEMORY = 2 << 30
SECONDS_A_FILE = 60.0
"""Of the largest file that is admitted; an hour of speech takes half a second."""


@dataclasses.dataclass(frozen=True)
class Captions:
    """What a caption file holds, without its cues. ``held`` counts them in words; see :class:`~speech.caption_files.CaptionFile`.

    ``written_in``: the languages that its script allows. ``problem``: why the file cannot be read, empty where it can.
    ``words``: its transcript without source and language, as JSON, where it is read already.
    """

    kind: Kind = "speech"
    held: str = ""
    automatic: bool = False
    language: str | None = None
    written_in: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""
    words: bytes = b""


def read_files(
    files: Sequence[Path],
    languages: Sequence[str | None],
    seconds: float | None,
    rate: float | None,
    limits: sandbox.Limits,
) -> list[Captions]:
    """What each file holds; ``languages``: those in which they are probably written, ``seconds``: the video's length, ``rate``:
    its frames a second.

    A single file is likely to be taken, so its words come along: another child takes longer to start than to read.
    """
    found: list[Captions] = []
    while len(found) < len(files):
        rest = slice(len(found), None)
        work = sandbox.stream(
            _describe_each, list(files[rest]), list(languages[rest]), seconds, rate, len(files) == 1, types=(Captions,),
            limits=_limits(limits, len(files[rest])),
        )  # fmt: skip
        try:
            found += work
        except sandbox.SandboxError as error:
            found.append(Captions(problem=f"{error}; leave the file out, or split it"))
    return found


def _limits(limits: sandbox.Limits, files: int = 1) -> sandbox.Limits:
    seconds = min(limits.seconds, SECONDS_A_FILE)
    return sandbox.Limits(seconds, min(limits.memory, MOST_MEMORY), seconds * files)


def _describe_each(
    files: Sequence[Path],
    languages: Sequence[str | None],
    seconds: float | None,
    rate: float | None,
    with_words: bool,
) -> Iterator[Captions]:
    for path, language in zip(files, languages, strict=True):
        try:
            file = caption_files.read(path, language, rate)
            words = _json(file, seconds) if with_words and file.kind == "speech" else b""
            yield dataclasses.replace(_described(file), words=words)
        except SpeechError as error:
            yield Captions(problem=str(error))


def _described(file: CaptionFile) -> Captions:
    scripts = written_in(cue.text for cue in file.cues)
    return Captions(
        file.kind, file.counted(), file.automatic, file.language, scripts, file.problems, file.notes
    )


def words_of_file(
    file: Path, written: str | None, seconds: float | None, rate: float | None, limits: sandbox.Limits
) -> Transcript:
    """The transcript of a caption file, without source and language. ``written``: the language that helps to find its encoding.

    ``seconds``: see :func:`speech.captions.transcript`. ``rate``: frames a second of the video. Raises SpeechError and SandboxError.
    """
    text = sandbox.call(
        _words_of_file, file, written, seconds, rate, types=(SpeechError,), limits=_limits(limits)
    )
    return Transcript.from_json(text)


def _words_of_file(file: Path, written: str | None, seconds: float | None, rate: float | None) -> bytes:
    return _json(caption_files.read(file, written, rate), seconds)


def words_of_stream(
    video: Path, stream: int, clock: Clock, seconds: float | None, limits: sandbox.Limits
) -> Captions:
    """What a stream of a video holds, with its words where it is speech. Raises SpeechError and SandboxError."""
    return sandbox.call(
        _words_of_stream, video, stream, clock, seconds, types=(Captions, SpeechError),
        limits=dataclasses.replace(limits, memory=min(limits.memory, MOST_MEMORY)),
    )  # fmt: skip


def _words_of_stream(video: Path, stream: int, clock: Clock, seconds: float | None) -> Captions:
    file = caption_files.of_cues(list(embedded_captions.read_stream(video, stream, clock)))
    words = _json(file, seconds) if file.kind == "speech" else b""
    return dataclasses.replace(_described(file), words=words)


def _json(file: CaptionFile, seconds: float | None) -> bytes:
    return canonical_json(captions.transcript(file.cues, {}, seconds=seconds).to_dict()).encode()
