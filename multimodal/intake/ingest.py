"""Owns the taking in of one video: probe it, hear it, see it, and say how it ended.

Decoding runs in the sandbox; what is heard and seen is written under an address made of the video's content and the
recipe, so a video taken in before costs nothing, and one that was interrupted costs only what is missing.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import safetensors.numpy
import torch
from safetensors import safe_open

from multimodal.catalogue import State, Video
from multimodal.intake import model_cache, sandbox
from multimodal.intake.model_cache import BACKBONE_WEIGHTS, whisper_identity
from multimodal.store import InputError, Store, canonical_json, file_digest, recipe, write_whole
from speech import audio, captions, transcribe
from speech.audio import Audio
from speech.checkpoints import CHECKPOINTS
from speech.errors import SpeechError, SpeechModelError
from speech.languages import LANGUAGES
from speech.sentences import Transcript
from vision import clips, features, pixels, readers
from vision.clips import Clip, ReadReport
from vision.errors import MediaError
from vision.media import MAX_SECONDS, AudioStream, Media, VideoStream, probe
from vision.readers import READERS
from vision.timeline import needs_decoding

HEARING_VERSION = 2
SEEING_VERSION = 1
"""Raise them when the same options would give another transcript, other features."""
PATIENCE = 10.0
"""Seconds that a decoder is waited for in all, for each second that the file declares."""
MOST_RESULTS = round(MAX_SECONDS / clips.CLIP_SECONDS)
"""The clips of the longest video that is admitted; pieces of sound are longer than a clip."""

Hook = Callable[[float], None]
"""Called with the share of the video that is done, 0 to 1."""


@dataclasses.dataclass(frozen=True)
class IngestOptions:
    """``whisper`` by name or by the path of its file, ``backbone`` and ``reader`` of pictures by name.

    ``language``: a code such as ``en``, or ``None`` to detect it.
    ``captions``: a ``.vtt`` or ``.srt`` beside a video stands in for Whisper. ``seconds`` may pass without a decoder
    giving a result, and PATIENCE more for each second of the video in all; ``memory`` bytes of address space are the
    decoder's. Raises :class:`InputError` for a part that is
    not known.
    """

    whisper: str = "tiny.en"
    backbone: str = "i3d"
    reader: str = READERS[0]
    language: str | None = None
    captions: bool = False
    seconds: float = sandbox.DEADLINE_SECONDS
    memory: int = sandbox.MEMORY_BYTES

    def __post_init__(self) -> None:
        if self.whisper not in CHECKPOINTS and not Path(self.whisper).is_file():
            raise InputError(
                f"--whisper {self.whisper}: not known; choose one of {', '.join(CHECKPOINTS)}, or name a file"
            )
        if self.backbone not in BACKBONE_WEIGHTS:
            raise InputError(
                f"--backbone {self.backbone}: not known; choose one of {', '.join(BACKBONE_WEIGHTS)}"
            )
        if self.reader not in READERS:
            raise InputError(f"--reader {self.reader}: not known; choose one of {', '.join(READERS)}")
        if self.language is not None and self.language not in LANGUAGES:
            raise InputError(
                f"--language {self.language}: Whisper has no such language; give a code such as en or de"
            )


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a video ended, in the words of the catalogue."""

    video: str
    state: State
    reason: str
    seconds: float | None = None
    clips: int | None = None
    sentences: int | None = None
    transcript: str | None = None
    features: str | None = None
    recipe: str | None = None

    def applied_to(self, video: Video) -> Video:
        """``video`` with this fate."""
        return dataclasses.replace(video, **dataclasses.asdict(self))


def is_up_to_date(store: Store, video: Video, options: IngestOptions) -> bool:
    """True where taking the video in again with these options would change nothing."""
    files = [store.transcript(video.video, video.transcript)] if video.transcript else []
    files += [store.features(video.video, video.features)] if video.features else []
    return video.recipe == _whole_recipe(video, options) and all(file.exists() for file in files)


def _whole_recipe(video: Video, options: IngestOptions) -> str:
    sidecar = _sidecar(video, options)
    chosen = dataclasses.asdict(options) | {
        "whisper": whisper_identity(options.whisper),
        "seconds": 0,
        "memory": 0,
    }
    return recipe(version=[HEARING_VERSION, SEEING_VERSION], options=chosen, captions=sidecar and file_digest(sidecar),
                  libraries=[importlib.metadata.version(name) for name in ("openai-whisper", "av", "torch")])  # fmt: skip


def _sidecar(video: Video, options: IngestOptions) -> Path | None:
    return captions.sidecar(Path(video.path)) if options.captions else None


def ingest(
    store: Store,
    video: Video,
    options: IngestOptions,
    device: str,
    *,
    threads: int | None = None,
    hook: Hook = lambda share: None,
) -> Outcome:
    """Takes in one video and returns its fate; a bad file is a fate, not an error.

    Raises :class:`~multimodal.weights.fetching.WeightsError` where a model cannot be had.
    """
    torch.set_num_threads(threads or os.cpu_count() or 1)
    limits = sandbox.Limits(options.seconds, options.memory)
    made = _whole_recipe(video, options)
    try:
        media = sandbox.call(
            probe, Path(video.path), types=(Media, VideoStream, AudioStream, MediaError), limits=limits
        )
    except MediaError as error:
        return Outcome(video.video, "refused", str(error), recipe=made)
    except sandbox.SandboxError as error:
        return Outcome(video.video, "refused", str(error))
    limits = decoding_limits(options, media)
    trouble = _Trouble()
    heard = _hear(store, video, media, options, device, limits, trouble, lambda share: hook(share / 2))
    seen = _see(store, video, media, options, device, limits, trouble, lambda share: hook((1 + share) / 2))
    sentences, count = (heard[1] if heard else 0), (seen[1] if seen else 0)
    state: State = "partial" if trouble.problems else "done"
    if not sentences and not count:
        state = "refused"
    words = [*trouble.problems, *media.notes, *(["no speech found"] if heard and not sentences else [])]
    return Outcome(
        video.video, state, "; ".join(words), media.duration, count, sentences, heard and heard[0], seen and seen[0],
        None if trouble.passing else made,
    )  # fmt: skip


