"""The settings of a run: `size` chooses every part, and each part can be chosen alone.

Modules that import torch are imported where an options object is made, so that help texts appear at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import Parameter

from flows.errors import FOR_PEOPLE
from multimodal.store import InputError
from multimodal.training.options import ROLLBACK_STEPS
from vision.backbones import BACKBONES

if TYPE_CHECKING:
    from flows.sizes import Sized
    from multimodal.captioning.options import CaptionerOptions
    from multimodal.catalogue import Catalogue
    from multimodal.examples.options import ExampleOptions
    from multimodal.intake.ingest import IngestOptions
    from multimodal.tokens import TokenOptions
    from multimodal.training.options import PretrainOptions, TrainingOptions

T = TypeVar("T")
FORMER_NAMES = {"far": "in_video_negative_rate"}
"""Settings that stores made by earlier versions remember under another name."""
DEFAULT_HELD_OUT = 0.1
DEFAULT_STORE = Path(os.environ.get("VIDEOBERT_STORE", "store"))
StoreOption = Annotated[Path, Parameter(help="Folder of the store (or $VIDEOBERT_STORE).")]


@dataclasses.dataclass(frozen=True)
class Option:
    """What is known of a setting beside its name, type, default and help text.

    ``sets``: the fields that it sets, as ``part.field``, each with the function of the setting's value that gives the
    field's. ``least``: the smallest value. ``remembered``: whether the store keeps it for the runs that follow.
    ``is_path``: whether a value is a path, which is then kept as an absolute one.
    """

    sets: Mapping[str, Callable[[Any], Any]]
    least: int | None
    remembered: bool
    is_path: Callable[[Any], bool]


def option(
    help_: str,
    *,
    sets: Mapping[str, Callable[[Any], Any]] | None = None,
    least: int | None = None,
    remembered: bool = True,
    is_path: Callable[[Any], bool] = lambda _: False,
    default: Any = None,
) -> Any:
    """A field of :class:`Settings`."""
    about = Option(sets or {}, least, remembered, is_path)
    return dataclasses.field(default=default, metadata={"help": help_, "option": about})


def to(*places: str) -> dict[str, Callable[[Any], Any]]:
    """Each of ``places`` (``part.field``) takes the setting's value as it is."""
    return dict.fromkeys(places, lambda value: value)


def fixed(value: Any, *places: str) -> dict[str, Callable[[Any], Any]]:
    """Each of ``places`` takes ``value`` where the setting is given at all."""
    return dict.fromkeys(places, lambda _: value)


def always(_: Any) -> bool:
    return True


def one_of(*choices: str) -> Callable[[str], bool]:
    return lambda value: value in choices


def _parse_weights(text: str) -> Any:
    from multimodal.objectives.weights import LossWeights

    return LossWeights.parse(text)


def _is_whisper_file(value: str) -> bool:
    from speech.checkpoints import CHECKPOINTS

    return value not in CHECKPOINTS and Path(value).exists()


