"""Training of a head by the one training loop, its figures, and where it is kept."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multimodal.catalogue import Video
from multimodal.examples.moments import moment_sequence, ordered, summary_position
from multimodal.examples.options import DOCUMENT, SCORE, SEQUENCE, SPAN
from multimodal.examples.packing import Batch, Example, pack
from multimodal.finetuning.baselines import baseline_predictions
from multimodal.finetuning.figures import decided, task_figures
from multimodal.finetuning.judged import JudgedAnswer, confusion, judged_answers
from multimodal.finetuning.options import BY_MEAN, ZERO_SHOT, FineTuningOptions, check_name
from multimodal.finetuning.probe import check_probe, layer_figures
from multimodal.finetuning.spans import span_baselines
from multimodal.finetuning.task import DEV, TEST, TRAIN, Split, Task, WindowUnits, make_task
from multimodal.finetuning.task_files import TaskFile
from multimodal.inference.embedding import alignment_probability
from multimodal.inference.head_shapes import SLOT, HeadShape
from multimodal.inference.heads import (
    Head,
    answers_of,
    asked_logits,
    asked_states,
    best_span,
    by_unit,
    combined_windows,
    head_file,
    heads_root,
    mean_of_windows,
    sequence_example,
    span_log_odds,
)
from multimodal.inference.trained import Trained, model_digest
from multimodal.joint.adapters import check_layers, moved_parameters
from multimodal.library import Material, read_material
from multimodal.objectives.finetuning import FineTuningObjective, Rates
from multimodal.progress import Report, announce
from multimodal.scoring.intervals import Figure
from multimodal.store import InputError, Store, canonical_json, recipe, write_artefact
from multimodal.terms import LABEL
from multimodal.terms import SPAN as SPAN_TERM
from multimodal.tokens import train_and_held_out
from multimodal.training import checkpoints
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext
from multimodal.training.loop import train
from vision.clips import CLIP_SECONDS

VERSION = 2


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """A head that was made: its name and shape, its figures on held-out videos, the weights that were moved as a share of
    the model's, and notes for people.

    ``confusion``: how often each class (row) is taken for each (column). ``answers``: those that it was judged by, with
    their moments on a map.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    moved: float
    figures: Mapping[str, Figure]
    notes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...] = ()
    answers: tuple[JudgedAnswer, ...] = ()


class TaskDataset:
    """Examples as a source of the training loop, in an order that is a function of (seed, epoch). An item is so many
    ``together``, the choices of a question."""

    def __init__(self, examples: Sequence[Example], seed: int, together: int = 1):
        self._examples, self._seed, self._together = examples, seed, together

    def __len__(self) -> int:
        return len(self._examples) // self._together

    def order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self._seed, epoch)).permutation(len(self))

    def batch(self, items: Sequence[tuple[int, int]]) -> Batch:
        size = self._together
        return pack([e for _, item in items for e in self._examples[item * size : (item + 1) * size]])


