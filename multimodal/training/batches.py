"""Batches: what each step of a training reads, in which micro-batches, and in which process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
import torch

from multimodal.training.checkpoints import Progress
from multimodal.training.distributed import DistributedContext

T = TypeVar("T")

HELD_OUT_EVALUATIONS = 40
"""Evaluations of the held-out loss in a training."""
HELD_OUT_SHARE = 0.05
"""Share of the training's time at most that they may take, all but the last; and that the last may take."""
LAST_HELD_OUT = 2000
"""Examples of the last evaluation at least, or all, whatever their share: a short training is judged well too."""
FORWARD_COST = 1 / 3
"""The cost of a forward pass alone against forward and backward."""


class AnyBatch(Protocol):
    """A micro-batch. ``tokens`` is how many the model reads."""

    @property
    def tokens(self) -> int: ...
    def to(self, device: torch.device) -> AnyBatch: ...


class Source(Protocol):
    """What a training learns from: items, an order of them for each epoch, and batches of them."""

    def __len__(self) -> int: ...
    def order(self, epoch: int) -> np.ndarray: ...
    def batch(self, items: Sequence[tuple[int, int]]) -> AnyBatch: ...


def steps(
    source: Source,
    at: Progress,
    examples_at: Callable[[int], int],
    micro_batches: int,
    context: DistributedContext,
) -> Iterator[tuple[Progress, list[AnyBatch]]]:
    """The steps from ``at`` on: the place after each, and this process's shard of each of its micro-batches.

    A step, from 1, takes the next ``examples_at`` it of the epoch's permutation and may run over its end. Whatever the number of
    processes and micro-batches, a step has the same examples.
    """
    epoch, cursor, order = at.epoch, at.cursor, source.order(at.epoch)
    while not at.finished:
        taken = []
        for _ in range(min(examples_at(at.step + 1), len(source))):
            taken.append((epoch, int(order[cursor])))
            cursor += 1
            if cursor == len(source):
                epoch, cursor, order = epoch + 1, 0, source.order(epoch + 1)
        at = at.after(epoch, cursor)
        yield at, [source.batch(context.shard(taken[n::micro_batches])) for n in range(micro_batches)]


def eval_batches(
    source: Source, items: Sequence[int], examples_per_step: int, context: DistributedContext
) -> list[AnyBatch]:
    """These items as they are drawn in epoch 0, ``examples_per_step`` together: always the same."""
    drawn = [(0, item) for item in items]
    parts = [drawn[n : n + examples_per_step] for n in range(0, len(drawn), examples_per_step)]
    if len(parts) > 1 and len(parts[-1]) < context.world_size:
        parts[-2:] = [parts[-2] + parts[-1]]
    return [source.batch(context.shard(part)) for part in parts]


def held_out_sample(
    held_out: Source, steps: int, examples_per_step: int, least: int, evaluations: int = HELD_OUT_EVALUATIONS
) -> list[int]:
    """The items whose loss is evaluated: all, or a fixed sample, so that ``evaluations`` of it cost at most
    :data:`HELD_OUT_SHARE` of the training's time; ``least`` items at least."""
    affordable = HELD_OUT_SHARE / FORWARD_COST * steps * examples_per_step / min(steps, evaluations)
    count = max(least, int(affordable))
    return sorted(held_out.order(0)[:count].tolist())


def prefetch(found: Iterator[T]) -> Iterator[T]:
    """The same, each made in a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, found, None)
        while (now := coming.result()) is not None:
            coming = thread.submit(next, found, None)
            yield now
