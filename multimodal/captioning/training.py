"""Training of a captioner: its sentences, its loop, and the address it is stored under."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from multimodal.captioning.dataset import Reference, Seen, look_at, referred, together, views
from multimodal.captioning.decoder import Captioner, CaptionerOptions, CaptionerShape
from multimodal.captioning.trained import model_digest
from multimodal.catalogue import Video
from multimodal.inference.trained import Trained
from multimodal.library import Material, read_material
from multimodal.progress import Report
from multimodal.store import InputError, Store, canonical_json, recipe
from multimodal.tokens import train_and_held_out
from multimodal.training import checkpoints
from multimodal.training.checkpoints import Progress
from multimodal.training.optimizer import schedule
from multimodal.training.precision import mixed, precision
from multimodal.training.train_step import DivergedError

VERSION = 1
PAD = -100


@dataclasses.dataclass(frozen=True)
class Lessons:
    """Moments with their sentences as word-piece ids; ``steps`` of ``items`` each are made over them at ``rate``."""

    seen: list[Seen]
    sentences: list[list[int]]
    steps: int
    rate: float

    def batch(self, seed: int, step: int, items: int) -> list[int]:
        """The items of a step (from 0): a permutation of all for each pass, a function of (seed, pass)."""
        found = []
        for i in range(step * items, (step + 1) * items):
            passes, place = divmod(i, len(self.seen))
            found.append(int(_order(seed, passes, len(self.seen))[place]))
        return found


def _order(seed: int, passes: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, passes)).permutation(count)


def captioner_name(trained: Trained, options: CaptionerOptions, references: Sequence[Reference] = ()) -> str:
    """The address of the captioner that a model, these options and reference captions give.

    The model's own address holds the videos and the words that it learned from.
    """
    told = hashlib.sha256(canonical_json(sorted(references)).encode()).hexdigest() if references else ""
    return f"{trained.name}.{trained.folder.name}.{recipe(version=VERSION, options=options, references=told)}"


def learn_captioner(
    store: Store,
    trained: Trained,
    videos: Sequence[Video],
    options: CaptionerOptions,
    report: Report,
    references: Sequence[Reference] = (),
) -> str | None:
    """Learns to write what is seen, from the sentences of the videos that the model learned from, then from reference
    captions of these videos; returns the captioner's name, ``None`` where nobody says anything while a clip is shown.

    A run that was stopped goes on from its last checkpoint, on a CPU to the same weights bit for bit.
    Raises :class:`InputError` where reference captions are given and none is of a video that the model learned from,
    :class:`~multimodal.training.train_step.DivergedError` before a loss that is not finite does harm.
    """
    name = captioner_name(trained, options, references)
    root = store.captioner(name)
    last = checkpoints.latest(root)
    if last is not None:
        checkpoints.check(last)
        if checkpoints.read_progress(last).finished:
            checkpoints.tidy(root)
            return name
    learned, _ = train_and_held_out(store, videos, trained.codebook)
    materials = [read_material(store, trained.codebook, v) for v in learned]
    report(0, 1, f"looking at {len(materials)} videos")
    lessons = gather(store, trained, materials, options, references)
    if not lessons:
        return None
    told = len(lessons[1].seen) if len(lessons) > 1 else 0
    card = {
        "model": trained.name, "step": trained.folder.name, "model_sha256": model_digest(trained.folder),
        "learned": [v.video for v in learned], "sentences": len(lessons[0].seen), "references": told,
        "options": dataclasses.asdict(options),
    }  # fmt: skip
    learn(root, trained, lessons, options, card, report)
    return name


def gather(
    store: Store | None,
    trained: Trained,
    materials: Sequence[Material],
    options: CaptionerOptions,
    references: Sequence[Reference] = (),
) -> list[Lessons]:
    """The corpus' own sentences as lessons and, where there are any, the reference captions of these videos after them.

    With ``options.words`` a sentence is read beside the one before it, as its own words would be the answer; a reference
    caption beside what is said in its time.
    """
    told: dict[str, list[Reference]] = {}
    for reference in references:
        told.setdefault(reference[0], []).append(reference)
    known = {m.video.video for m in materials}
    if references and not known & set(told):
        raise InputError(
            f"{len(references)} reference captions: none is of a video that model {trained.name} learned from; "
            "name videos by their digest, and some that are not held out"
        )
    stages = [
        (False, [(m, [s for s in m.spoken() if s.text and s.tokens]) for m in materials], options.epochs, 1.0),
        (True, [(m, referred(m, told.get(m.video.video, []))) for m in materials if told],
         options.reference_epochs, options.reference_rate),
    ]  # fmt: skip
    found = []
    for during, segments, epochs, rate in stages:
        looked = [v for m, some in segments for v in views(store, m, some, options, during=during)]
        sentences = [_ids(trained, s.text, options.longest) for _, some in segments for s in some]
        kept = [i for i, ids in enumerate(sentences) if ids]
        if kept:
            seen = look_at(trained, [looked[i] for i in kept], options.template)
            least = options.least_steps if not during else 1
            steps = max(least, math.ceil(len(kept) / options.items) * epochs)
            found.append(Lessons(seen, [sentences[i] for i in kept], min(steps, options.most_steps), rate))
    return found


def _ids(trained: Trained, text: str, longest: int) -> list[int]:
    """A sentence's word pieces and its end; one that is too long has no end."""
    ids = [i for i in trained.vocabulary.encode(text) if i != trained.vocabulary.unknown]
    return [] if not ids else [*ids, trained.vocabulary.sep][:longest]