def fine_tune(
    store: Store,
    trained: Trained,
    videos: Sequence[Video],
    file: TaskFile,
    name: str,
    options: FineTuningOptions,
    report: Report,
    context: DistributedContext = SINGLE_PROCESS,
) -> FineTuned:
    """Trains a head on a task, judges it on the held-out videos, and keeps it as ``name``; a head of that name is replaced at
    the end, not before.

    A run that was stopped goes on from its last checkpoint, on a CPU to the same weights bit for bit; one that was made
    before is not made again. Raises :class:`InputError` for what :func:`~multimodal.finetuning.task.make_task` refuses, and
    what the training loop raises.
    """
    check_name(name)
    check_layers(options.adapt, trained.model.options.num_hidden_layers)
    learned, _ = train_and_held_out(store, videos, trained.codebook)
    known = {video.video for video in learned}
    materials: dict[str, Material] = {}

    def material_of(video: Video) -> Material:
        announce(f"reading the moments of {video.name}")
        materials[video.video] = read_material(store, trained.codebook, video)
        return materials[video.video]

    usable = [v for v in videos if not v.clips or store.tokens(trained.codebook, v.video).exists()]
    unseen = frozenset(v.video for v in usable if v.video not in known)
    task = make_task(file, usable, material_of, trained.vocabulary, options, unseen=unseen)
    if options.probe:
        check_probe(task)
    if options.sentence and (task.kind != SEQUENCE or task.several):
        raise InputError(
            f"--sentence: is of moments with one label each, and this task is of kind {task.kind}; leave it out"
        )
    shape = _shape(task, options)
    sources = {split: task.splits[split] for split in (TRAIN, DEV)}
    examples, target_KC, weight_C = _examples(trained, task, sources, shape, balance=options.balance)
    digest = model_digest(trained.folder)
    address = recipe(
        version=VERSION,
        model=digest,
        options=options.for_address(),
        shape=dataclasses.asdict(shape),
        rows=_digest(file, task, [m.video for m in materials.values()]),
    )
    root, together = heads_root(store) / address, len(task.classes) if options.sentence else 1

    def begin(_: Path | None) -> FineTuningObjective:
        rates = Rates(options.encoder_share, options.layer_decay, options.unfreezing)
        return shape.make(trained, target_KC, weight_C, rates, options.distill)

    card = {
        "model": trained.name, "step": trained.folder.name, "model_sha256": digest,
        "shape": dataclasses.asdict(shape), "options": dataclasses.asdict(options),
    }  # fmt: skip
    folder = train(
        root, begin, TaskDataset(examples[TRAIN], options.seed, together),
        TaskDataset(examples[DEV], options.seed, together) if examples[DEV] else None,
        options.training(trained.model.options.hidden_size), device=trained.model.device, card=card, report=report,
        context=context,
    )  # fmt: skip
    objective = begin(None).to(trained.model.device)
    objective.load(folder)
    if shape.averaged:
        objective.take_average()
    moved = sum(
        p.numel() for p in [*moved_parameters(objective.model).values(), *objective.terms.parameters()]
    )
    figures: dict[str, Figure] = {}
    mixed_up: tuple[tuple[int, ...], ...] = ()
    judged: tuple[JudgedAnswer, ...] = ()
    if task.splits[TEST]:
        announce("judging the head on the held-out videos")
        head = Head(name, shape, objective.eval())
        answers = predictions_of(trained, head, task, task.splits[TEST])
        by_digest = {video.video: video for video in usable}
        visual = trained.vocabulary.visual
        if task.kind == SPAN:
            plain = span_baselines(store, by_digest, task, materials, visual)
        else:
            plain = baseline_predictions(store, by_digest, task, visual, balance=options.balance)
        if task.kind == DOCUMENT:
            by_mean = predictions_of(trained, head, task, task.splits[TEST], by=mean_of_windows)
            plain = plain | {BY_MEAN: decided(task, by_mean)}
        if options.sentence and trained.has_alignment:
            plain = plain | {ZERO_SHOT: _zero_shot(trained, task, shape)}
        figures = task_figures(task, answers, plain, options.seed)
        mixed_up = confusion(task, answers)
        judged = judged_answers(task, answers, _states_of(trained, head, task))
        if options.probe:
            announce("asking each layer")
            figures |= layer_figures(trained, task, options.seed)
    made = FineTuned(
        name, task.kind, task.classes, {split: len(units) for split, units in task.splits.items()},
        moved / sum(p.numel() for p in trained.model.parameters()), figures,
        (*task.notes, *_about_end(folder)), mixed_up, judged,
    )  # fmt: skip
    if context.is_main:
        write_artefact(head_file(store, name), canonical_json(_document(made, card, address)).encode())
    return made


def _shape(task: Task, options: FineTuningOptions) -> HeadShape:
    scores = [unit.target[0] for unit in task.splits[TRAIN].units] if task.kind == SCORE else [0.0]
    return HeadShape(
        task.kind, task.read, task.classes, task.several,
        mean=float(np.mean(scores)), deviation=float(np.std(scores)) or 1.0,
        adapt=options.adapt, width=options.width, rank=options.rank,
        window=options.window, stride=options.stride, sentence=options.sentence, layers=options.layers, averaged=options.average,
        seed=options.seed,
    )  # fmt: skip


def _examples(
    trained: Trained, task: Task, splits: Mapping[str, Split], shape: HeadShape, *, balance: bool
) -> tuple[dict[str, list[Example]], torch.Tensor, torch.Tensor | None]:
    """The examples of each split, the targets [K, C] that their labels are rows of, and the weight of each class."""
    rows: dict[tuple[float, ...], int] = {}
    found = {
        name: [
            ordered(example, trained.attention)
            for example in _of_split(
                trained, task, shape, split, lambda t: rows.setdefault(tuple(t), len(rows))
            )
        ]
        for name, split in splits.items()
    }
    target_KC = torch.tensor(list(rows) or [(0.0,)], dtype=torch.float64)
    if task.kind == SCORE:
        target_KC = (target_KC - shape.mean) / shape.deviation
    weight_C = None
    if balance and shape.loss == "one":
        counts = np.sum([unit.target for unit in splits[TRAIN].units], axis=0)
        # A class weighs n / (classes · its moments), so the mean weight of a moment is 1.
        weights = len(splits[TRAIN]) / ((counts > 0).sum() * np.maximum(counts, 1))
        weight_C = torch.tensor(weights, dtype=torch.float32)
    return found, target_KC.float(), weight_C


