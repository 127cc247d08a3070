"""The training loop: one step after the other in a resumable order, metrics, checkpoints, rollback from a loss spike."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from multimodal.machine import cores
from multimodal.objectives.objective import Objective
from multimodal.progress import Report, answering_stops, checkpoint_made, stop_is_asked
from multimodal.store import InputError
from multimodal.training import batches, checkpoints
from multimodal.training.batches import Source
from multimodal.training.checkpoints import Progress
from multimodal.training.distributed import SINGLE_PROCESS, DistributedContext
from multimodal.training.log import TrainingLog
from multimodal.training.options import TrainingOptions
from multimodal.training.train_step import DivergedError, Trainer

RECENT_LOSSES = 64
"""The losses at most whose median tells a loss spike."""
MAX_ROLLBACKS = 8
"""To one checkpoint: a training that comes back more often has too high a learning rate."""


def train(
    root: Path,
    begin: Callable[[Path | None], Objective],
    source: Source,
    held_out: Source | None,
    options: TrainingOptions,
    *,
    device: torch.device,
    card: dict[str, Any],
    report: Report,
    describe: Callable[[Path, Progress], None] = lambda folder, progress: None,
    context: DistributedContext = SINGLE_PROCESS,
) -> Path:
    """Trains in ``root`` until all steps are made, from the last checkpoint where there is one; returns the last one.

    ``begin`` makes the objective of step 0, or with a checkpoint's folder one of its shape. ``describe`` writes what else
    belongs into a checkpoint (a model card). Metrics go to ``root/metrics.jsonl`` and to TensorBoard's files beside it,
    each step once however often the run was stopped. All processes call this with the same arguments and see the same
    ``root``; the main one writes. Raises :class:`DivergedError` before a loss or gradient that is not finite does
    harm, :class:`InputError` where a file of the last checkpoint was changed or a step has too few examples.
    """
    root.mkdir(parents=True, exist_ok=True)
    _check_counts(source, held_out, options, context)
    torch.set_num_threads(_threads(context))
    last: Path | None = None
    spike: DivergedError | None = None
    rollbacks = 0
    while True:
        if spike is not None and context.is_main:
            checkpoints.rollback(root, options.rollback_steps)
        before, last = last, context.broadcast([checkpoints.latest(root)])[0]
        if last is not None:
            checkpoints.check(last)
            if checkpoints.read_progress(last).finished:
                if context.is_main:
                    checkpoints.prune_checkpoints(root)
                return last
        trainer = Trainer(begin(last).to(device), options, context)
        at = Progress(0, options.steps(len(source)), 0, 0)
        if last is not None:
            at = checkpoints.resume(last, trainer.objective, trainer.optimizer)
        if spike is not None:
            rollbacks = rollbacks + 1 if last == before else 1
            if rollbacks > MAX_ROLLBACKS:
                raise spike
            at = at.skip_batches(spike.at)
        try:
            _steps(trainer.wrap(), at, root, source, held_out, options, card, report, describe, spike)
        except DivergedError as error:
            if options.spike is None:
                raise
            spike = error


def _threads(context: DistributedContext) -> int:
    """The first number of ``OMP_NUM_THREADS`` (OpenMP 5.2, section 21.1.2: one a level of nesting), else one for each core that
    is this process's share."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    share = max(1, cores() // context.local_world_size)
    return int(wanted) if wanted.isdecimal() and int(wanted) else share


def _check_counts(
    source: Source, held_out: Source | None, options: TrainingOptions, context: DistributedContext
) -> None:
    """Raises :class:`InputError` where a process, or a micro-batch, would have no example."""
    per_step = min(options.examples_at(1, options.steps(len(source))), len(source))
    for name, most in (
        ("a step", per_step),
        ("the held-out loss", len(held_out) if held_out else context.world_size),
    ):
        if most < context.world_size:
            raise InputError(
                f"{context.world_size} processes: {name} has {most} examples, one a process at least; start fewer"
            )
    share = per_step // context.world_size
    if share < options.accumulate:
        whose = "a step"
        if context.world_size > 1:
            whose = f"the share of a step of each of {context.world_size} processes"
        raise InputError(
            f"--accumulate {options.accumulate}: at most {share}, the examples of {whose}; give less, or leave it out"
        )


