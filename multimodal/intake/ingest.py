"""Ingestion of one video: probe the file, transcribe its sound, extract features of its picture, report the outcome.

Decoding runs in the sandbox. Transcript and features are stored under addresses made of the video's content and the
recipe: a video that was ingested before costs nothing, an interrupted one only what is missing.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import safetensors.numpy
import torch
from safetensors import safe_open

from multimodal import corrections
from multimodal.catalogue import State, Video
from multimodal.disk import FileState
from multimodal.intake import caption_choice, model_cache, sandbox, sound_tracks, spoken_language
from multimodal.intake.ingest_options import IngestOptions
from multimodal.intake.model_cache import whisper_identity
from multimodal.intake.spoken_language import told_language
from multimodal.intake.tries import FileAway, Outcome, check_again, counted, look_again, passing
from multimodal.library import KIND_ENDS, kind_of_features, read_json
from multimodal.machine import cores
from multimodal.store import InputError, Store, canonical_json, reading, recipe, write_artefact
from speech import audio, silent_phrases, transcribe
from speech.audio import Audio
from speech.errors import SpeechError, SpeechModelError
from speech.sentences import Transcript
from vision import clips, features, pixels, readers
from vision.caption_streams import CaptionStream
from vision.clips import Clip, ReadReport
from vision.clock import Clock
from vision.errors import MediaError
from vision.media import MAX_SECONDS, AudioStream, Media, VideoStream, probe
from vision.timeline import needs_decoding

TRANSCRIPT_VERSION = 2
FEATURES_VERSION = 1
"""To be raised when the same options give another transcript, or other features."""
UNSPOKEN_VERSION = 3
"""The version of a transcript from which sentences were dropped that nobody speaks. Where none was, the transcript is that
of version 2 and keeps its address, and so does all that was made of it."""
CHANNELS_VERSION, CLOCK_VERSION = 2, 1
"""Of the choice of a channel where there are several, and of a sound's times from the file's start."""
BUDGET_PER_SECOND = 10.0
"""Timeout budget of a decoder in seconds, for each second that the file declares."""
MOST_RESULTS = round(MAX_SECONDS / clips.CLIP_SECONDS)
"""The clips of the longest video that is admitted; a piece of audio is longer than a clip."""

Hook = Callable[[float], None]
"""Called with the share of the work that is done, 0 to 1."""
VideoHook = Callable[[float, float], None]
"""Called with the share of the video that is done, 0 to 1, and its length in seconds."""
TRANSCRIPT_SHARE = 0.2
"""Of a video's work, as progress counts it; the features take the longer part with the small models on a CPU."""


def is_up_to_date(store: Store, video: Video, options: IngestOptions) -> bool:
    """True where ingesting the video again with these options would change nothing."""
    files = [store.transcript(video.video, video.transcript)] if video.transcript else []
    files += [store.features(video.video, video.features)] if video.features else []
    return video.recipe == whole_recipe(video, options) and all(file.exists() for file in files)


def whole_recipe(video: Video, options: IngestOptions) -> str:
    """The recipe of the whole ingestion; the limits of time and memory are no part of it."""
    chosen = dataclasses.asdict(options) | {
        "whisper": whisper_identity(options.whisper),
        "language": told_language(Path(video.path), options.language)[0],
        "seconds": 0,
        "memory": 0,
    }
    return recipe(
        version=[UNSPOKEN_VERSION, FEATURES_VERSION],
        options=chosen,
        captions=caption_choice.identity(Path(video.path), options.captions),
        libraries=_versions(),
    )


@functools.cache
def _versions() -> list[str]:
    """Looked up once: each look-up reads a file."""
    return [importlib.metadata.version(name) for name in ("openai-whisper", "av", "torch")]


