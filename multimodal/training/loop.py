"""Owns the training loop: one update after the other in a resumable order, metrics, checkpoints, going back from a spike."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from multimodal.examples.sampling import Examples
from multimodal.joint.model import JointBert
from multimodal.progress import Report
from multimodal.store import InputError
from multimodal.training import batches, checkpoints
from multimodal.training.checkpoints import Progress
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext
from multimodal.training.log import TrainingLog
from multimodal.training.train_step import DivergedError, Trainer, UpdateOptions
from multimodal.vocabulary import Vocabulary

REMEMBERED_LOSSES = 64
"""The losses at most whose median a spike is told by."""
MOST_RETURNS = 8
"""To one checkpoint: who comes back more often has too high a learning rate."""


@dataclasses.dataclass(frozen=True)
class TrainingOptions(UpdateOptions):
    """``items`` spoken segments and runs of tokens make a step; what a step does is told by :class:`UpdateOptions`.

    ``epochs`` passes over the items are made, but at least ``least_steps`` and at most ``most_steps`` steps.
    ``accumulate`` parts of a step are worked out one after the other, for less memory: the update is that of the step
    as a whole, but the contrast compares a segment with those of its own part alone.
    A checkpoint is made every ``checkpoint_seconds``, and every ``checkpoint_steps`` where that is given.
    ``spike``: a loss above this many times the median of those before it, or one that is not finite, sends the training
    back to its last checkpoint of a multiple of ``checkpoint_steps``, and the batches since then are passed over; without
    it a loss that is not finite ends the run. It never goes back to one that the clock asked for: a training that was
    stopped would have others.
    """

    items: int = 32
    epochs: int = 20
    least_steps: int = 200
    most_steps: int = 100_000
    accumulate: int = 1
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("items", "epochs", "least_steps", "most_steps", "accumulate", "checkpoint_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} {value}: at least 1")
        if not self.checkpoint_seconds >= 0:
            raise InputError(f"checkpoint_seconds {self.checkpoint_seconds:g}: 0 or more")
        if self.spike is not None and self.checkpoint_steps is None:
            raise InputError(
                f"spike {self.spike:g}: needs checkpoint_steps, the steps between the checkpoints that it goes back to"
            )

    @property
    def back(self) -> int | None:
        """The steps between the checkpoints that a spike sends the training back to."""
        return None if self.spike is None else self.checkpoint_steps

    def steps(self, items: int) -> int:
        asked = math.ceil(items / self.items) * self.epochs
        return min(max(asked, self.least_steps), self.most_steps)


def train(
    root: Path,
    vocabulary: Vocabulary,
    begin: Callable[[], JointBert],
    examples: Examples,
    held_out: Examples | None,
    options: TrainingOptions,
    *,
    device: torch.device,
    card: dict[str, Any],
    report: Report,
    processes: DistributedContext = SINGLE_PROCESS,
) -> Path:
    """Trains in ``root`` until all steps are made, from the last checkpoint where there is one; returns the last one.

    ``begin`` makes the model of step 0. Metrics go to ``root/metrics.jsonl`` and to TensorBoard's file beside it, each
    step once however often the run was stopped. All ``processes`` call this with the same arguments and see the same
    ``root``; the first of them writes. Raises :class:`DivergedError` before a loss or gradient that is not finite does
    harm, :class:`InputError` where a file of the last checkpoint was changed or a step has too few items.
    """
    root.mkdir(parents=True, exist_ok=True)
    _enough(examples, held_out, options, processes)
    torch.set_num_threads(_threads())
    last: Path | None = None
    spike: DivergedError | None = None
    returns = 0
    while True:
        if spike is not None and processes.first:
            checkpoints.go_back(root, options.back)
        before, last = last, processes.tell([checkpoints.latest(root)])[0]
        if last is not None:
            checkpoints.check(last)
            if checkpoints.read_progress(last).finished:
                if processes.first:
                    checkpoints.tidy(root)
                return last
        trainer = Trainer((begin() if last is None else JointBert.load(last)).to(device), options, processes)
        at = Progress(0, options.steps(len(examples)), 0, 0)
        if last is not None:
            at = checkpoints.resume(last, trainer.model, trainer.optimizer)
        if spike is not None:
            returns = returns + 1 if last == before else 1
            if returns > MOST_RETURNS:
                raise spike
            at = at.passing_over(spike.at)
        try:
            _steps(trainer.join(), at, root, vocabulary, examples, held_out, options, card, report, spike)
        except DivergedError as error:
            if options.spike is None:
                raise
            spike = error


def _threads() -> int:
    """The first number of ``OMP_NUM_THREADS`` (OpenMP 5.2, section 21.1.2: one a level of nesting), else one a core."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) else os.cpu_count() or 1


