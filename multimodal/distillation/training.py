"""Distillation of a joint model by the one training loop: which teacher, which terms, and where the student is kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from multimodal.catalogue import Video
from multimodal.distillation.card import compare_models, section
from multimodal.distillation.options import (
    BILSTM,
    CLOZE_WEIGHT,
    COSINE_WEIGHT,
    DISTILBERT,
    HINTON,
    SOFT_WEIGHT,
    TINYBERT,
    DistillOptions,
    halved,
    student_shape,
)
from multimodal.examples.options import ExampleOptions
from multimodal.inference.trained import load_trained, model_digest
from multimodal.joint.model import JointBert
from multimodal.joint.options import ModelOptions
from multimodal.joint.students import mapped_layers, spread_layers, student_of
from multimodal.library import read_material
from multimodal.objectives.cloze import Cloze
from multimodal.objectives.distillation import Cosine, DistillationObjective, SoftTargets, layer_terms
from multimodal.objectives.objective import Term
from multimodal.objectives.pretraining import pretraining_terms
from multimodal.objectives.weights import LossWeights
from multimodal.progress import Report
from multimodal.scoring.truth import read_truth
from multimodal.store import InputError, Store, canonical_json, check_published, recipe
from multimodal.systems import NOISES, SENTINELS, System
from multimodal.terms import COSINE, REPLACED, SOFT
from multimodal.tokens import load_codebook, train_and_held_out
from multimodal.training import checkpoints
from multimodal.training.checkpoints import METRICS, Progress
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext
from multimodal.training.loop import train
from multimodal.training.model_card import model_card
from multimodal.training.options import TrainingOptions
from multimodal.training.pretraining import gather_parts, trim

VERSION = 1
COMPARISON = "distilled.json"
"""The student beside its teacher, in its last checkpoint (:class:`~multimodal.distillation.card.Comparison`)."""
LAYERS_FOLDER = "layers"
"""The first phase of TinyBERT, beside the checkpoints of the second, which begins with its last one."""


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A model to distill, by its files alone: its ``name``, the ``folder`` of its last checkpoint, its shape, and how it was
    trained, as its card says; VideoBERT's ways where it says nothing."""

    name: str
    folder: Path
    shape: ModelOptions
    card: Mapping[str, Any]

    @property
    def options(self) -> Mapping[str, Any]:
        return self.card.get("options", {})

    @property
    def system(self) -> System:
        return System(**self.options.get("system") or {})

    @property
    def examples(self) -> ExampleOptions:
        return ExampleOptions(**self.options.get("examples", {}))

    @property
    def training(self) -> TrainingOptions:
        fields = dict(self.options.get("training", {}))
        return TrainingOptions(**fields | {"weights": LossWeights(**fields.get("weights", {}))})


def check_teacher(store: Store, name: str, options: DistillOptions) -> Teacher:
    """The teacher. Nothing of it is loaded.

    Raises :class:`InputError` where there is none, its training has not ended, its words are written by a network beside it,
    or a student of this shape cannot be distilled from it.
    """
    folder = checkpoints.latest(store.model(name))
    if folder is None:
        raise InputError(f"model {name}: not in store {store.root}; `videobert pretrain` makes it again")
    check_published(folder, ["card.json", "config.json"])
    teacher = Teacher(name, folder, ModelOptions.load(folder), json.loads((folder / "card.json").read_text()))
    at = checkpoints.read_progress(folder)
    if not at.finished:
        raise InputError(
            f"model {name}: its training is at step {at.step} of {at.steps}; let `videobert pretrain` end it first"
        )
    system = teacher.system
    if system.mask_unit in (NOISES, SENTINELS) or system.extra_terms == REPLACED:
        raise InputError(
            f"model {name}: system {system.name} fills blanks by a network beside the encoder, which has no student; distill a "
            "model of another system"
        )
    student_shape(teacher.shape, options)
    return teacher


