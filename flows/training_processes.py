"""Training by many processes: those of this machine that ``--processes`` starts, or those that ``torchrun`` started on one
machine or many.

    videobert pretrain --store STORE --processes 2
    torchrun --nproc-per-node 2 -m flows pretrain --store STORE

The first process runs the command or the flow as ever: it holds the store, reports and writes. The others only compute, and
read the same store: each waits for the training that the first one names, and makes it with the same arguments.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn

from flows import import_path
from flows.errors import FOR_PEOPLE, ProcessLost
from multimodal.progress import announce
from multimodal.store import InputError, Store

if TYPE_CHECKING:
    from flows.settings import Settings
    from multimodal.training.distributed import DistributedContext, Rendezvous

SECONDS_TO_END = 5.0
SECONDS_BETWEEN_LOOKS = 0.05
LOST = 1


class Call(NamedTuple):
    """A training that every process makes: ``function(**arguments, report=…, context=…)``. The function is handed on by its
    name, and a model that it is given by its place, from which each process loads it."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    sharded: bool


class StoredModel(NamedTuple):
    store: Store
    name: str
    codebook: str
    device: str


_until_the_end = contextlib.ExitStack()
_joined: DistributedContext | None = None
"""The processes of ``torchrun``, from this process's first training on: there may be another one."""


def under_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process runs the command; the others of ``torchrun`` follow it."""
    return not under_torchrun() or os.environ.get("RANK") == "0"


def check_processes(settings: Settings) -> None:
    """Raises :class:`InputError` where the settings ask for more processes than there are GPUs, for processes beside those of
    ``torchrun``, or for one process to share its weights."""
    processes = settings.processes or 1
    if under_torchrun() and processes > 1:
        raise InputError(
            f"--processes {processes}: torchrun started {os.environ['WORLD_SIZE']} already; leave it out"
        )
    if not under_torchrun() and settings.shard and processes == 1:
        raise InputError(
            "--shard: there is one process, and nothing to share; add --processes N, or leave it out"
        )
    if processes > 1 and settings.torch_device == "cuda":
        import torch

        if processes > (gpus := torch.cuda.device_count()):
            raise InputError(
                f"--processes {processes}: one for each GPU, and this machine has {gpus}; give fewer"
            )


@contextlib.contextmanager
def together(
    settings: Settings,
    function: Callable[..., Any],
    arguments: dict[str, Any],
    *,
    is_done: Callable[[], bool] = lambda: False,
    may_shard: bool = False,
) -> Iterator[DistributedContext]:
    """The processes that train together in the block, in which the caller makes the training with this context; each of the
    others calls the ``function``. One process, and no other is started, where the settings ask for none or ``is_done`` says
    that nothing is left to train. ``may_shard``: whether its weights can be shared among them.

    Raises :class:`InputError` where weights are to be shared that cannot, and :class:`~flows.errors.ProcessLost` where one of
    the others ended in the block.
    """
    from multimodal.training.distributed import SINGLE_PROCESS

    processes = settings.processes or 1
    if settings.shard and not may_shard:
        raise InputError("--shard: pretraining and the captioner alone share their weights; leave it out")
    if not (under_torchrun() or processes > 1) or is_done():
        yield SINGLE_PROCESS
        return
    import torch

    threads = torch.get_num_threads()
    call = Call(function, _by_place(arguments, settings.torch_device), bool(settings.shard))
    try:
        with _of_torchrun() if under_torchrun() else _of_this_machine(processes) as context:
            context.broadcast(call)
            yield dataclasses.replace(context, sharded=call.sharded)
    finally:
        torch.set_num_threads(threads)


def _by_place(arguments: dict[str, Any], device: str) -> dict[str, Any]:
    if (trained := arguments.get("trained")) is None:
        return arguments
    return arguments | {"trained": StoredModel(arguments["store"], trained.name, trained.codebook, device)}


@contextlib.contextmanager
def _of_torchrun() -> Iterator[DistributedContext]:
    global _joined
    if _joined is None:
        from multimodal.training.distributed import distributed_context

        _joined = _until_the_end.enter_context(distributed_context())
    yield _joined


def release() -> None:
    """Tells the other processes of ``torchrun`` that the command has ended."""
    if under_torchrun():
        with _of_torchrun() as context, _until_the_end:
            context.broadcast("ended")


@contextlib.contextmanager
def _of_this_machine(processes: int) -> Iterator[DistributedContext]:
    """Starts the others, and ends them with the block. They end by themselves when this process does, however it ends: each
    reads a pipe that is closed then."""
    from multimodal.training.distributed import Rendezvous, distributed_context

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as open_files:
        place = Rendezvous(Path(folder) / "rendezvous", 0, processes)
        others = [
            _Other(dataclasses.replace(place, rank=rank), open_files.enter_context(tempfile.TemporaryFile()))
            for rank in range(1, processes)
        ]
        try:
            announce(f"starting {len(others)} more training process{'es' * (len(others) > 1)}")
            _wait_for(others)
            with _telling_lost(others), distributed_context(rendezvous=place) as context:
                yield context
        finally:
            for other in others:
                other.end()


class _Other:
    """Another process of this machine, and what it writes to standard error."""

    def __init__(self, place: Rendezvous, said: IO[bytes]):
        self.place, self._said = place, said
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flows.training_processes", str(place.file), str(place.rank), str(place.world_size)],
            env=os.environ | {"PYTHONPATH": import_path()},
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said,
            start_new_session=True,  # Ctrl-C is the first process's to answer
        )  # fmt: skip

    def lost(self, seconds: float = 0.0) -> str | None:
        """How it failed, within so many seconds; ``None`` where it did not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        if not (code := self._process.returncode):
            return None
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode(errors="replace").splitlines()]
        last = next((line[:200] for line in reversed(lines) if line), "it said nothing")
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"training process {self.place.rank + 1} of {self.place.world_size} ended ({how}): {last}"

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _begun(place: Rendezvous) -> Path:
    """A file that says that the process is there."""
    return place.file.with_name(f"begun-{place.rank}")


