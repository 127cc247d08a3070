"""Owns the making of a joint model from a store: which videos it learns from, where it starts, where it is kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from multimodal import checkpoints, weights
from multimodal.catalogue import Video
from multimodal.examples import ExampleOptions, Examples
from multimodal.library import Material, read_material
from multimodal.model import JointBert
from multimodal.starting import start_from
from multimodal.store import InputError, Store, recipe
from multimodal.tokens import describe, load_codebook
from multimodal.training import Report, TrainingOptions, train
from multimodal.vocabulary import Vocabulary

VERSION = 3
TEXT_STARTS = ("minilm-l6",)


@dataclasses.dataclass(frozen=True)
class PretrainOptions:
    """``text_start``: the BERT checkpoint that the encoder and the word rows begin with; see :func:`text_start`."""

    text_start: str = "minilm-l6"
    examples: ExampleOptions = ExampleOptions()
    training: TrainingOptions = TrainingOptions()


def model_name(store: Store, videos: Sequence[Video], codebook: str, options: PretrainOptions) -> str:
    """The address of the model that these videos, this codebook and these options give."""
    learned, _ = learned_and_held_out(store, videos, codebook)
    return recipe(
        version=VERSION,
        codebook=codebook,
        words=sorted(f"{v.video}.{v.transcript}" for v in learned),
        options=options,
    )


def learned_and_held_out(
    store: Store, videos: Sequence[Video], codebook: str
) -> tuple[list[Video], list[Video]]:
    """The videos that the codebook was fitted on, which the model learns from, and those held out of both.

    A video that came into the store later is in neither: it can be searched, and is learned from after a refit.
    """
    description = describe(store, codebook)
    by_digest = {v.video: v for v in videos}
    learned = [by_digest[v] for v, _ in description["videos"] if v in by_digest]
    held_out = [by_digest[v] for v in description["held_out"] if v in by_digest]
    wordy = [v for v in videos if not v.clips and v.sentences and v.video not in description["held_out"]]
    return learned + [v for v in wordy if v.video in description["words_only"]], held_out


def pretrain(
    store: Store,
    videos: Sequence[Video],
    codebook: str,
    options: PretrainOptions,
    device: str,
    report: Report,
) -> tuple[str, Path]:
    """Pretrains the joint model, from its last checkpoint where a run was stopped; returns its name and its folder.

    Raises :class:`InputError` where there is nothing to learn from, or ``text_start`` is not known.
    """
    learned, held_out = learned_and_held_out(store, videos, codebook)
    name = model_name(store, videos, codebook, options)
    start = text_start(options.text_start)
    centroids_KD = torch.from_numpy(load_codebook(store, codebook).leaf_centroids())
    vocabulary = Vocabulary.from_file(start / "vocab.txt", len(centroids_KD))
    seed = options.training.seed
    examples = gather(
        vocabulary, [read_material(store, codebook, v) for v in learned], options.examples, seed
    )
    if not len(examples):
        raise InputError(
            f"store {store.root}: nothing was said or seen in its {len(learned)} videos, so there is nothing to learn from"
        )
    kept_out = gather(
        vocabulary, [read_material(store, codebook, v) for v in held_out], options.examples, seed + 1
    )
    card = {"codebook": codebook, "learned": [v.video for v in learned], "held_out": [v.video for v in held_out],
            "options": dataclasses.asdict(options), "spoken_segments": len(examples.spoken), "runs": len(examples.silent)}  # fmt: skip

    def begin() -> JointBert:
        return start_from(start, len(vocabulary.words), centroids_KD, seed)

    folder = train(
        store.model(name), vocabulary, begin, examples, kept_out if len(kept_out) else None, options.training,
        device=torch.device(device), card=card, report=report,
    )  # fmt: skip
    return name, folder


def text_start(name: str) -> Path:
    """The folder of a BERT checkpoint: known by name, or a folder in Hugging Face layout.

    Raises :class:`InputError` where it is neither.
    """
    if name in TEXT_STARTS:
        return weights.fetch(name).parent
    folder = Path(name)
    missing = [f for f in ("config.json", "model.safetensors", "vocab.txt") if not (folder / f).is_file()]
    if missing:
        raise InputError(
            f"--text-start {name}: {missing[0]} is not there; name {' or '.join(TEXT_STARTS)}, or a folder with a BERT's "
            "config.json, model.safetensors and vocab.txt"
        )
    activation = json.loads((folder / "config.json").read_text()).get("hidden_act", "gelu")
    if activation != "gelu":
        raise InputError(
            f"--text-start {name}: its activation is {activation}; only BERTs with gelu are read"
        )
    return folder


def gather(
    vocabulary: Vocabulary, materials: Sequence[Material], options: ExampleOptions, seed: int
) -> Examples:
    """The examples that videos give."""
    spoken = [s for m in materials for s in m.spoken()]
    silent = [s for m in materials for s in m.silent()]
    return Examples(vocabulary, spoken, silent, options, seed)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A joint model with its vocabulary and the codebook whose tokens it knows."""

    name: str
    folder: Path
    model: JointBert
    vocabulary: Vocabulary
    codebook: str


def load_trained(store: Store, name: str, codebook: str, device: str) -> Trained:
    """The model's last checkpoint. Raises :class:`InputError` where there is none or it was changed."""
    folder = checkpoints.latest(store.model(name))
    if folder is None:
        raise InputError(f"model {name}: not in store {store.root}; run `videobert pretrain`")
    checkpoints.check(folder)
    return Trained(name, folder, JointBert.load(folder).to(device), Vocabulary.load(folder), codebook)