def _steps(
    trainer: Trainer,
    at: Progress,
    root: Path,
    source: Source,
    held_out: Source | None,
    options: TrainingOptions,
    card: dict[str, Any],
    report: Report,
    describe: Callable[[Path, Progress], None],
    spike: DivergedError | None,
) -> None:
    """The steps from ``at`` to the last one; ``spike`` is what the training was just rolled back from."""
    context = trainer.context
    every = max(1, at.planned // batches.HELD_OUT_EVALUATIONS)
    sample = []
    if held_out:
        least = max(options.held_out_examples, context.world_size)
        chosen = batches.held_out_sample(held_out, at.planned, options.examples_per_step, least)
        sample = batches.eval_batches(held_out, chosen, options.examples_per_step, context)
    first, recent = at.step + 1, list(at.recent)
    saved = began = time.monotonic()
    tokens = 0
    with (
        answering_stops(),
        TrainingLog(root, at.step) if context.is_main else contextlib.nullcontext() as log,
    ):
        coming = batches.steps(
            source, at, lambda step: options.examples_at(step, at.planned), options.accumulate, context
        )
        for drawn, micro_batches in batches.prefetch(coming):
            now = dataclasses.replace(
                drawn, steps=at.steps, held_out=at.held_out, lowest=at.lowest, early=at.early
            )
            terms = trainer.train_step(micro_batches, now, recent)
            line: dict[str, Any] = {"step": now.step, "learning_rate": trainer.learning_rate(now)} | terms
            if spike is not None and now.step == first:
                line["went_back"] = {"because": str(spike), "skipped": list(at.skipped[-1])}
            if held_out and now.finished:
                least = max(batches.LAST_HELD_OUT, context.world_size)
                chosen = batches.held_out_sample(held_out, now.planned, options.examples_per_step, least, 1)
                last = batches.eval_batches(held_out, chosen, options.examples_per_step, context)

                def evaluated(
                    count: int, now: Progress = now, of: int = len(last), n: int = len(chosen)
                ) -> None:
                    words = f"loss of {n} of {len(held_out)} held-out examples, {count / of:.0%}"
                    report(now.step, now.steps, words)

                line["held_out"] = trainer.evaluate(last, evaluated)
            elif held_out and now.step % every == 0:
                line["held_out"] = trainer.evaluate(sample)
                if options.patience is not None:
                    # One process decides for all, so that none makes a step more.
                    loss = context.broadcast(trainer.objective.weighted(line["held_out"]))
                    now = now.judged(loss, options.patience * every, options.least_steps)
            if options.spike is not None:
                recent = [*recent, terms["loss"]][-RECENT_LOSSES:]
            if log:
                log.write(line)
            tokens += context.world_size * sum(batch.tokens for batch in micro_batches)
            rate = tokens / (time.monotonic() - began)
            words = [f"loss {terms['loss']:.2f}, {rate:,.0f} tokens/s", now.about_early_end]
            report(now.step, now.steps, ", ".join(filter(None, words)))
            if now.finished or _checkpoint_due(now, options, time.monotonic() - saved, context):
                weights, optimizer_state = trainer.state()
                _check_finite(weights, now, context)
                if log:
                    log.sync()
                    place = dataclasses.replace(now, recent=tuple(recent))
                    checkpoints.save(
                        root, trainer.objective, weights, optimizer_state, place, card, describe, options.rollback_steps
                    )  # fmt: skip
                    checkpoint_made(now.step)
                saved = time.monotonic()
            if now.finished:
                return
            at = now


def _check_finite(weights: Mapping[str, torch.Tensor], now: Progress, context: DistributedContext) -> None:
    """Raises :class:`DivergedError` in all processes, before a checkpoint is written, where an update left NaN or infinity."""
    if name := context.broadcast(checkpoints.not_finite(weights) or "" if context.is_main else ""):
        raise DivergedError(
            f"step {now.step}: {name} is not finite; lower --learning-rate and run again", now
        )


def _checkpoint_due(
    now: Progress, options: TrainingOptions, seconds: float, context: DistributedContext
) -> bool:
    """True where a checkpoint is to be made. The main process decides for all, by its clock or when it is asked to stop."""
    if options.checkpoint_steps is not None and now.step % options.checkpoint_steps == 0:
        return True
    return context.broadcast(stop_is_asked() or seconds > options.checkpoint_seconds)