def distill(
    store: Store,
    teacher: Teacher,
    videos: Sequence[Video],
    codebook: str,
    options: DistillOptions,
    device: str,
    report: Report,
    context: DistributedContext = SINGLE_PROCESS,
    *,
    truth_file: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[str, Path]:
    """Trains a student of the teacher, from its last checkpoint where a run was stopped; returns its name and its folder.

    It learns from the videos, the examples and by the terms of its teacher's pretraining. At the end both are judged on the
    held-out videos, with the names of ``truth_file``, for the student's model card.
    Raises :class:`InputError` as :func:`check_teacher` does, and where the videos hold nothing to learn from.
    """
    if options.method == BILSTM:
        raise InputError(f"--method {BILSTM}: is of a head; name one with --head")
    shape, training = student_shape(teacher.shape, options), options.training(teacher.training)
    trained = load_trained(store, teacher.name, codebook, "cpu")
    train_videos, held_out_videos = train_and_held_out(store, videos, codebook)
    seed, system, vocabulary = training.seed, teacher.system, trained.vocabulary
    digest = model_digest(teacher.folder)
    name = recipe(
        distillation=VERSION,
        teacher=digest,
        codebook=codebook,
        words=sorted(f"{v.video}.{v.transcript}" for v in train_videos),
        options=dataclasses.asdict(options) | {"training": dataclasses.asdict(training)},
    )
    fitted, parts = load_codebook(store, codebook), (train_videos, held_out_videos)
    examples, held_out = gather_parts(
        store, codebook, fitted, parts, vocabulary, teacher.examples, training, system
    )
    if not len(examples):
        raise InputError(
            f"store {store.root}: nothing was said or seen in its {len(train_videos)} videos, so there is nothing to learn from"
        )
    trimmed = trim(vocabulary, examples, held_out)
    card = {
        "codebook": codebook, "trained_word_pieces": len(trimmed.vocabulary.kept), "learned": [v.video for v in train_videos],
        "held_out": [v.video for v in held_out_videos], "spoken_segments": len(examples.spoken), "runs": len(examples.runs),
        "options": dict(teacher.options) | {"training": dataclasses.asdict(training), "distillation": dataclasses.asdict(options)},
        "teacher": {"name": teacher.name, "step": teacher.folder.name, "model_sha256": digest},
    }  # fmt: skip

    def network(checkpoint: Path | None, start: Path | None) -> tuple[JointBert, JointBert]:
        """Teacher and student with the rows of the training. The student comes last: its other rows are those that are kept."""
        theirs = trimmed.begin(trained.model)
        if checkpoint is not None:
            return theirs, JointBert(trimmed.trimmed_options(shape))
        if start is not None:
            return theirs, trimmed.begin(JointBert.load(start))
        copied = spread_layers(teacher.shape.num_hidden_layers, shape.num_hidden_layers)
        own = student_of(trained.model, shape, seed, copied if options.method == DISTILBERT else ())
        return theirs, trimmed.begin(own)

    def objective_of(
        terms_of: Callable[[JointBert], tuple[list[Term], dict[str, float]]], start: Path | None = None
    ) -> Callable[[Path | None], DistillationObjective]:
        def begin(checkpoint: Path | None) -> DistillationObjective:
            theirs, own = network(checkpoint, start)
            terms, weights = terms_of(own)
            return DistillationObjective(own, theirs, terms, weights, vocabulary, trimmed)

        return begin

    def predictions_terms(own: JointBert) -> tuple[list[Term], dict[str, float]]:
        terms = pretraining_terms(own, trimmed.vocabulary, system, seed, True)
        return distillation_terms(terms, training.weights, options)

    def first_phase(own: JointBert) -> tuple[list[Term], dict[str, float]]:
        layers = mapped_layers(teacher.shape.num_hidden_layers, shape.num_hidden_layers)
        terms = layer_terms(shape, teacher.shape, layers, seed)
        return terms, {name: 1.0 for term in terms for name in term.names}

    def describe(folder: Path, progress: Progress) -> None:
        about = ""
        if progress.finished:
            student = dataclasses.replace(
                trained, name=name, folder=folder, model=JointBert.load(folder), generator=None
            )
            learned, judged = ([read_material(store, codebook, v) for v in part] for part in parts)
            truth = read_truth(truth_file) if truth_file else None
            report(progress.step, progress.steps, "judging teacher and student for the model card")
            found = compare_models(trained, student, learned, judged, truth, options.method)
            (folder / COMPARISON).write_text(canonical_json(found), encoding="utf-8")
            about = section(found)
        metrics = store.model(name) / METRICS
        text = model_card(card, ModelOptions.load(folder), vocabulary, progress, metrics, about)
        (folder / "README.md").write_text(text, encoding="utf-8")

    root, start = store.model(name), None
    sources, on = (examples, held_out if len(held_out) else None), torch.device(device)
    if options.method == TINYBERT:
        training = halved(training)
        if checkpoints.latest(root) is None:
            say("first phase: embeddings, hidden states and attention scores")
            start = train(
                root / LAYERS_FOLDER, objective_of(first_phase), *sources, training, device=on, card=card, report=report, context=context
            )  # fmt: skip
            say("second phase: predictions")
    folder = train(
        root, objective_of(predictions_terms, start), *sources, training, device=on, card=card, report=report, describe=describe,
        context=context,
    )  # fmt: skip
    if context.is_main:
        shutil.rmtree(root / LAYERS_FOLDER, ignore_errors=True)
    return name, folder


def distillation_terms(
    pretraining: Sequence[Term], weights: LossWeights, options: DistillOptions
) -> tuple[list[Term], dict[str, float]]:
    """The terms of a method and their weights; the teacher's own terms weigh as in its pretraining, times the method's share.

    ``hinton``: α · soft targets + (1 − α) · own terms. ``distilbert``: 5 · soft targets + 2 · own terms + cosine.
    ``tinybert``, its second phase: soft targets in place of cloze, and the own terms of the other heads.
    """
    own, share, soft = list(pretraining), 1.0, 1.0
    more: dict[str, float] = {}
    if options.method == HINTON:
        share, soft = 1 - options.alpha, options.alpha
    elif options.method == DISTILBERT:
        share, soft, more = CLOZE_WEIGHT, SOFT_WEIGHT, {COSINE: COSINE_WEIGHT}
    else:
        own = [term for term in own if not isinstance(term, Cloze)]
    found = [*own, SoftTargets(options.temperature), *([Cosine()] if more else [])]
    plain = dataclasses.asdict(weights)
    return found, {name: share * plain[name] for term in own for name in term.names} | {SOFT: soft} | more