def ingest(
    store: Store,
    video: Video,
    options: IngestOptions,
    device: str,
    *,
    threads: int | None = None,
    hook: VideoHook = lambda share, seconds: None,
    seen: FileState | None = None,
) -> Outcome:
    """Ingests one video. A file that cannot be read gives the outcome ``refused``, not an exception.

    ``seen``: the state in which the file was when its digest was taken. Where it has another one now, or cannot be read
    by what the system says, nothing is stored, and the next run tries again.

    Raises :class:`~multimodal.store.InputError`, and the model errors of ``speech`` and ``vision``, where a model cannot
    be had: then no video could be ingested.
    """
    torch.set_num_threads(threads or cores())
    made = whole_recipe(video, options)
    try:
        outcome = _ingested(store, video, options, device, made, hook, seen)
    except FileAway as error:
        return passing(video, str(error))
    # Where something was missing, the file is read once more: a disk that fails looks like a file that is damaged.
    if outcome.state != "done" and (why := look_again(video, seen, closely=seen is not None)):
        return passing(video, why)
    return outcome if outcome.recipe else counted(video, outcome, made)


def _ingested(
    store: Store, video: Video, options: IngestOptions, device: str, made: str, hook: VideoHook, seen: FileState | None
) -> Outcome:  # fmt: skip
    """The outcome; where it has no recipe, another try could end differently. Raises :class:`FileAway`."""
    check_again(video, seen)
    try:
        media = sandbox.call(
            probe,
            Path(video.path),
            types=(Media, VideoStream, AudioStream, CaptionStream, Clock, MediaError),
            limits=sandbox.Limits(options.seconds, options.memory, options.seconds),
        )
    except MediaError as error:
        return Outcome(video.video, "refused", str(error), recipe=made)
    except sandbox.SandboxError as error:
        return Outcome(video.video, "refused", str(error))
    work = _Ingestion(store, video, media, options, device, seen)
    seconds = min(media.duration, MAX_SECONDS)
    hook(0.0, seconds)
    transcript, sentences = work.transcript(lambda share: hook(TRANSCRIPT_SHARE * share, seconds))
    if transcript is not None:
        transcript = corrections.applied(store, video.video, transcript)
    found, count = work.features(
        lambda share: hook(TRANSCRIPT_SHARE + (1 - TRANSCRIPT_SHARE) * share, seconds)
    )
    same_kind = kind_of_features(found or "") == kind_of_features(video.features or "")
    if video.features and found != video.features and same_kind:
        # Its clips have other times now; the codebooks in use encode them again.
        for codebook in store.codebook("").iterdir():
            store.tokens(codebook.name, video.video).unlink(missing_ok=True)
    state: State = "partial" if work.problems else "done"
    if not sentences and not count:
        state = "refused"
    notes = [*media.notes, *(["no speech found"] if transcript and not sentences else []), *work.notes]
    return Outcome(
        video=video.video,
        state=state,
        reason="; ".join([*work.problems, *notes]),
        seconds=media.duration,
        clips=count,
        sentences=sentences,
        transcript=transcript,
        features=found,
        recipe=None if work.may_differ else made,
    )


def decoding_limits(options: IngestOptions, media: Media) -> sandbox.Limits:
    """The limits of a decoder of this video.

    Where all frames must be decoded before the first one is given, the first result may take the video's own length.
    """
    length = min(media.duration, MAX_SECONDS)
    first = length if media.video and needs_decoding(media) else 0.0
    budget = options.seconds + BUDGET_PER_SECOND * length
    return sandbox.Limits(options.seconds + first, options.memory, budget, MOST_RESULTS)