def _is_bert_folder(value: str) -> bool:
    from multimodal.training.options import NOTHING, TEXT_STARTS

    return value not in (*TEXT_STARTS, NOTHING) and Path(value).exists()


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a run. ``None`` takes what the store was made with, else what the size says.

    Raises :class:`InputError` for a value out of its range.
    """

    store: StoreOption = DEFAULT_STORE
    size: Literal["demo", "small", "base", "paper"] | None = option(
        "Size of all parts; the store's own size where not given, else small."
    )
    whisper: str | None = option(
        "Whisper model by name, e.g. tiny.en, base, large-v3-turbo, or its file.",
        sets=to("ingest.whisper"),
        is_path=_is_whisper_file,
    )
    language: str | None = option(
        "Spoken language, e.g. en; detected where not given.", sets=to("ingest.language")
    )
    captions: bool | None = option(
        "Take a .vtt or .srt file beside a video in place of Whisper.", sets=to("ingest.captions")
    )
    backbone: str | None = option(
        f"CNN that turns clips into features: {', '.join(BACKBONES)}.", sets=to("ingest.backbone")
    )
    reader: str | None = option(
        "Video decoder: pyav, or decord, which falls back to pyav.", sets=to("ingest.reader")
    )
    k: int | None = option(
        "Children of each node of the codebook; chosen by --depth and the number of clips where not given.",
        sets=to("tokens.k"),
        least=2,
    )
    depth: int | None = option(
        "Levels of the codebook; chosen by --k and the number of clips where not given.",
        sets=to("tokens.depth"),
        least=1,
    )
    text_start: str | None = option(
        "BERT to start from: minilm-l6, a folder in Hugging Face layout, or none (random weights).",
        sets=to("pretrain.text_start"),
        is_path=_is_bert_folder,
    )
    visual_rows: Literal["trained", "frozen"] | None = option(
        "Whether the embeddings of the visual tokens are trained; trained where not given.",
        sets=to("pretrain.visual_rows"),
    )
    weights: str | None = option(
        "Weights of the loss's terms: text=1,video=1,joint=1,alignment=1,contrast=1 where not given.",
        sets={"training.weights": _parse_weights},
    )
    in_video_negative_rate: float | None = option(
        "Share of the misaligned pairs whose video is of the same file, far away; as it comes where not given.",
        sets=to("examples.in_video_negative_rate"),
    )
    subsample: int | None = option(
        "Visual tokens are taken at a random step of 1 to this; 1 where not given.",
        sets=to("examples.subsample"),
    )
    epochs: int | None = option(
        "Passes over the segments in pretraining, and over the sentences in captioning.",
        sets=to("training.epochs", "captioner.epochs")
        | fixed(1, "training.least_steps", "captioner.least_steps"),
        least=1,
    )
    captioner_reads: Literal["tokens", "features", "words", "all"] | None = option(
        "What the captioner reads of a moment beside its visual tokens: its clips' features, the words heard beside it, "
        "all, or nothing more (tokens, where not given).",
        sets={"captioner.features": one_of("features", "all"), "captioner.words": one_of("words", "all")},
    )
    accumulate: int | None = option(
        "Micro-batches of a training step, for less memory; 1 where not given.",
        sets=to("training.accumulate"),
        least=1,
    )
    learning_rate: float | None = option(
        "Peak learning rate of pretraining; the size's where not given. Another rate makes another model.",
        sets=to("training.learning_rate"),
    )
    final_rate: float | None = option(
        "Learning rate of the last step as a share of the peak; 0 where not given.", sets=to("training.final")
    )
    spike: float | None = option(
        f"A loss this many times the usual one sends training back by {ROLLBACK_STEPS} steps at most, and the batches "
        "between are skipped; 3 is a good choice.",
        sets=to("training.spike", "captioner.spike") | fixed(ROLLBACK_STEPS, "training.checkpoint_steps"),
    )
    held_out: float | None = option("Share of the videos that is held out to judge by; 0.1 where not given.")
    truth: Path | None = option(
        "A truth file: its split and its names are used in the figures.", is_path=always
    )
    references: Path | None = option(
        "Sentences that people wrote (docs/references.md): captions and search are judged by them.",
        is_path=always,
    )
    seed: int | None = option(
        "The same seed gives the same result; 0 where not given.",
        sets=to("tokens.seed", "training.seed", "captioner.seed"),
        least=0,
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "Where models run; auto takes a GPU where there is one.", default="auto", remembered=False
    )
    workers: int | None = option(
        "Videos that are ingested at a time; one a core where not given, or 1 on a GPU.",
        least=1,
        remembered=False,
    )
    refit: Annotated[bool, Parameter(negative=())] = option(
        "Fit a new codebook over all videos of the store and pretrain anew.", default=False, remembered=False
    )

    def __post_init__(self) -> None:
        parts = set()
        for name, about in OPTIONS.items():
            value = getattr(self, name)
            if value is None:
                continue
            if about.least is not None and value < about.least:
                raise InputError(
                    f"--{name} {value}: at least {about.least}; leave it out to let the size choose"
                )
            parts |= {place.split(".")[0] for place in about.sets}
        if self.held_out is not None and not 0 <= self.held_out < 1:
            raise InputError(
                f"--held-out {self.held_out:g}: a share from 0 to below 1; 0.1 keeps a tenth of the videos"
            )
        # The options classes know their ranges. Those that no setting touches are not made: they import torch.
        for part in sorted(parts):
            getattr(self, part)

    @contextlib.contextmanager
    def at(self, catalogue: Catalogue) -> Iterator[Settings]:
        """These settings, completed by those that the store was made with.

        The given ones are remembered, but not where the run cannot be done: a slip would return in later runs.
        Raises :class:`InputError` for a truth file or references that cannot be read.
        """
        from multimodal.scoring.references import read_references
        from multimodal.scoring.truth import read_truth

        if self.truth is not None:
            read_truth(self.truth)
        if self.references is not None:
            read_references(self.references)
        before = catalogue.current("settings") or "{}"
        kept = _current_names(json.loads(before)) | self._remembered()
        catalogue.set_current("settings", json.dumps(kept))
        paths = {
            name: Path(kept[name]) for name, o in OPTIONS.items() if o.is_path is always and name in kept
        }
        try:
            yield dataclasses.replace(self, **kept | paths)
        except FOR_PEOPLE:
            catalogue.set_current("settings", before)
            raise

    def _remembered(self) -> dict[str, Any]:
        """The given settings that the store keeps, in JSON's types, paths from the root on."""
        given = {
            n: getattr(self, n) for n, o in OPTIONS.items() if o.remembered and getattr(self, n) is not None
        }
        return {
            name: str(Path(value).absolute()) if OPTIONS[name].is_path(value) else value
            for name, value in given.items()
        }

    def _chosen(self, part: str, base: T) -> T:
        """``base``, the options of a part, with the fields that the given settings set."""
        fields: dict[str, Any] = {}
        for name, about in OPTIONS.items():
            value = getattr(self, name)
            for place, convert in about.sets.items() if value is not None else ():
                owner, field = place.split(".")
                if owner == part:
                    fields[field] = convert(value)
        return dataclasses.replace(base, **fields)

    @property
    def sized(self) -> Sized:
        """The parts that the size stands for."""
        from flows.sizes import SIZES

        return SIZES[self.size or "small"]

    @property
    def ingest(self) -> IngestOptions:
        from multimodal.intake.ingest import IngestOptions

        return self._chosen("ingest", IngestOptions(whisper=self.sized.whisper, backbone=self.sized.backbone))

    @property
    def tokens(self) -> TokenOptions:
        from multimodal.tokens import TokenOptions

        return self._chosen("tokens", TokenOptions(largest=self.sized.largest))

    @property
    def examples(self) -> ExampleOptions:
        return self._chosen("examples", self.sized.examples)

    @property
    def training(self) -> TrainingOptions:
        return self._chosen("training", self.sized.training)

    @property
    def pretrain(self) -> PretrainOptions:
        from multimodal.training.options import NOTHING, PretrainOptions

        base = PretrainOptions(self.sized.text_start, examples=self.examples, training=self.training)
        chosen = self._chosen("pretrain", base)
        return dataclasses.replace(chosen, shape=self.sized.shape if chosen.text_start == NOTHING else None)

    @property
    def captioner(self) -> CaptionerOptions:
        from multimodal.captioning.options import CaptionerOptions

        return self._chosen("captioner", CaptionerOptions())

    @property
    def split(self) -> float | frozenset[str]:
        """The share of the videos to hold out, or the digests of those that the truth file names."""
        if self.truth is not None and self.held_out is None:
            from multimodal.scoring.truth import read_truth

            return read_truth(self.truth).held_out
        return DEFAULT_HELD_OUT if self.held_out is None else self.held_out

    @property
    def torch_device(self) -> str:
        """``cpu`` or ``cuda``. Raises :class:`InputError` where a GPU is asked for and there is none."""
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError(
                "--device cuda: PyTorch finds no GPU; leave --device out, or install a driver that PyTorch finds"
            )
        return "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"

    @property
    def max_workers(self) -> int:
        """How many videos are ingested at a time."""
        return self.workers or (1 if self.torch_device == "cuda" else os.cpu_count() or 1)


OPTIONS: dict[str, Option] = {
    field.name: field.metadata["option"]
    for field in dataclasses.fields(Settings)
    if "option" in field.metadata
}
"""Every setting but the store, by name."""


def _current_names(remembered: dict[str, Any]) -> dict[str, Any]:
    """The settings that a store remembers, by the names that they have now."""
    return {FORMER_NAMES.get(name, name): value for name, value in remembered.items()}