def learn(
    root: Path,
    trained: Trained,
    lessons: Sequence[Lessons],
    options: CaptionerOptions,
    card: dict[str, Any],
    report: Report,
) -> Path:
    """Makes all steps over the lessons, one after the other, from the last checkpoint in ``root``; returns the last one."""
    joint, vocabulary = trained.model, trained.vocabulary
    device = joint.device
    written = sorted({i for part in lessons for ids in part.sentences for i in ids} - {vocabulary.sep})
    pieces = (vocabulary.cls_id, vocabulary.sep, *written)
    place = {piece: i for i, piece in enumerate(pieces)}
    width = lessons[0].seen[0].features_MD.shape[1]
    network = Captioner(
        joint, CaptionerShape(options.layers, options.dropout, options.longest, width, pieces)
    )
    network.begin(joint, options.seed).to(device)
    optimizer = _optimizer(network, options)
    steps = sum(part.steps for part in lessons)
    last = checkpoints.latest(root)
    at = Progress(0, steps, 0, 0) if last is None else checkpoints.resume(last, network, optimizer)
    dtype = precision(options.precision, device)
    saved = time.monotonic()
    for now in range(at.step, steps):
        part, step = _lesson(lessons, now)
        torch.manual_seed(hash((options.seed, now)) & 0x7FFFFFFF)
        items = part.batch(options.seed, step, min(options.items, len(part.seen)))
        rate = options.learning_rate * part.rate * schedule(step + 1, part.steps, options.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        network.train()
        with mixed(device, dtype):
            loss = _loss(network, part, items, place, options.smoothing)
        if not torch.isfinite(loss):
            raise DivergedError(
                f"captioner, step {now + 1}: the loss is {loss.item()}; run pretraining with another --seed"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), options.clip)
        optimizer.step()
        report(now + 1, steps, f"loss {loss.item():.2f}, {sum(len(p.seen) for p in lessons)} sentences")
        made = Progress(now + 1, steps, 0, 0)
        if made.finished or time.monotonic() - saved > options.checkpoint_seconds:
            last = checkpoints.publish(root, network, optimizer, made, card | {"loss": loss.item()})
            saved = time.monotonic()
    assert last is not None
    return last


def _lesson(lessons: Sequence[Lessons], step: int) -> tuple[Lessons, int]:
    """The lessons that step number ``step`` of all is made over, and its number among theirs."""
    for part in lessons:
        if step < part.steps:
            return part, step
        step -= part.steps
    raise AssertionError("no such step")


def _loss(
    network: Captioner, part: Lessons, items: Sequence[int], place: dict[int, int], smoothing: float
) -> torch.Tensor:
    """Mean cross entropy of each piece given those before it (Szegedy et al. 2016: smoothed labels)."""
    device = network.bias_P.device
    memory = together([part.seen[i] for i in items]).to(device)
    targets = [torch.tensor([place[piece] for piece in part.sentences[i]]) for i in items]
    before = [torch.cat([torch.zeros(1, dtype=torch.long), t[:-1]]) for t in targets]
    pad = nn.utils.rnn.pad_sequence
    logits_NLP = network(pad(before, True).to(device), network.look(memory), memory.there_NM)
    labels_NL = pad(targets, True, PAD).to(device)
    return F.cross_entropy(
        logits_NLP.float().flatten(0, 1), labels_NL.flatten(), ignore_index=PAD, label_smoothing=smoothing
    )


def _optimizer(network: Captioner, options: CaptionerOptions) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.999), eps=1e-6)