def _of_split(
    trained: Trained, task: Task, shape: HeadShape, split: Split, row_of: Callable[[np.ndarray], int]
) -> list[Example]:
    if shape.sentence:
        return [e for u in split.units for e in shape.choices(trained, u.segment, int(u.target.argmax()))]
    if task.kind == SPAN:
        return [_span_example(trained, window) for window in split.windows]
    if task.kind == DOCUMENT:
        return [
            sequence_example(trained, (w.ids, w.types), row_of(split.units[w.units[0]].target))
            for w in split.windows
        ]
    if split.windows:
        return [
            Example(w.ids, w.types, {LABEL: [
                (position, row_of(split.units[unit].target)) for position, unit in zip(w.positions, w.units, strict=True)
            ]})
            for w in split.windows
        ]  # fmt: skip
    return [
        sequence_example(
            trained,
            moment_sequence(trained.vocabulary, unit.segment, task.read, unit.text or None),
            row_of(unit.target),
        )
        for unit in split.units
    ]


def _span_example(trained: Trained, window: WindowUnits) -> Example:
    """A window with its answer, or with the position that stands for none."""
    none = summary_position(window.ids, trained.attention)
    first, last = (none, none) if window.answer is None else (window.positions[i] for i in window.answer)
    return Example(window.ids, window.types, {SPAN_TERM: [(first, last, 0)]})


def predictions_of(
    trained: Trained,
    head: Head,
    task: Task,
    split: Split,
    by: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """The head's answers about the units of a split: probabilities [N, C], scores [N, 1], or the seconds of the answers
    [N, 2], NaN for none. ``by``: how those of several windows become one."""
    if task.kind == SPAN:
        return _spans_of(trained, head, split)
    examples = _of_split(trained, task, head.shape, split, lambda _: 0)
    answers = answers_of(head.shape, asked_logits(trained, head, examples))
    if not split.windows:
        return answers
    by = by or (combined_windows if task.kind == DOCUMENT else mean_of_windows)
    return by_unit(answers, [unit for w in split.windows for unit in w.units], len(split), by)


def _states_of(trained: Trained, head: Head, task: Task) -> np.ndarray | None:
    """What the head reads of each moment to judge by [N, H]; ``None`` where it reads windows, or a moment once for each class."""
    split = task.splits[TEST]
    if split.windows or head.shape.sentence:
        return None
    return asked_states(trained, head, _of_split(trained, task, head.shape, split, lambda _: 0))


def _spans_of(trained: Trained, head: Head, split: Split) -> np.ndarray:
    scores = span_log_odds(
        trained, head, [(w.ids, w.types) for w in split.windows], [w.positions for w in split.windows]
    )
    found = np.full((len(split), 2), np.nan)
    for number, unit in enumerate(split.units):
        own = [i for i, w in enumerate(split.windows) if w.units == (number,)]
        best = best_span([scores[i] for i in own])
        if best is not None and best.log_odds > 0:
            clips = split.windows[own[best.window]].clips
            starts = split.starts[unit.video]
            found[number] = starts[clips[best.first]], starts[clips[best.last]] + CLIP_SECONDS
    return found


def _zero_shot(trained: Trained, task: Task, shape: HeadShape) -> np.ndarray:
    """The class whose sentence the alignment head finds likeliest beside the visual tokens of each moment to judge by [N, C]."""
    units, texts = task.splits[TEST].units, [shape.sentence.replace(SLOT, name) for name in shape.classes]
    asked = texts * len(units)
    tokens = [unit.segment.tokens for unit in units for _ in texts]
    aligned = alignment_probability(trained, asked, tokens).reshape(len(units), len(texts))
    return decided(task, aligned)


def _digest(file: TaskFile, task: Task, videos: Sequence[Video]) -> str:
    """Of the labels and of what they are about."""
    about = [(v.video, v.transcript, v.features, task.videos[v.video]) for v in videos]
    rows = [dataclasses.replace(row, place="") for row in file.rows]
    return hashlib.sha256(canonical_json([sorted(about, key=str), rows]).encode()).hexdigest()


def _about_end(folder: Path) -> list[str]:
    said = checkpoints.read_progress(folder).about_early_end
    return [said] if said else []


def _document(made: FineTuned, card: Mapping[str, Any], address: str) -> dict[str, Any]:
    return {"head": address} | dict(card) | dataclasses.asdict(made)
