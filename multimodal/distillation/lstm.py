"""Distillation of a head into a bidirectional LSTM (Tang et al. 2019): no labels are needed, as the teacher gives its logits for
every moment of the store.

Shapes: N answers, K asked positions, C classes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multimodal.catalogue import Video
from multimodal.distillation.options import BILSTM, LstmOptions
from multimodal.distillation.timing import TIMED, answer_seconds
from multimodal.examples.moments import moment_sequence, token_units, windows
from multimodal.examples.options import DOCUMENT, PAIR, SCORE, SPAN, TOKEN
from multimodal.examples.packing import Example
from multimodal.finetuning.figures import THRESHOLD, correlation, moments_of
from multimodal.finetuning.options import AGREEMENT, check_name
from multimodal.finetuning.training import TaskDataset
from multimodal.inference.head_shapes import HeadShape, LstmShape, shape_of
from multimodal.inference.heads import (
    Head,
    answers_of,
    asked_logits,
    check_own,
    head_file,
    heads_root,
    load_head,
    read_head,
    readable,
    sequence_example,
)
from multimodal.inference.trained import Trained, model_digest
from multimodal.library import Material, read_material
from multimodal.objectives.lstm_heads import LstmObjective
from multimodal.progress import Report, announce
from multimodal.scoring.intervals import Figure, figure_of_sums, mean
from multimodal.store import InputError, Store, canonical_json, recipe, write_artefact
from multimodal.terms import LABEL
from multimodal.tokens import train_and_held_out
from multimodal.training import checkpoints
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext
from multimodal.training.loop import train

VERSION = 1


@dataclasses.dataclass(frozen=True)
class DistilledHead:
    """A head that was made: its name, kind and classes, the head that taught it, how many examples it learned from, by how much
    it agrees with its teacher on held-out videos, the parameters and the milliseconds of an answer of (teacher, student), and
    notes for people."""

    name: str
    kind: str
    classes: tuple[str, ...]
    teacher: str
    counts: dict[str, int]
    figures: dict[str, Figure]
    parameters: tuple[int, int]
    milliseconds: tuple[float, float]
    notes: tuple[str, ...] = ()


def check_head(store: Store, model: str, head: str, name: str) -> None:
    """Raises :class:`InputError`, without loading anything, where ``head`` is no head of this model or none that an LSTM can
    learn from, and where ``name`` would replace it."""
    folder = checkpoints.latest(store.model(model))
    if folder is None:
        raise InputError(f"model {model}: not in store {store.root}; run `videobert pretrain`")
    if check_name(name) == head:
        raise InputError(f"--name {name}: is the teacher's; choose another")
    shape = shape_of(check_own(store, model, folder, head))
    if isinstance(shape, LstmShape):
        raise InputError(f"--head {head}: is an LSTM already; name the head that it learned from")
    if shape.kind == SPAN or shape.sentence:
        what = "of kind span" if shape.kind == SPAN else "of classes that are read as sentences"
        raise InputError(
            f"--head {head}: is {what}, which --method {BILSTM} does not learn; name a head of another kind"
        )


def distill_head(
    store: Store,
    trained: Trained,
    videos: Sequence[Video],
    head: str,
    name: str,
    options: LstmOptions,
    report: Report,
    context: DistributedContext = SINGLE_PROCESS,
) -> DistilledHead:
    """Trains an LSTM to give the logits of a head, from its last checkpoint where a run was stopped, and keeps it as the head
    ``name``; one of that name is replaced at the end.

    It learns from the moments of the videos that the model learned from, and masked copies of them.
    Raises :class:`InputError` as :func:`check_head` does, and where there is nothing that the head reads.
    """
    check_head(store, trained.name, head, name)
    teacher = load_head(store, trained, head)
    parts = train_and_held_out(store, videos, trained.codebook)
    learned, held_out = ([read_material(store, trained.codebook, v) for v in part] for part in parts)
    random = np.random.default_rng(options.seed)
    examples = moment_examples(trained, teacher, learned, random)
    if not examples:
        raise InputError(f"--head {head}: nothing that it reads ({teacher.shape.read}) is in the videos")
    examples = with_masked_copies(trained, examples, options, random)
    judged = moment_examples(trained, teacher, held_out, random)
    announce(f"asking head {head} about {len(examples)} moments and masked copies")
    teacher_KC = asked_logits(trained, teacher, [*examples, *(example for example, _ in judged)])
    rows = iter(range(len(teacher_KC)))
    learned_from, ending = (
        [dataclasses.replace(e, asks={LABEL: [(p, next(rows)) for p, _ in e.asks[LABEL]]}) for e in some]
        for some in (examples, [example for example, _ in judged])
    )
    fields = dataclasses.asdict(dataclasses.replace(teacher.shape, averaged=False, seed=options.seed))
    shape = LstmShape(**fields | {"lstm": options.width, "classes": teacher.shape.classes})
    digest = model_digest(trained.folder)
    address = recipe(
        distillation=VERSION,
        model=digest,
        head=read_head(store, head)["head"],
        shape=dataclasses.asdict(shape),
        options=dataclasses.asdict(options),
        examples=hashlib.sha256(canonical_json([e.ids for e in examples]).encode()).hexdigest(),
    )
    targets = torch.from_numpy(teacher_KC)

    def begin(_: Path | None) -> LstmObjective:
        return shape.make_lstm(trained, targets)

    card = {
        "model": trained.name, "step": trained.folder.name, "model_sha256": digest,
        "shape": dataclasses.asdict(shape), "options": dataclasses.asdict(options), "teacher": head,
    }  # fmt: skip
    folder = train(
        heads_root(store) / address, begin, TaskDataset(learned_from, options.seed),
        TaskDataset(ending, options.seed) if ending else None,
        options.training, device=trained.model.device, card=card, report=report, context=context,
    )  # fmt: skip
    objective = begin(None).to(trained.model.device)
    objective.load(folder)
    student = Head(name, shape, objective.eval())
    figures = {}
    if judged:
        figures[AGREEMENT] = agreement(trained, (teacher, student), judged)
    answers = [partial(asked_logits, trained, h) for h in (teacher, student)]
    made = DistilledHead(
        name, shape.kind, shape.classes, head, {"train": len(examples), "dev": len(judged)}, figures,
        tuple(sum(p.numel() for p in h.objective.parameters()) for h in (teacher, student)),
        tuple(1000 * s for s in answer_seconds(answers, [[example] for example in examples[:TIMED]])),
    )  # fmt: skip
    document: dict[str, Any] = {"head": address} | card | dataclasses.asdict(made)
    if context.is_main:
        write_artefact(head_file(store, name), canonical_json(document).encode())
    return made


def moment_examples(
    trained: Trained, head: Head, materials: Sequence[Material], random: np.random.Generator
) -> list[tuple[Example, str]]:
    """What the head is asked of these videos, each example with its video: windows of a timeline or of whole videos, else
    moments; of pairs each with its own words and with those of another moment."""
    shape, found = head.shape, []
    for material in materials:
        video = material.video.video
        if shape.kind == TOKEN:
            for window in windows(material, shape.window, shape.stride):
                units = token_units(trained.vocabulary, material, window, shape.read)
                if asks := [(position, 0) for position in units.positions]:
                    found.append((Example(units.ids, units.types, {LABEL: asks}), video))
            continue
        whole = shape.kind == DOCUMENT
        of = windows(material, shape.window, shape.stride) if whole else material.moments()
        for moment in readable(head, of):
            asked: list[str | None] = [None]
            if shape.kind == PAIR:
                texts = [m.text for m in of if m.text]
                asked = [moment.text, texts[random.integers(len(texts))]] if moment.text else []
            for text in asked:
                ids, types = moment_sequence(trained.vocabulary, moment, shape.read, text)
                found.append((sequence_example(trained, (ids, types)), video))
    return found


def with_masked_copies(
    trained: Trained, given: Sequence[tuple[Example, str]], options: LstmOptions, random: np.random.Generator
) -> list[Example]:
    """A draw of the examples where there are more than ``most_examples``, and copies of each whose words and visual tokens are
    hidden at the rate ``mask``, ``[CLS]``, ``[>]`` and ``[SEP]`` never."""
    vocabulary = trained.vocabulary
    kept = random.permutation(len(given))[: options.most_examples]
    copies = max(1, min(options.copies, options.most_examples // len(kept)))
    marks = (vocabulary.cls_id, vocabulary.sep, vocabulary.join)
    found = [given[int(i)][0] for i in kept]
    for _ in range(copies - 1):
        for example in found[: len(kept)]:
            hidden = (random.random(len(example.ids)) < options.mask) & ~np.isin(example.ids, marks)
            ids = np.where(hidden, vocabulary.mask, example.ids).tolist()
            found.append(dataclasses.replace(example, ids=ids))
    return found


def agreement(trained: Trained, heads: tuple[Head, Head], judged: Sequence[tuple[Example, str]]) -> Figure:
    """How often the student gives its teacher's answer; of scores the correlation with its scores. Chance is the teacher's most
    frequent answer; of scores 0."""
    theirs, own = (
        answers_of(head.shape, asked_logits(trained, head, [e for e, _ in judged])) for head in heads
    )
    videos = [video for example, video in judged for _ in example.asks[LABEL]]
    shape: HeadShape = heads[0].shape
    if shape.kind == SCORE:
        return figure_of_sums(videos, moments_of(theirs, own), correlation, 0.0, bounds=(-1, 1))
    if shape.several:
        yes, also = theirs > THRESHOLD, own > THRESHOLD
        same_N, chance = (yes == also).mean(1), _of_most(yes).mean()
    else:
        same_N = theirs.argmax(1) == own.argmax(1)
        chance = np.bincount(theirs.argmax(1)).max() / len(theirs)
    parts = np.stack([same_N, np.ones(len(same_N))], 1)
    return figure_of_sums(videos, parts, mean, float(chance))


def _of_most(yes_NC: np.ndarray) -> np.ndarray:
    share_C = yes_NC.mean(0)
    return np.maximum(share_C, 1 - share_C)