class _Ingestion:
    """The two parts of an ingestion, the ``problems`` met so far, and ``notes`` for people.

    ``may_differ``: another try could end differently, as a decoder ran out of time or memory.
    """

    def __init__(
        self, store: Store, video: Video, media: Media, options: IngestOptions, device: str, seen: FileState | None
    ) -> None:  # fmt: skip
        self.store, self.video, self.media, self.seen = store, video, media, seen
        self.options, self.device = options, device
        self.limits = decoding_limits(options, media)
        self.problems = list(media.problems)
        self.notes: list[str] = []
        self.may_differ = False
        self.language, wrong = told_language(Path(video.path), options.language)
        self.problems += [wrong] if wrong else []

    def _failed(self, part: str, error: Exception) -> None:
        self.problems.append(f"{part}: {error}")
        self.may_differ = self.may_differ or isinstance(error, sandbox.SandboxError)

    def transcript(self, hook: Hook) -> tuple[str | None, int]:
        """The recipe of the transcript and its number of sentences; (``None``, 0) where there is no sound."""
        if (captioned := self._captioned()) is not None:
            return captioned
        spoken = transcribe.TranscribeOptions(language=self.language)
        chosen = self._chosen_track()
        if chosen is None:
            tracks = ", ".join(map(str, self.media.sounds))
            self.problems.append(
                f"no sound that can be decoded: {tracks}" if tracks else "no sound: nothing could be heard"
            )
            return None, 0
        if self.language not in (None, "en", self.options.language) and self.options.whisper.endswith(".en"):
            self.problems.append(spoken_language.unknown(self.language, self.options.whisper))
            return None, 0
        made, unspoken = (
            recipe(
                version=version,
                whisper=whisper_identity(self.options.whisper),
                options=spoken,
                library=importlib.metadata.version("openai-whisper"),
                **self._unusual_sound(chosen),
            )
            for version in (TRANSCRIPT_VERSION, UNSPOKEN_VERSION)
        )
        self.notes += chosen.notes
        path, with_drops = (self.store.transcript(self.video.video, r) for r in (made, unspoken))
        if with_drops.exists():
            made, path = unspoken, with_drops
        elif not path.exists() or _holds_silent_phrases(path):
            try:
                made_new = self._transcribed(chosen.track, spoken, hook)
            except SpeechModelError:
                raise  # with such a model no video could be transcribed
            except (SpeechError, sandbox.SandboxError) as error:
                self._failed("sound", error)
                return None, 0
            if made_new["source"].get("unspoken"):
                made, path = unspoken, with_drops
            if not path.exists():
                check_again(self.video, self.seen)
                write_artefact(path, canonical_json(made_new).encode())
        stored = read_json(path)
        self.problems += stored["problems"]
        self.notes += stored.get("heard", [])
        if dropped := stored["source"].get("unspoken"):
            self.notes.append(silent_phrases.note(dropped))
        transcript = Transcript.from_dict(stored)
        if not transcript.is_understood:
            confidence, told = stored["source"]["confidence"], self.language is not None
            self.problems.append(spoken_language.not_understood(confidence, self.options.whisper, told))
        return made, len(transcript.sentences)

    def _captioned(self) -> tuple[str, int] | None:
        """The same of captions beside the video or in it, or ``None`` where the sound is to be transcribed."""
        path = Path(self.video.path)
        if not self.options.captions:
            self.notes += caption_choice.not_taken(path, self.media)
            return None
        choice = caption_choice.choose(
            path,
            self.media,
            language=self.language,
            heard=self._heard_language,
            track=self.options.audio_track,
            english=self.options.whisper.endswith(".en"),
            limits=self.limits,
        )
        self.problems += choice.problems
        self.notes += choice.notes
        if choice.transcript is None:
            return None
        check_again(self.video, self.seen)
        made = caption_choice.store_transcript(self.store, self.video, choice)
        return made, len(choice.transcript["sentences"])

    def _heard_language(self) -> str | None:
        """The language that Whisper hears at the beginning; ``None`` where it cannot tell, or cannot be had."""
        try:
            chosen = self._chosen_track()
            if chosen is None:
                return None
            return transcribe.spoken_language(
                self._sound(chosen.track, transcribe.LISTENING_SECONDS),
                model_cache.whisper(self.options.whisper, self.device),
            )
        except (InputError, SpeechError, sandbox.SandboxError):
            return None

    def _chosen_track(self) -> sound_tracks.ChosenTrack | None:
        return sound_tracks.choose(
            self.media.sounds, self.options.audio_track, self.language,
            lambda track: self._sound(track, sound_tracks.LISTENING_SECONDS),
        )  # fmt: skip

    def _sound(self, track: AudioStream, seconds: float = audio.PIECE_SECONDS, mixed: bool = False) -> Iterator[Audio]:  # fmt: skip
        """The sound of a track, decoded in the sandbox, ``seconds`` at a time; ``mixed``: of all channels."""
        return sandbox.stream(
            audio.pieces, Path(self.video.path), stream=track.index, seconds=seconds, clock=self.media.clock,
            mixed=mixed, types=(Audio, SpeechError), limits=self.limits,
        )  # fmt: skip

    def _unusual_sound(self, chosen: sound_tracks.ChosenTrack) -> dict[str, object]:
        """The parts of a transcript's recipe that the usual track of a usual file lacks: those keep their addresses."""
        made: dict[str, object] = {}
        if not chosen.usual:
            made["track"] = chosen.track.index
        if chosen.track.channels > 2:
            made["channels"] = CHANNELS_VERSION
        if self._own_clock() or (self.media.video is None and self.media.clock.end is not None):
            made["clock"] = CLOCK_VERSION
        return made

    def _own_clock(self) -> bool:
        """Whether the file's times were other ones before they counted from its start."""
        return bool(self.media.clock.origin or self.media.clock.leaps or self.media.clock.holes)

    def _transcribed(self, track: AudioStream, options: transcribe.TranscribeOptions, hook: Hook) -> dict:
        for mixed in (False, True):  # where one channel alone holds no speech, another may
            problems, heard = list[str](), list[str]()
            transcript = transcribe.transcribe(
                _collecting(self._sound(track, mixed=mixed), problems, heard),
                model_cache.whisper(self.options.whisper, self.device), options,
                progress=lambda done, total: hook(done / total if total else 1.0),
            )  # fmt: skip
            if transcript.sentences or not heard:
                break
        return transcript.to_dict() | {"problems": problems} | ({"heard": heard} if heard else {})

    def features(self, hook: Hook) -> tuple[str | None, int]:
        """The recipe of the features and their number of clips; (``None``, 0) where there is no picture."""
        if self.media.video is None:
            self.problems.append(f"no picture: {self.media.no_picture or 'nothing could be seen'}")
            return None, 0
        backbone = model_cache.backbone(self.options.backbone, self.device)
        made = recipe(
            version=FEATURES_VERSION,
            backbone=backbone.recipe,
            clips=[clips.FPS, clips.FRAMES_PER_CLIP],
            pixels=[self.options.reader, pixels.VERSION],
        )
        # Such videos were read otherwise before. Their features are of the kind of all others.
        made += KIND_ENDS + "clock" if self._own_clock() else ""
        made += KIND_ENDS + "sdr" if self.media.video.hdr else ""
        path = self.store.features(self.video.video, made)
        if not path.exists():
            try:
                found, report = self._extracted(backbone, hook)
            except (MediaError, sandbox.SandboxError) as error:
                self._failed("picture", error)
                return None, 0
            about = {"problems": report.problems, "reader": report.reader, "recipe": backbone.recipe}
            about |= {"notes": report.notes} if report.notes else {}
            arrays = {"values": found.values, "starts": found.starts}
            check_again(self.video, self.seen)
            write_artefact(path, safetensors.numpy.save(arrays, metadata={"about": canonical_json(about)}))
        with reading(path), safe_open(path, "numpy") as file:
            about = json.loads(file.metadata()["about"])
            self.problems += about["problems"]
            self.notes += about.get("notes", [])
            return made, file.get_slice("starts").get_shape()[0]

    def _extracted(self, backbone: features.Backbone, hook: Hook) -> tuple[features.Features, ReadReport]:
        expected = max(1.0, self.media.video.duration / clips.CLIP_SECONDS)
        reports: list[ReadReport] = []
        stream = sandbox.stream(
            readers.read_clips,
            self.media,
            reader=self.options.reader,
            types=(Clip, ReadReport, MediaError),
            limits=self.limits,
            imports=(*readers.LATE_IMPORTS, *(["decord"] if self.options.reader == "decord" else [])),
        )
        found = features.extract(
            _keeping_report(stream, reports), backbone, on_clip=lambda done: hook(min(1.0, done / expected))
        )
        return found, reports[0]


def _holds_silent_phrases(path: Path) -> bool:
    """True where a stored transcript may have been made before such sentences were dropped."""
    sentences = read_json(path)["sentences"]
    return any(silent_phrases.is_silent_phrase(sentence["text"]) for sentence in sentences)


def _collecting(pieces: Iterable[Audio], problems: list[str], heard: list[str]) -> Iterator[Audio]:
    """The pieces unchanged; each problem in them is added to ``problems`` once, each note to ``heard``."""
    for piece in pieces:
        problems += [problem for problem in piece.problems if problem not in problems]
        heard += [note for note in piece.notes if note not in heard]
        yield piece


def _keeping_report(
    stream: Generator[Clip, None, ReadReport], reports: list[ReadReport]
) -> Generator[Clip, None, None]:
    """The clips unchanged; the report that the stream returns at its end is added to ``reports``."""
    reports.append((yield from stream))
