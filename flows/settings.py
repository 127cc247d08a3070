"""The settings of a run: `size` chooses every part, and each part can be chosen alone.

Modules that import torch are imported where an options object is made, so that help texts appear at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import Parameter

from flows import options, progress
from flows.errors import FOR_PEOPLE
from flows.options import (
    CHOICE,
    EVALUATION,
    FLAG,
    MACHINE,
    MODEL,
    SPEECH_AND_PICTURE,
    STORE_AND_SIZE,
    SYSTEM,
    TOGETHER,
    TRAINING,
    VISUAL_TOKENS,
    Option,
    flag,
    option,
    system_part,
    to,
)
from multimodal import names
from multimodal.examples.options import NEAR_RATE
from multimodal.store import InputError
from multimodal.systems import SYSTEMS, VIDEOBERT, System, system
from multimodal.training.options import LARGE, ROLLBACK_STEPS
from vision.backbones import BACKBONES

if TYPE_CHECKING:
    from flows.sizes import Sized
    from multimodal.captioning.options import CaptionerOptions
    from multimodal.catalogue import Catalogue
    from multimodal.examples.options import ExampleOptions
    from multimodal.intake.ingest_options import IngestOptions
    from multimodal.tokens import TokenOptions
    from multimodal.training.options import PretrainOptions, TrainingOptions

T = TypeVar("T")
DEFAULT_HELD_OUT = 0.1
DEFAULT_STORE = Path(os.environ.get("VIDEOBERT_STORE", "store"))
StoreOption = Annotated[Path, Parameter(help="Folder of the store (or $VIDEOBERT_STORE).")]


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run. ``None`` takes what the store was made with, else what the size says.

    Raises :class:`InputError` for a value out of its range.
    """

    store: Annotated[StoreOption, STORE_AND_SIZE] = DEFAULT_STORE
    size: Annotated[Literal["demo", "small", "base", "paper"] | None, STORE_AND_SIZE, CHOICE] = option(
        "Size of all parts; the store's own, else small, where not given."
    )
    whisper: Annotated[str | None, SPEECH_AND_PICTURE] = option(
        "Whisper model by name, e.g. tiny.en, base, large-v3-turbo, or its file.",
        sets=to("ingest.whisper"),
        is_path=options.is_whisper_file,
        choices=options.whisper_names,
    )
    language: Annotated[str | None, SPEECH_AND_PICTURE] = option(
        "Spoken language, e.g. en; detected where not given.",
        sets=to("ingest.language"),
        choices=options.language_codes,
    )
    audio_track: Annotated[str | None, SPEECH_AND_PICTURE] = option(
        "Sound track that is heard, by its number from 1 on or its language, e.g. deu; the first with speech where not given.",
        sets=to("ingest.audio_track"),
    )
    captions: Annotated[bool | None, SPEECH_AND_PICTURE] = option(
        "Take captions beside a video or in it in place of Whisper.", sets=to("ingest.captions")
    )
    backbone: Annotated[str | None, SPEECH_AND_PICTURE] = option(
        f"CNN that turns clips into features: {', '.join(BACKBONES)}.",
        sets=to("ingest.backbone"),
        choices=lambda: BACKBONES,
    )
    reader: Annotated[Literal["pyav", "decord"] | None, SPEECH_AND_PICTURE, CHOICE] = option(
        "Video decoder: pyav, or decord, which falls back to pyav.", sets=to("ingest.reader")
    )
    k: Annotated[int | None, VISUAL_TOKENS] = option(
        "Children of each node of the codebook; chosen by --depth and the number of clips where not given.",
        sets=to("tokens.k"),
        least=2,
    )
    depth: Annotated[int | None, VISUAL_TOKENS] = option(
        "Levels of the codebook; chosen by --k and the number of clips where not given.",
        sets=to("tokens.depth"),
        least=1,
    )
    text_start: Annotated[str | None, MODEL] = option(
        "What to start from: minilm-l6, the folder of a BERT, of a joint model or of another store, or none (random weights).",
        sets=to("pretrain.text_start"),
        is_path=options.is_bert_folder,
        choices=options.text_starts,
    )
    visual_start: Annotated[Literal["nearest", "new"] | None, MODEL, CHOICE] = option(
        "Where a joint model is gone on from: visual tokens as their nearest there, or new; nearest where not given.",
        sets=to("pretrain.visual_start"),
    )
    visual_rows: Annotated[Literal["trained", "frozen"] | None, MODEL, CHOICE] = option(
        "Whether the embeddings of the visual tokens are trained; trained where not given.",
        sets=to("pretrain.visual_rows"),
    )
    system: Annotated[str | None, SYSTEM] = option(
        f"Pretraining method: {', '.join(SYSTEMS)}; videobert where not given. The other options of this group change a part "
        "of it.",
        sets=to("parts.name"),
        choices=lambda: SYSTEMS,
    )
    mask_unit: Annotated[str | None, SYSTEM] = system_part("mask_unit", "What is hidden together")
    masking: Annotated[str | None, SYSTEM] = system_part(
        "masking", "Masks drawn anew, or ten repeated drawings"
    )
    attention: Annotated[str | None, SYSTEM] = system_part("attention", "Which tokens a token sees")
    pair_task: Annotated[str | None, SYSTEM] = system_part("pair_task", "What is asked of two parts at [CLS]")
    sequences: Annotated[str | None, SYSTEM] = system_part(
        "sequences", "What a sequence is filled with: a segment, or as many as fit"
    )
    tokenizer: Annotated[str | None, SYSTEM] = system_part("tokenizer", "What words are cut into")
    share_layers: Annotated[str | None, SYSTEM] = system_part("share_layers", "What the layers share")
    embedding_size: Annotated[int | None, SYSTEM] = option(
        "Width of a factorised table of words, 0 for a whole one; the system's own where not given.",
        sets=to("parts.embedding_size"),
    )
    extra_terms: Annotated[str | None, SYSTEM] = system_part(
        "extra_terms", "A term of the loss beside cloze, pair task and contrast"
    )
    generator: Annotated[str | None, SYSTEM] = system_part(
        "generator", "Width of ELECTRA's generator as a share of the model's"
    )
    weights: Annotated[str | None, TRAINING] = option(
        "Weights of the loss's terms, e.g. joint=0,contrast=0.5; 1 each, replaced 50, where not given.",
        sets={"training.weights": options.parse_weights},
    )
    in_video_negative_rate: Annotated[float | None, TRAINING] = option(
        "Share of the misaligned pairs whose video is of the same file, far away; as it comes where not given.",
        sets=to("examples.in_video_negative_rate"),
    )
    corrupt: Annotated[Literal["none", "near"] | None, TRAINING, CHOICE] = option(
        "Whether some of the visual tokens that are read are replaced by near ones of the codebook; none where not given.",
        sets={"examples.near_rate": options.near_rate_of},
    )
    near_rate: Annotated[float | None, TRAINING] = option(
        f"Share of them that --corrupt near replaces; {NEAR_RATE:g} where not given.",
        sets=to("examples.near_rate"),
    )
    context: Annotated[int | None, TRAINING] = option(
        "Clips at most that the next ones are forecast from; 5 where not given.",
        sets=to("examples.context"),
        least=1,
    )
    subsample: Annotated[int | None, TRAINING] = option(
        "Visual tokens are taken at a random step of 1 to this; 1 where not given.",
        sets=to("examples.subsample"),
    )
    epochs: Annotated[int | None, TRAINING] = option(
        "Passes over the segments in pretraining, made whatever the held-out loss says, and over the sentences in captioning.",
        sets=to("training.epochs", "captioner.epochs")
        | options.fixed(1, "training.least_steps", "captioner.least_steps")
        | options.fixed(None, "training.patience"),
        least=1,
    )
    captioner_reads: Annotated[Literal["tokens", "features", "words", "all"] | None, MODEL, CHOICE] = option(
        "What the captioner reads of a moment beside its visual tokens: its clips' features, the words heard beside it, "
        "all, or nothing more; tokens where not given.",
        sets={
            "captioner.features": options.one_of("features", "all"),
            "captioner.words": options.one_of("words", "all"),
        },
    )
    accumulate: Annotated[int | None, TRAINING] = option(
        "Micro-batches of a training step, for less memory; 1 where not given.",
        sets=to("training.accumulate"),
        least=1,
    )
    recipe: Annotated[Literal["large"] | None, TRAINING, CHOICE] = option(
        "large: trains as large language models are, of any system (docs/systems.md); options named beside it win.",
        sets=options.the_fields_of(LARGE, "training"),
    )
    learning_rate: Annotated[float | None, TRAINING] = option(
        "Peak learning rate of pretraining; the size's where not given. Another rate makes another model.",
        sets=to("training.learning_rate"),
    )
    final_rate: Annotated[float | None, TRAINING] = option(
        "Learning rate of the last step as a share of the peak; 0 where not given.", sets=to("training.final")
    )
    spike: Annotated[float | None, TRAINING] = option(
        f"A loss this many times the usual one sends training back by {ROLLBACK_STEPS} steps at most, and the batches "
        "between are skipped; 3 is a good choice.",
        sets=to("training.spike", "captioner.spike")
        | options.fixed(ROLLBACK_STEPS, "training.checkpoint_steps"),
    )
    held_out: Annotated[float | None, EVALUATION] = option(
        "Share of the videos that is held out to judge by; 0.1 where not given."
    )
    truth: Annotated[Path | None, EVALUATION] = option(
        "A truth file: its split and its names are used in the figures.", is_path=options.always
    )
    references: Annotated[Path | None, EVALUATION] = option(
        "Sentences that people wrote (docs/references.md): captions and search are judged by them.",
        is_path=options.always,
    )
    world: Annotated[Path | None, EVALUATION] = option(
        "The file of a known world (docs/known_world.md): each figure is shown beside the best possible one.",
        is_path=options.always,
    )
    probe: Annotated[bool, FLAG, EVALUATION] = flag("Also what each layer of the model knows.")
    copies: Annotated[Literal["keep", "ignore"] | None, EVALUATION, CHOICE] = option(
        "Copies of a video: keep them all on one side of the split, or ignore all but the first; keep where not given."
    )
    seed: Annotated[int | None, TRAINING] = option(
        "The same seed gives the same result; 0 where not given.",
        sets=to("tokens.seed", "training.seed", "captioner.seed"),
        least=0,
    )
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, MACHINE, CHOICE] = option(
        "Where models run; auto, a GPU where there is one, where not given.", remembered=False
    )
    workers: Annotated[int | None, MACHINE] = option(
        "Videos ingested at a time; one a core, or 1 on a GPU, where not given.", least=1, remembered=False
    )
    runner: Annotated[Literal["threads", "dask", "ray"] | None, MACHINE, CHOICE] = option(
        "What ingests videos side by side; threads where not given. Dask and Ray: processes.",
        remembered=False,
    )
    processes: Annotated[int | None, MACHINE] = option(TOGETHER, least=1, remembered=False)
    shard: Annotated[bool | None, MACHINE] = option("Processes share the weights (FSDP2).", remembered=False)
    address: Annotated[str | None, MACHINE] = option("Of a running Dask or Ray cluster.", remembered=False)
    reread: Annotated[bool, FLAG, MACHINE] = flag("Read all files anew; try videos again that were given up.")
    require_confinement: Annotated[bool | None, MACHINE] = option(
        "Refuse to read files where the kernel cannot confine their decoder (`videobert doctor` says what it lacks)."
    )
    refit: Annotated[bool, FLAG, VISUAL_TOKENS] = flag(
        "Fit a new codebook over all videos of the store and pretrain anew."
    )

    def __post_init__(self) -> None:
        parts = set()
        for name, about in OPTIONS.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not about.is_path(value) and len(found := names.meant(str(value), about.choices())) == 1:
                object.__setattr__(self, name, found[0])
            if about.least is not None and value < about.least:
                raise InputError(
                    f"--{name} {value}: at least {about.least}; leave it out to let the size choose"
                )
            parts |= {place.split(".")[0] for place in about.sets}
        if parts & {"training", "parts"}:
            parts.add("pretrain")
        if self.held_out is not None and not 0 <= self.held_out < 1:
            raise InputError(
                f"--held-out {self.held_out:g}: a share from 0 to below 1; 0.1 keeps a tenth of the videos"
            )
        # The options classes know their ranges. Those that no setting touches are not made: they import torch.
        with progress.waiting("loading PyTorch"):
            for part in sorted(parts):
                getattr(self, part)

    @contextlib.contextmanager
    def at(self, catalogue: Catalogue) -> Iterator[Settings]:
        """These settings, completed by those that the store was made with.

        The given ones are remembered, but not where the run cannot be done: a slip would return in later runs.
        Raises :class:`InputError` for a file that cannot be read, and for `--require-confinement` where that cannot be.
        """
        from multimodal.intake.confinement import require_confinement
        from multimodal.known_world.corpus import read_world
        from multimodal.scoring.references import read_references
        from multimodal.scoring.truth import read_truth

        if self.truth is not None:
            read_truth(self.truth)
        if self.references is not None:
            read_references(self.references)
        if self.world is not None:
            read_world(self.world)
        before = catalogue.current("settings") or "{}"
        kept = options.current_names(json.loads(before)) | self._remembered()
        catalogue.set_current("settings", json.dumps(kept))
        paths = {n: Path(kept[n]) for n, o in OPTIONS.items() if o.is_path is options.always and n in kept}
        try:
            require_confinement(kept.get("require_confinement"))
            yield dataclasses.replace(self, **kept | paths)
        except FOR_PEOPLE:
            catalogue.set_current("settings", before)
            raise

    def _remembered(self) -> dict[str, Any]:
        """The given settings that the store keeps, in JSON's types, paths from the root on."""
        given = {
            n: getattr(self, n) for n, o in OPTIONS.items() if o.remembered and getattr(self, n) is not None
        }
        return {name: OPTIONS[name].kept(value) for name, value in given.items()}

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
        from multimodal.intake.ingest_options import IngestOptions

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
    def parts(self) -> System:
        """The system of pretraining, with the parts that were chosen."""
        return self._chosen("parts", system(self.system or VIDEOBERT))

    @property
    def pretrain(self) -> PretrainOptions:
        from multimodal.training.options import NOTHING, PretrainOptions

        base = PretrainOptions(
            self.sized.text_start if self.parts.fits_a_bert else NOTHING,
            examples=self.examples,
            training=self.training,
            system=self.parts,
            choose_tokenizer=self.tokenizer is None and self.text_start is None and self.parts.fits_a_bert,
        )
        chosen = self._chosen("pretrain", base)
        return chosen.with_random_weights(self.sized.shape) if chosen.text_start == NOTHING else chosen

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
        from multimodal.inference.device import chosen_device

        return chosen_device(self.device)


OPTIONS: dict[str, Option] = {
    field.name: field.metadata["option"]
    for field in dataclasses.fields(Settings)
    if "option" in field.metadata
}
"""Every setting but the store, by name."""