def _wait_for(others: Sequence[_Other]) -> None:
    """Until all others have begun: the rendezvous itself would wait for one that has ended."""
    while not all(_begun(other.place).exists() for other in others):
        for other in others:
            if (how := other.lost()) is not None:
                raise ProcessLost(how)
        time.sleep(SECONDS_BETWEEN_LOOKS)


@contextlib.contextmanager
def _telling_lost(others: Sequence[_Other]) -> Iterator[None]:
    """An error of the exchange is told by its cause, where a process has ended."""
    try:
        yield
    except RuntimeError as error:
        for other in others:
            if (how := other.lost(SECONDS_TO_END)) is not None:
                raise ProcessLost(how) from error
        raise


def follow(rendezvous: Rendezvous | None = None) -> None:
    """Makes the trainings that the first process names until it names none."""
    from multimodal.training.distributed import distributed_context

    with distributed_context(rendezvous=rendezvous) as context:
        while isinstance(call := context.broadcast(None), Call):
            given = call.arguments
            if isinstance(place := given.get("trained"), StoredModel):
                from multimodal.inference.trained import load_trained

                given = given | {"trained": load_trained(*place)}
            sharing = dataclasses.replace(context, sharded=call.sharded)
            call.function(**given, report=lambda *_: None, context=sharing)


def follow_torchrun() -> NoReturn:
    """The command of each process of ``torchrun`` but the first one, which alone tells people what cannot be done."""
    with contextlib.suppress(*FOR_PEOPLE):
        follow()
        sys.exit(0)
    sys.exit(LOST)


def _end_with_the_first() -> None:
    # Not by a buffered reader, whose lock Python would want at its end.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)


def main() -> None:
    from multimodal.training.distributed import Rendezvous

    threading.Thread(target=_end_with_the_first, daemon=True).start()
    place = Rendezvous(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    _begun(place).touch()
    try:
        follow(place)
    except FOR_PEOPLE as error:
        # Read where the first process has not met the same.
        sys.exit(str(error))


if __name__ == "__main__":
    # What the first process sends is of the module's own name.
    from flows import training_processes

    training_processes.main()
