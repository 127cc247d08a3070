"""Distributed training: what many processes that train one model do together. In a single process each of these is free.

Each process has the whole data and draws its shard of a step's examples. Gradients are averaged by DDP, which keeps the
model whole in each process, or by FSDP2 (`fully_shard`), which shards weights, gradients and optimizer state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import gc
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
PATIENCE = datetime.timedelta(days=7)
"""How long a process waits for another one that lives: the first one may ingest, or judge, while the others wait. One that
has ended is noticed at once."""


@dataclasses.dataclass(frozen=True)
class DistributedContext:
    """This process, number ``rank`` of ``world_size``, of which ``local_world_size`` are on its machine; ``sharded`` chooses
    FSDP2 in place of DDP."""

    rank: int = 0
    world_size: int = 1
    sharded: bool = False
    local_world_size: int = 1

    @property
    def is_main(self) -> bool:
        """True in the process that writes and reports."""
        return self.rank == 0

    def shard(self, items: list[T]) -> list[T]:
        """This process's share of the items."""
        return items[self.rank :: self.world_size]

    def wrap(self, objective: nn.Module, layers: nn.ModuleList) -> nn.Module:
        """``objective`` as a module whose gradients, after ``backward``, are the means over all processes."""
        if self.world_size == 1:
            return objective
        if not self.sharded:
            return DistributedDataParallel(objective, broadcast_buffers=False)
        # FSDP2 takes a second to import, which a single process would wait for in vain.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(next(objective.parameters()).device.type, (self.world_size,))
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        return fully_shard(objective, mesh=mesh)

    @contextlib.contextmanager
    def gradient_accumulation(self, wrapped: nn.Module, last: bool) -> Iterator[None]:
        """Forward and backward of a micro-batch; the processes exchange gradients in the ``last`` one alone."""
        if isinstance(wrapped, DistributedDataParallel) and not last:
            with wrapped.no_sync():
                yield
            return
        if self.world_size > 1 and self.sharded:
            wrapped.set_requires_gradient_sync(last)
        yield

    def all_reduce(self, numbers: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.world_size > 1:
            dist.all_reduce(numbers := numbers.clone())
        return numbers

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all processes, one process after the other; gradients flow to this one's own alone."""
        if self.world_size == 1:
            return rows
        lengths = [torch.zeros((), dtype=torch.long, device=rows.device) for _ in range(self.world_size)]
        dist.all_gather(lengths, torch.tensor(len(rows), device=rows.device))
        # `all_gather` wants one shape everywhere: shorter ones are padded, and cut again after it.
        padded = rows.new_zeros(max(map(int, lengths)), *rows.shape[1:])
        padded[: len(rows)] = rows.detach()
        every = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(every, padded)
        parts = [part[: int(length)] for part, length in zip(every, lengths, strict=True)]
        parts[self.rank] = rows
        return torch.cat(parts)

    def broadcast(self, value: T | None) -> T:
        """The main process's value, in all of them."""
        values = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(values)
        assert values[0] is not None
        return values[0]


SINGLE_PROCESS = DistributedContext()


@dataclasses.dataclass(frozen=True)
class Rendezvous:
    """How the processes of one machine find each other without ``torchrun``: by a ``file``, as number ``rank`` of
    ``world_size``. Nobody outside of the machine can join."""

    file: Path
    rank: int
    world_size: int


@contextlib.contextmanager
def distributed_context(
    *, sharded: bool = False, rendezvous: Rendezvous | None = None
) -> Iterator[DistributedContext]:
    """The processes of ``rendezvous``, else those that ``torchrun`` started; without both, this one alone. They exchange by NCCL
    what lies on GPUs and by gloo the rest."""
    world_size = rendezvous.world_size if rendezvous else int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield SINGLE_PROCESS
        return
    local_rank = rendezvous.rank if rendezvous else int(os.environ["LOCAL_RANK"])
    local_size = world_size if rendezvous else int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    if rendezvous is None:
        dist.init_process_group(backend, timeout=PATIENCE)
    else:
        _listen_to_this_machine()
        dist.init_process_group(
            backend, store=dist.FileStore(str(rendezvous.file), world_size), rank=rendezvous.rank, world_size=world_size,
            timeout=PATIENCE,
        )  # fmt: skip
    try:
        yield DistributedContext(dist.get_rank(), world_size, sharded, local_size)
    finally:
        gc.collect()
        dist.destroy_process_group()


def _listen_to_this_machine() -> None:
    """Gloo takes the address of the machine's name otherwise, which others may reach."""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)


def _is_sharded(tensor: torch.Tensor) -> bool:
    """Whether it is a ``DTensor``, which alone has a mesh; asked without importing them."""
    return hasattr(tensor, "device_mesh")


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that may be sharded, put together in each process. All of them must call it."""
    return tensor.full_tensor() if _is_sharded(tensor) else tensor


def shard_tensor(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """This process's shard of ``value``, as ``parameter`` is sharded; the whole where it is not, or for a single number."""
    if _is_sharded(parameter) and value.shape == parameter.shape:
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value


OptimizerState = dict[str, dict[str, Any]]


def optimizer_state(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> OptimizerState:
    """AdamW's state by the parameters' names, whole. All processes must call it."""
    return {
        name: {key: full_tensor(value) for key, value in optimizer.state.get(parameter, {}).items()}
        for name, parameter in parameters.items()
    }


def set_optimizer_state(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, state: OptimizerState
) -> None:
    """The inverse of :func:`optimizer_state`."""
    for name, parameter in parameters.items():
        if state.get(name):
            optimizer.state[parameter] = {k: shard_tensor(v, parameter) for k, v in state[name].items()}