def decoding_limits(options: IngestOptions, media: Media) -> sandbox.Limits:
    """What a decoder of this video may take. A picture whose frames must all be decoded before the first is given may
    take the video's own length to that."""
    length = min(media.duration, MAX_SECONDS)
    first = length if media.video and needs_decoding(media) else 0.0
    return sandbox.Limits(
        options.seconds + first, options.memory, options.seconds + PATIENCE * length, MOST_RESULTS
    )


@dataclasses.dataclass
class _Trouble:
    """What is missing of a video, in words; ``passing`` where another try could do better."""

    problems: list[str] = dataclasses.field(default_factory=list)
    passing: bool = False

    def met(self, what: str, error: Exception) -> None:
        self.problems.append(f"{what}: {error}")
        self.passing = self.passing or isinstance(error, sandbox.SandboxError)


def _hear(
    store: Store,
    video: Video,
    media: Media,
    options: IngestOptions,
    device: str,
    limits: sandbox.Limits,
    trouble: _Trouble,
    hook: Hook,
) -> tuple[str, int] | None:
    """The transcript's recipe and how many sentences it has; ``None`` where there is no sound to hear."""
    sidecar = _sidecar(video, options)
    if sidecar is not None:
        made = recipe(version=HEARING_VERSION, captions=file_digest(sidecar))
    elif media.audio is None:
        trouble.problems.append("no sound: nothing could be heard")
        return None
    else:
        made = recipe(version=HEARING_VERSION, whisper=whisper_identity(options.whisper), options=_hearing(options),
                      library=importlib.metadata.version("openai-whisper"))  # fmt: skip
    path = store.transcript(video.video, made)
    if not path.exists():
        try:
            if sidecar is not None:
                source = {"kind": "captions", "file": sidecar.name, "sha256": file_digest(sidecar)}
                transcript = captions.transcript(captions.read(sidecar), source)
                found: dict[str, Any] = transcript.to_dict() | {"problems": []}
            else:
                pieces = sandbox.stream(
                    audio.pieces, Path(video.path), types=(Audio, SpeechError), limits=limits
                )
                problems: list[str] = []
                transcript = transcribe.transcribe(
                    _noting(pieces, problems),
                    model_cache.whisper(options.whisper, device),
                    _hearing(options),
                    progress=lambda done, total: hook(done / total if total else 1.0),
                )
                found = transcript.to_dict() | {"problems": problems}
        except SpeechModelError:
            raise  # no video could be transcribed
        except (SpeechError, sandbox.SandboxError) as error:
            trouble.met("sound", error)
            return None
        write_whole(path, canonical_json(found).encode())
    stored = json.loads(path.read_text(encoding="utf-8"))
    trouble.problems += stored["problems"]
    return made, len(Transcript.from_dict(stored).sentences)


def _noting(pieces: Iterable[Audio], problems: list[str]) -> Iterator[Audio]:
    """The pieces, whose problems are written down as they pass."""
    for piece in pieces:
        problems += [problem for problem in piece.problems if problem not in problems]
        yield piece


def _hearing(options: IngestOptions) -> transcribe.TranscribeOptions:
    return transcribe.TranscribeOptions(language=options.language)


def _see(
    store: Store,
    video: Video,
    media: Media,
    options: IngestOptions,
    device: str,
    limits: sandbox.Limits,
    trouble: _Trouble,
    hook: Hook,
) -> tuple[str, int] | None:
    """The features' recipe and how many clips they hold; ``None`` where there is no picture to see."""
    if media.video is None:
        trouble.problems.append("no picture: nothing could be seen")
        return None
    backbone = model_cache.backbone(options.backbone, device)
    made = recipe(version=SEEING_VERSION, backbone=backbone.recipe, clips=[clips.FPS, clips.FRAMES_PER_CLIP],
                  pixels=[options.reader, pixels.VERSION])  # fmt: skip
    path = store.features(video.video, made)
    if not path.exists():
        try:
            found, report = _look(media, options.reader, backbone, limits, hook)
        except (MediaError, sandbox.SandboxError) as error:
            trouble.met("picture", error)
            return None
        blob = safetensors.numpy.save(
            {"values": found.values, "starts": found.starts},
            metadata={
                "about": canonical_json(
                    {"problems": report.problems, "reader": report.reader, "recipe": backbone.recipe}
                )
            },
        )
        write_whole(path, blob)
    with safe_open(path, "numpy") as file:
        trouble.problems += json.loads(file.metadata()["about"])["problems"]
        return made, file.get_slice("starts").get_shape()[0]


def _look(
    media: Media, reader: str, backbone: features.Backbone, limits: sandbox.Limits, hook: Hook
) -> tuple[features.Features, ReadReport]:
    expected = max(1.0, media.video.duration / clips.CLIP_SECONDS)
    report: list[ReadReport] = []
    types = (Clip, ReadReport, MediaError)
    stream = sandbox.stream(readers.read_clips, media, reader=reader, types=types, limits=limits)
    found = features.extract(
        _reported(stream, report), backbone, on_clip=lambda done: hook(min(1.0, done / expected))
    )
    return found, report[0]


def _reported(stream: Any, report: list[ReadReport]) -> Iterator[Clip]:
    report.append((yield from stream))