def _enough(
    examples: Examples, held_out: Examples | None, options: TrainingOptions, processes: DistributedContext
) -> None:
    """Raises :class:`InputError` where a process, or a part of a step, would have nothing to work on."""
    for what, most in (
        ("a step", min(options.items, len(examples))),
        ("what is held out", len(held_out) if held_out else processes.count),
    ):
        if most < processes.count:
            raise InputError(
                f"{processes.count} processes: {what} has {most} items, one a process at least; start fewer"
            )
    share = min(options.items, len(examples)) // processes.count
    if share < options.accumulate:
        whose = (
            "a step"
            if processes.count == 1
            else f"the share of a step of each of {processes.count} processes"
        )
        raise InputError(
            f"--accumulate {options.accumulate}: at most {share}, the items of {whose}; give less, or leave it out"
        )


def _steps(
    trainer: Trainer,
    at: Progress,
    root: Path,
    vocabulary: Vocabulary,
    examples: Examples,
    held_out: Examples | None,
    options: TrainingOptions,
    card: dict[str, Any],
    report: Report,
    spike: DivergedError | None,
) -> None:
    """The steps from ``at`` to the last one; ``spike`` is what the training has just come back from."""
    processes = trainer.processes
    kept_out = batches.all_once(held_out, options.items, processes) if held_out else []
    judged_every = max(1, at.steps // 40)
    recent = list(at.recent)
    saved = began = time.monotonic()
    tokens = 0
    with TrainingLog(root, at.step) if processes.first else contextlib.nullcontext() as log:
        coming = batches.steps(examples, at, options.items, options.accumulate, processes)
        for now, parts in batches.ahead(coming):
            terms = trainer.update(parts, now, recent)
            line: dict[str, Any] = {"step": now.step, "learning_rate": trainer.rate(now)} | terms
            if spike is not None and now.step == at.step + 1:
                line["went_back"] = {"because": str(spike), "skipped": list(at.skipped[-1])}
            if kept_out and (now.step % judged_every == 0 or now.finished):
                line["held_out"] = trainer.losses(kept_out)
            if options.spike is not None:
                recent = [*recent, terms["loss"]][-REMEMBERED_LOSSES:]
            if log:
                log.write(line)
            tokens += processes.count * sum(len(part.ids_T) for part in parts)
            rate = tokens / (time.monotonic() - began)
            report(now.step, at.steps, f"loss {terms['loss']:.2f}, {rate:,.0f} tokens/s")
            if now.finished or _due(now, options, time.monotonic() - saved, processes):
                model, optimizer = trainer.alone()
                if log:
                    log.sync()
                    here = dataclasses.replace(now, recent=tuple(recent))
                    checkpoints.save(root, model, vocabulary, optimizer, here, card, options.back)
                saved = time.monotonic()


def _due(now: Progress, options: TrainingOptions, seconds: float, processes: DistributedContext) -> bool:
    """True where a checkpoint is to be made; by the clock, the first process says so for all."""
    if options.checkpoint_steps is not None and now.step % options.checkpoint_steps == 0:
        return True
    return processes.tell(seconds > options.checkpoint_seconds)
