"""Owns what many processes that train one model do together; alone, each of these is nothing.

Each process has the whole data and draws its share of a step's items. Gradients are added up by DDP, which keeps the
model whole in each process, or by FSDP2 (`fully_shard`), which divides weights, gradients and optimizer among them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class DistributedContext:
    """This process, number ``rank`` of ``count``; ``sharded`` chooses FSDP2 in place of DDP."""

    rank: int = 0
    count: int = 1
    sharded: bool = False

    @property
    def first(self) -> bool:
        """The one that writes and reports."""
        return self.rank == 0

    def share(self, items: list[T]) -> list[T]:
        """This process's share of the items."""
        return items[self.rank :: self.count]

    def wrap(self, objective: nn.Module, layers: nn.ModuleList) -> nn.Module:
        """``objective`` as a module whose gradients, after ``backward``, are the means over all processes."""
        if self.count == 1:
            return objective
        if not self.sharded:
            return DistributedDataParallel(objective, broadcast_buffers=False)
        mesh = init_device_mesh(next(objective.parameters()).device.type, (self.count,))
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        return fully_shard(objective, mesh=mesh)

    @contextlib.contextmanager
    def adding_up(self, wrapped: nn.Module, last: bool) -> Iterator[None]:
        """Forward and backward of a part of a step; the processes exchange gradients in the last part alone."""
        if isinstance(wrapped, DistributedDataParallel) and not last:
            with wrapped.no_sync():
                yield
            return
        if self.count > 1 and self.sharded:
            wrapped.set_requires_gradient_sync(last)
        yield

    def total(self, numbers: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.count > 1:
            dist.all_reduce(numbers := numbers.clone())
        return numbers

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all processes, one process after the other; gradients flow to this one's own alone."""
        if self.count == 1:
            return rows
        lengths = [torch.zeros((), dtype=torch.long, device=rows.device) for _ in range(self.count)]
        dist.all_gather(lengths, torch.tensor(len(rows), device=rows.device))
        padded = rows.new_zeros(max(map(int, lengths)), *rows.shape[1:])
        padded[: len(rows)] = rows.detach()
        every = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(every, padded)
        parts = [part[: int(length)] for part, length in zip(every, lengths, strict=True)]
        parts[self.rank] = rows
        return torch.cat(parts)

    def tell(self, value: T | None) -> T:
        """What the first process has to say, in all of them."""
        said = [value]
        if self.count > 1:
            dist.broadcast_object_list(said)
        assert said[0] is not None
        return said[0]


SINGLE_PROCESS = DistributedContext()


@contextlib.contextmanager
def joined(device: str, sharded: bool) -> Iterator[DistributedContext]:
    """The processes that ``torchrun`` started, over NCCL on GPUs and gloo on CPUs; without it, this one alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield SINGLE_PROCESS
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield DistributedContext(dist.get_rank(), count, sharded)
    finally:
        gc.collect()
        dist.destroy_process_group()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that may be divided, put together in each process. All of them must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def divided(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """This process's share of ``value``, as ``parameter`` is divided; the whole where it is not, or for a single number."""
    if isinstance(parameter, DTensor) and value.shape == parameter.shape:
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value


State = dict[str, dict[str, Any]]


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """AdamW's state by the parameters' names, whole. All processes must ask."""
    return {
        name: {key: whole(value) for key, value in optimizer.state.get(parameter, {}).items()}
        for name, parameter in model.named_parameters()
    }


def set_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
    """The reverse of :func:`optimizer_state`."""
    for name, parameter in model.named_parameters():
        if state[name]:
            optimizer.state[parameter] = {k: divided(v, parameter) for k, v in state[name].items()}
