"""Owns the order of a training's batches: what each step reads, in which parts, and in which process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from multimodal.examples.packing import Batch, pack
from multimodal.examples.sampling import Examples
from multimodal.training.checkpoints import Progress
from multimodal.training.distributed import DistributedContext

T = TypeVar("T")


def steps(
    examples: Examples, at: Progress, items: int, parts: int, processes: DistributedContext
) -> Iterator[tuple[Progress, list[Batch]]]:
    """The steps from ``at`` on: the place after each, and this process's share of each of its parts.

    A step takes the next ``items`` of the epoch's permutation and may run over its end. Whatever the number of
    processes and parts, a step has the same items.
    """
    epoch, cursor, order = at.epoch, at.cursor, examples.order(at.epoch)
    while not at.finished:
        taken = []
        for _ in range(min(items, len(examples))):
            taken.append((epoch, int(order[cursor])))
            cursor += 1
            if cursor == len(examples):
                epoch, cursor, order = epoch + 1, 0, examples.order(epoch + 1)
        at = at.after(epoch, cursor)
        yield at, [_batch(examples, taken[n::parts], processes) for n in range(parts)]


def all_once(examples: Examples, items: int, processes: DistributedContext) -> list[Batch]:
    """Every item as it is drawn in epoch 0, ``items`` together: what is held out, always the same."""
    every = [(0, item) for item in range(len(examples))]
    parts = [every[n : n + items] for n in range(0, len(every), items)]
    if len(parts) > 1 and len(parts[-1]) < processes.count:
        parts[-2:] = [parts[-2] + parts[-1]]
    return [_batch(examples, part, processes) for part in parts]


def _batch(examples: Examples, items: list[tuple[int, int]], processes: DistributedContext) -> Batch:
    return pack([drawn for epoch, item in processes.share(items) for drawn in examples.draw(epoch, item)])


def ahead(found: Iterator[T]) -> Iterator[T]:
    """The same, each made in a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, found, None)
        while (now := coming.result()) is not None:
            coming = thread.submit(next, found, None)
            yield now
