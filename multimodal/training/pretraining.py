"""Owns the making of a joint model from a store: which videos it learns from, where it starts, where it is kept."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch

from multimodal.catalogue import Video
from multimodal.examples.sampling import TERMS, ExampleOptions, Examples
from multimodal.joint.initialization import Shape, from_checkpoint, from_scratch, weights_file
from multimodal.joint.model import JointBert
from multimodal.library import Material, read_material
from multimodal.progress import Report
from multimodal.store import InputError, Store, file_digest, recipe
from multimodal.tokens import load_codebook, train_and_held_out
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext
from multimodal.training.loop import TrainingOptions, train
from multimodal.training.unfinished_runs import unfinished_runs
from multimodal.vocabulary import Vocabulary
from multimodal.weights import fetching

VERSION = 7
TEXT_STARTS = ("minilm-l6",)
NOTHING = "none"
WORDS_OF_NOTHING = "minilm-l6"
"""A model that starts from nothing still needs word pieces: BERT's own, 30,522 of them."""
BY_FOLDER = {"bert-base-uncased": "base", "bert-large-uncased": "paper"}
"""BERTs that nobody hands out to us, and the size that starts from each: the user has to say where one lies."""
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")


@dataclasses.dataclass(frozen=True)
class PretrainOptions:
    """``text_start``: the BERT checkpoint that the encoder and the word rows begin with, or ``none``; see
    :func:`text_start`. ``shape``: that of an encoder which starts from nothing.

    ``visual_rows``: whether the rows of the visual tokens, which begin as their centroids, are trained. Frozen ones stay
    what they are in the tied cloze head too (:class:`~multimodal.joint.model.ModelOptions`); ``[>]`` and the words are
    trained.
    """

    text_start: str = "minilm-l6"
    shape: Shape | None = None
    visual_rows: Literal["trained", "frozen"] = "trained"
    examples: ExampleOptions = ExampleOptions()
    training: TrainingOptions = TrainingOptions()


def model_name(store: Store, videos: Sequence[Video], codebook: str, options: PretrainOptions) -> str:
    """The address of the model that these videos, this codebook and these options give.

    A checkpoint to start from counts by its content, wherever it lies.
    """
    learned, _ = train_and_held_out(store, videos, codebook)
    start = NOTHING if options.text_start == NOTHING else _content(text_start(options.text_start))
    return recipe(
        version=VERSION,
        codebook=codebook,
        words=sorted(f"{v.video}.{v.transcript}" for v in learned),
        options=dataclasses.replace(options, text_start=start),
    )


def _content(checkpoint: Path) -> str:
    files = [checkpoint / "config.json", weights_file(checkpoint)]
    files += [checkpoint / name for name in VOCABULARY_FILES if (checkpoint / name).is_file()]
    return hashlib.sha256(" ".join(map(file_digest, files)).encode()).hexdigest()


def pretrain(
    store: Store,
    videos: Sequence[Video],
    codebook: str,
    options: PretrainOptions,
    device: str,
    report: Report,
    processes: DistributedContext = SINGLE_PROCESS,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[str, Path]:
    """Pretrains the joint model, from its last checkpoint where a run was stopped; returns its name and its folder.

    ``say`` is told where it begins while another model of the codebook was left unfinished, and what cannot be learned.
    Raises :class:`InputError` where there is nothing to learn from, ``text_start`` is not known or not to be used, or rows
    are to be frozen that have no centroids.
    """
    learned, held_out = train_and_held_out(store, videos, codebook)
    name = model_name(store, videos, codebook, options)
    nothing = options.text_start == NOTHING
    start = text_start(options.text_start)
    fitted, frozen = load_codebook(store, codebook), options.visual_rows == "frozen"
    if frozen and not fitted.has_centroids:
        raise InputError(
            f"--visual-rows frozen: the tokens of codebook {codebook} were made elsewhere, so there are no centroids to keep; "
            "leave it out, or say trained"
        )
    centroids_KD = torch.from_numpy(fitted.leaf_centroids())
    vocabulary = Vocabulary.of_bert(start, len(centroids_KD))
    training = options.training
    examples, kept_out = (
        gather(
            vocabulary,
            [read_material(store, codebook, v) for v in part],
            options.examples,
            training.seed + n,
            training.weights.asked,
            fitted.used_.nonzero()[0].tolist(),
        )
        for n, part in enumerate((learned, held_out))
    )
    if not len(examples):
        raise InputError(
            f"store {store.root}: nothing was said or seen in its {len(learned)} videos, so there is nothing to learn from"
        )
    card = {"codebook": codebook, "learned": [v.video for v in learned], "held_out": [v.video for v in held_out],
            "options": dataclasses.asdict(options), "spoken_segments": len(examples.spoken), "runs": len(examples.silent)} | ({"notice": examples.notice} if examples.notice else {})  # fmt: skip

    if processes.first:
        for line in [*filter(None, [examples.notice]), *unfinished_runs(store, name, card)]:
            say(line)

    def begin() -> JointBert:
        if nothing:
            model = from_scratch(
                options.shape or Shape(), vocabulary, centroids_KD, training.seed, frozen=frozen
            )
        else:
            model = from_checkpoint(start, vocabulary, centroids_KD, training.seed, frozen=frozen)
        if model.options.max_position_embeddings < options.examples.longest:
            raise InputError(
                f"--text-start {options.text_start}: has {model.options.max_position_embeddings} positions, examples have up "
                f"to {options.examples.longest} tokens; start from a BERT with more"
            )
        return model

    folder = train(
        store.model(name), vocabulary, begin, examples, kept_out if len(kept_out) else None, training,
        device=torch.device(device), card=card, report=report, processes=processes,
    )  # fmt: skip
    return name, folder


def text_start(name: str) -> Path:
    """The folder of a BERT checkpoint: known by name, or a folder in Hugging Face layout; for ``none`` that of the words.

    Raises :class:`InputError` where it is none of these, :class:`~multimodal.weights.fetching.WeightsError` where no
    place has it.
    """
    if name in (*TEXT_STARTS, NOTHING):
        return fetching.fetch(WORDS_OF_NOTHING if name == NOTHING else name).parent
    layout = "in Hugging Face layout (config.json, its weights, tokenizer.json or vocab.txt)"
    if name in BY_FOLDER:
        raise InputError(
            f"{name}, which --size {BY_FOLDER[name]} starts from: is not fetched by its name; say --text-start FOLDER, where it "
            f"lies {layout}, or --text-start {' or '.join((*TEXT_STARTS, NOTHING))}"
        )
    folder = Path(name)
    if not (folder / "config.json").is_file():
        raise InputError(
            f"--text-start {name}: {'has no config.json' if folder.is_dir() else 'is no folder here'}; name "
            f"{', '.join(TEXT_STARTS)} or {NOTHING}, or the folder of a BERT {layout}"
        )
    return folder


def gather(
    vocabulary: Vocabulary,
    materials: Sequence[Material],
    options: ExampleOptions,
    seed: int,
    asked: frozenset[str] = TERMS,
    used: Sequence[int] | None = None,
) -> Examples:
    """The examples that videos give, for the terms of the loss that are asked for; ``used`` are the codebook's leaves that
    clips fell into, ``None`` takes all."""
    spoken = [s for m in materials for s in m.spoken()]
    silent = [s for m in materials for s in m.silent()]
    return Examples(vocabulary, spoken, silent, options, seed, asked, used)
