"""Owns the settings of a run: one dial, `size`, derives the rest, and each part can be chosen alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from cyclopts import Parameter

from flows.errors import FOR_PEOPLE
from flows.sizes import SIZES, Size, Sized
from multimodal.captioning.decoder import CaptionerOptions
from multimodal.catalogue import Catalogue
from multimodal.intake.ingest import IngestOptions
from multimodal.objectives.objective import LossWeights
from multimodal.scoring.references import read_references
from multimodal.scoring.truth import read_truth
from multimodal.store import InputError
from multimodal.tokens import TokenOptions
from multimodal.training.pretraining import NOTHING, TEXT_STARTS, PretrainOptions
from speech.models import CHECKPOINTS
from vision.backbones import BACKBONES
from vision.readers import READERS

REMEMBERED = (
    "size",
    "whisper",
    "language",
    "captions",
    "backbone",
    "reader",
    "k",
    "depth",
    "text_start",
    "visual_rows",
    "weights",
    "far",
    "subsample",
    "epochs",
    "captioner_reads",
    "accumulate",
    "learning_rate",
    "final_rate",
    "spike",
    "held_out",
    "truth",
    "references",
    "seed",
)
LEAST = {"k": 2, "depth": 1, "epochs": 1, "accumulate": 1, "workers": 1, "seed": 0}
FILES = ("truth", "references")
NAMES_OR_FILES = {"whisper": CHECKPOINTS, "text_start": (*TEXT_STARTS, NOTHING)}
"""Settings that are a name of these or else a path, which is remembered from the root on."""
STEPS_TO_GO_BACK = 100
"""From one checkpoint to the next where a spike sends training back to one."""
DEFAULT_HELD_OUT = 0.1
DEFAULT_STORE = Path(os.environ.get("VIDEOBERT_STORE", "store"))
StoreOption = Annotated[Path, Parameter(help="The folder that everything is kept in (or $VIDEOBERT_STORE).")]


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a run. ``None`` takes what the store was made with, else what the size says.

    Raises :class:`InputError` for a value out of its range.
    """

    store: StoreOption = DEFAULT_STORE
    size: Annotated[
        Size | None, Parameter(help="What the parts are chosen for; the store's own size, else small.")
    ] = None
    whisper: Annotated[
        str | None, Parameter(help="Whisper model by name, e.g. tiny.en, base, large-v3-turbo, or its file.")
    ] = None
    language: Annotated[str | None, Parameter(help="Spoken language, e.g. en; detected where not given.")] = (
        None
    )
    captions: Annotated[
        bool | None, Parameter(help="Take a .vtt or .srt beside a video in place of Whisper.")
    ] = None
    backbone: Annotated[
        str | None, Parameter(help=f"CNN that turns clips into features: {', '.join(BACKBONES)}.")
    ] = None
    reader: Annotated[
        str | None, Parameter(help="Who decodes the picture: pyav, or decord where it can.")
    ] = None
    k: Annotated[
        int | None,
        Parameter(help="Children of a node of the codebook; else as many as --depth and the data ask for."),
    ] = None
    depth: Annotated[
        int | None, Parameter(help="Levels of the codebook; else as many as --k and the data ask for.")
    ] = None
    text_start: Annotated[
        str | None,
        Parameter(
            help="BERT to start from: minilm-l6, a folder in Hugging Face layout, or none (random weights)."
        ),
    ] = None
    visual_rows: Annotated[
        Literal["trained", "frozen"] | None,
        Parameter(help="Whether the rows of the visual tokens learn; trained where not given."),
    ] = None
    weights: Annotated[
        str | None,
        Parameter(help="Of the loss's terms: text=1,video=1,joint=1,alignment=1,contrast=1 where not given."),
    ] = None
    far: Annotated[
        float | None,
        Parameter(help="Share of misaligned pairs from far away in the same video; as it comes."),
    ] = None
    subsample: Annotated[
        int | None, Parameter(help="Visual tokens at a random step of 1 to so many; 1 where not given.")
    ] = None
    epochs: Annotated[
        int | None,
        Parameter(help="Passes over the segments in pretraining, and over the sentences in captioning."),
    ] = None
    captioner_reads: Annotated[
        Literal["tokens", "features", "words", "all"] | None,
        Parameter(
            help="What the captioner is given of a moment beside its visual tokens: its clips' features, the words heard "
            "beside it, all, or nothing more (tokens, where not given)."
        ),
    ] = None
    accumulate: Annotated[
        int | None, Parameter(help="Parts in which a step is worked out one by one, for less memory.")
    ] = None
    learning_rate: Annotated[
        float | None,
        Parameter(
            help="Its peak in pretraining; what the size says where not given. Another makes another model."
        ),
    ] = None
    final_rate: Annotated[
        float | None,
        Parameter(help="Share of the peak's learning rate that the last step has; 0 where not given."),
    ] = None
    spike: Annotated[
        float | None,
        Parameter(
            help=f"A loss so many times the usual sends training back by {STEPS_TO_GO_BACK} steps at most, past those batches; "
            "3 is a good choice."
        ),
    ] = None
    held_out: Annotated[
        float | None,
        Parameter(help="Share of the videos kept from learning, to judge by; 0.1 where not given."),
    ] = None
    truth: Annotated[
        Path | None, Parameter(help="A truth file: its split and its names are used in the figures.")
    ] = None
    references: Annotated[
        Path | None,
        Parameter(help="Sentences by people (docs/references.md): what captions and search are judged by."),
    ] = None
    seed: Annotated[int | None, Parameter(help="The same seed gives the same result; 0 where not given.")] = (
        None
    )
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Parameter(help="Where models run; auto takes a GPU where there is one."),
    ] = "auto"
    workers: Annotated[
        int | None, Parameter(help="Videos taken in at a time; one a core, or 1 on a GPU.")
    ] = None
    refit: Annotated[
        bool,
        Parameter(help="Fit a new codebook over all videos of the store and pretrain anew.", negative=()),
    ] = False

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name} {value}: at least {least}; leave it out to let the size choose")
        if self.held_out is not None and not 0 <= self.held_out < 1:
            raise InputError(
                f"--held-out {self.held_out:g}: a share from 0 to below 1; 0.1 keeps a tenth of the videos"
            )
        self._ingest_options()
        _ = self.pretrain

    @contextlib.contextmanager
    def at(self, catalogue: Catalogue) -> Iterator[Settings]:
        """These settings with what the store was made with where they say nothing.

        What they do say is remembered, but not where it cannot be had: a slip would haunt the runs that follow.
        Raises :class:`InputError` for a file of truth or of references that is not one.
        """
        if self.truth is not None:
            read_truth(self.truth)
        if self.references is not None:
            read_references(self.references)
        before = catalogue.current("settings") or "{}"
        said = {name: getattr(self, name) for name in REMEMBERED if getattr(self, name) is not None}
        said |= {name: str(Path(value).absolute()) for name, value in said.items() if _is_file(name, value)}
        kept = json.loads(before) | said
        catalogue.set_current("settings", json.dumps(kept))
        kept |= {name: Path(kept[name]) for name in FILES if name in kept}
        try:
            yield dataclasses.replace(self, **kept)
        except FOR_PEOPLE:
            catalogue.set_current("settings", before)
            raise

    @property
    def sized(self) -> Sized:
        return SIZES[self.size or "small"]

    @property
    def ingest(self) -> IngestOptions:
        return self._ingest_options()

    def _ingest_options(self) -> IngestOptions:
        return IngestOptions(
            whisper=self.whisper or self.sized.whisper,
            backbone=self.backbone or self.sized.backbone,
            reader=self.reader or READERS[0],
            language=self.language,
            captions=bool(self.captions),
        )

    @property
    def tokens(self) -> TokenOptions:
        return TokenOptions(k=self.k, depth=self.depth, largest=self.sized.largest, seed=self.seed or 0)

    @property
    def pretrain(self) -> PretrainOptions:
        sized, start = self.sized, self.text_start or self.sized.text_start
        training = dataclasses.replace(sized.training, seed=self.seed or 0)
        if self.epochs is not None:
            training = dataclasses.replace(training, epochs=self.epochs, least_steps=1)
        training = dataclasses.replace(
            training,
            learning_rate=training.learning_rate if self.learning_rate is None else self.learning_rate,
            accumulate=self.accumulate or 1, final=self.final_rate or 0.0, spike=self.spike,
            checkpoint_steps=None if self.spike is None else STEPS_TO_GO_BACK,
        )  # fmt: skip
        if self.weights is not None:
            training = dataclasses.replace(training, weights=LossWeights.parse(self.weights))
        return PretrainOptions(
            text_start=start,
            shape=sized.shape if start == NOTHING else None,
            visual_rows=self.visual_rows or "trained",
            examples=dataclasses.replace(
                sized.examples, far=self.far, subsample=1 if self.subsample is None else self.subsample
            ),
            training=training,
        )

    @property
    def captioner(self) -> CaptionerOptions:
        reads = self.captioner_reads
        options = CaptionerOptions(
            seed=self.seed or 0, features=reads in ("features", "all"), words=reads in ("words", "all")
        )
        if self.epochs is not None:
            options = dataclasses.replace(options, epochs=self.epochs, least_steps=1)
        return options

    @property
    def torch_device(self) -> str:
        """``cpu`` or ``cuda``. Raises :class:`InputError` where a GPU is asked for and there is none."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError(
                "--device cuda: PyTorch finds no GPU; leave --device out, or install a driver that PyTorch finds"
            )
        return "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"

    @property
    def at_once(self) -> int:
        """How many videos are taken in at a time."""
        return self.workers or (1 if self.torch_device == "cuda" else os.cpu_count() or 1)


def _is_file(name: str, value: Any) -> bool:
    """Whether a setting's value is a path, so that it depends on where the command was called."""
    return name in FILES or (
        name in NAMES_OR_FILES and value not in NAMES_OR_FILES[name] and Path(value).exists()
    )
