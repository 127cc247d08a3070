"""A trained joint model: its checkpoint, checked and opened for inference, and its encoder over packed batches.

Everything that asks the model something goes through this package: sequences are packed and encoded here alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from multimodal.byte_pairs import load_vocabulary
from multimodal.examples.orders import ORDERS
from multimodal.examples.packing import TEXT_TYPE, Batch, Example, pack, sequence
from multimodal.inference.writing import BlankWriter
from multimodal.joint.generator import Generator, GeneratorReader
from multimodal.joint.model import JointBert
from multimodal.joint.trimming import ClozeReader
from multimodal.joint.writer import Writer
from multimodal.machine import cores
from multimodal.objectives.objective import TERM_FILE
from multimodal.objectives.replaced import generator_of
from multimodal.objectives.written import writer_of
from multimodal.segments import CONTEXT
from multimodal.store import DamagedFile, InputError, Store, changed_files
from multimodal.systems import BIDIRECTIONAL, LEFT_TO_RIGHT, PAIR_TASKS, SENTINELS
from multimodal.terms import ALIGNMENT, NEXT_SEGMENT, TASKS
from multimodal.training import checkpoints
from multimodal.vocabulary import Vocabulary

__all__ = [
    "TEXT_TYPE",
    "Trained",
    "TokenSequence",
    "check_opened",
    "encode",
    "load_trained",
    "model_digest",
    "sequence",
    "training_steps",
]

OPENED = ("card.json", "config.json", "model.safetensors", "tokenizer.json", TERM_FILE)
"""The files of a checkpoint that inference reads. The optimizer's state is not one of them."""
BATCH = 64
"""Sequences encoded at once."""

TokenSequence = tuple[list[int], list[int]]
"""Ids and types of one sequence, as :func:`multimodal.examples.packing.sequence` makes them."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A joint model with its vocabulary and the codebook whose tokens it knows.

    ``has_alignment``: whether its sequence-pair head was trained to tell if words and video belong together. Systems with
    another pair task, or none, have no such head (docs/systems.md), nor has a training in which the term has no weight.
    ``context``: clips at most that it learned to forecast from. ``writer``: the decoder that it was trained with (BART, T5), and
    ``form`` what it learned to write, the ``mask_unit`` of its system. ``attention``: which tokens a token sees, that of its
    system. ``has_next_segment``: whether that head was trained to tell if a segment follows another.
    """

    name: str
    folder: Path
    model: JointBert
    vocabulary: Vocabulary
    codebook: str
    has_alignment: bool = True
    generator: Generator | None = None
    context: int = CONTEXT
    writer: Writer | None = None
    form: str = ""
    attention: str = BIDIRECTIONAL
    has_next_segment: bool = False

    @property
    def left_to_right(self) -> bool:
        """Whether it says what comes next (:mod:`multimodal.inference.left_to_right`), and fills no blanks."""
        return self.attention == LEFT_TO_RIGHT

    @property
    def cloze(self) -> ClozeReader:
        """What fills blanks: the model, or the generator (ELECTRA) or writer that it was trained with."""
        if self.writer is not None:
            return BlankWriter(self.model, self.writer, self.vocabulary, self.form)
        return self.model if self.generator is None else GeneratorReader(self.model, self.generator)


def load_trained(store: Store, name: str, codebook: str, device: str) -> Trained:
    """The model's last checkpoint. Only the files in :data:`OPENED` are hashed.

    Raises :class:`InputError` where there is no checkpoint, or one of these files is not as it was written.
    """
    folder = checkpoints.latest(store.model(name))
    if folder is None:
        raise InputError(f"model {name}: not in store {store.root}; run `videobert pretrain`")
    check_opened(folder, OPENED)
    # PyTorch takes a thread for each core of the affinity, whatever a container's quota pays for.
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    model, vocabulary = JointBert.load(folder).to(device), load_vocabulary(folder)
    checkpoints.check_finite(folder, model)
    card = json.loads((folder / "card.json").read_text()) if (folder / "card.json").exists() else {}
    # Models of before there were systems are VideoBERT's.
    options = card.get("options", {})
    parts, context = options.get("system", {}), options.get("examples", {}).get("context", CONTEXT)
    weights = options.get("training", {}).get("weights", {})
    asked = PAIR_TASKS[parts.get("pair_task", "alignment")]
    has_alignment, follows = (
        term in asked and weights.get(term, 1.0) > 0 for term in (ALIGNMENT, NEXT_SEGMENT)
    )
    form = parts.get("mask_unit", "tokens")
    if form == SENTINELS:
        has_alignment = weights.get(TASKS, 1.0) > 0
    terms = load_file(folder / TERM_FILE) if (folder / TERM_FILE).exists() else {}
    generator = generator_of(model.options, terms)
    generator = None if generator is None else generator.to(device)
    writer = writer_of(model.options, terms)
    writer = None if writer is None else writer.to(device)
    return Trained(
        name, folder, model, vocabulary, codebook, has_alignment, generator, context, writer, form,
        parts.get("attention", BIDIRECTIONAL), follows,
    )  # fmt: skip


def model_digest(folder: Path) -> str:
    """The SHA-256 of a model folder's weights, as its manifest says."""
    return json.loads((folder / "manifest.json").read_text())["files"]["model.safetensors"]


def is_latest(store: Store, trained: Trained) -> bool:
    """Whether its checkpoint is still the last of the model's."""
    return trained.folder == checkpoints.latest(store.model(trained.name))


def training_steps(trained: Trained) -> tuple[int, int]:
    """The optimizer steps that the checkpoint has made, and those that its training has in all."""
    progress = checkpoints.read_progress(trained.folder)
    return progress.step, progress.steps


def check_opened(folder: Path, files: Sequence[str] = OPENED) -> None:
    """Raises :class:`~multimodal.store.DamagedFile` where one of a checkpoint's ``files`` differs from its manifest, or one is not in it."""
    if changed := changed_files(folder, files):
        raise DamagedFile(folder, f"{changed[0]} is not as it was written")


@torch.no_grad()
def encode(
    trained: Trained,
    sequences: Sequence[TokenSequence],
    batch_size: int = BATCH,
    reader: ClozeReader | None = None,
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """The encoder's outputs [T, H] for each packed batch of the sequences, in their order; or those of another ``reader``.

    A token sees those that the model's system lets it see; at a ``[MASK]`` of a permutation is a query, which nobody sees.
    """
    ranks, mask = ORDERS[trained.attention].ranks, trained.vocabulary.mask
    reader = trained.model if reader is None else reader
    for first in range(0, len(sequences), batch_size):
        some = sequences[first : first + batch_size]
        orders = [ranks(ids, mask) for ids, _ in some]
        if not any(map(any, filter(None, orders))):
            orders = [None] * len(some)  # all see all: without ranks this is faster
        examples = [
            Example(ids, types, order=order) for (ids, types), order in zip(some, orders, strict=True)
        ]
        batch = pack(examples).to(trained.model.device)
        yield batch, reader.encode(batch)
