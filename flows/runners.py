"""What ingests videos side by side: threads of this process, or processes of Dask or Ray on this machine or on others.

Such processes write immutable files into the store and nothing else; the catalogue is written by this process alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.settings import Settings
from multimodal.extras import module_of
from multimodal.machine import cores
from multimodal.progress import announce
from multimodal.store import InputError

Tell = Callable[[str, float, float], None]
"""Takes the digest of a video, the share of it that is done, and its seconds."""
SECONDS_BETWEEN_TOLD = 0.5
SECONDS_TO_ANSWER = 20
DASK_PATIENCE = {"distributed.comm.timeouts.tcp": "300s"}
"""A scheduler loads our package with the first task, and answers nothing meanwhile: on a busy machine for longer than the 30 s
after which Dask takes a connection for lost. One whose process has ended is known at once."""
TOPIC = "videobert-progress"
DASK_CLUSTER: dict[str, Any] = {
    "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None, "security": True,
}  # fmt: skip
"""A cluster that lives as long as the ingestion. Its processes take work from whoever has the key that is made for it: every
user of the machine reaches a port. A decoder has a limit of memory of its own."""
RAY_CLUSTER: dict[str, Any] = {
    "include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR,
}  # fmt: skip


class ClusterLost(InputError):
    """The scheduler of a cluster is gone; what its processes had not ended is left to the next run."""


def videos_at_a_time(settings: Settings) -> int:
    """How many videos are ingested at a time on this machine."""
    return settings.workers or (1 if settings.torch_device == "cuda" else cores())


@dataclass(frozen=True)
class Running:
    """A task runner that has started."""

    runner: TaskRunner[Any]
    tell: Tell
    """Given to each task; what it is told reaches the process of the flow."""
    lost: tuple[type[Exception], ...] = ()
    """What a result raises whose cluster is gone."""

    def submit(self, task: Task[..., Any], **parameters: Any) -> PrefectFuture[Any]:
        return self.runner.submit(task, parameters | {"tell": self.tell})

    def result(self, future: PrefectFuture[Any]) -> Any:
        """What the task returned. Raises :class:`ClusterLost`, and what the task raised."""
        try:
            return future.result()
        except self.lost as error:
            raise ClusterLost(
                f"the cluster is gone ({type(error).__name__}); videos that had ended are kept, the same command does the others"
            ) from error


@contextlib.contextmanager
def running(settings: Settings, tell: Tell) -> Iterator[Running]:
    """The task runner that the settings name; ``tell`` is called in this process with the progress of its tasks.

    Raises :class:`InputError` where it cannot be had, or where an address is given that nothing reads.
    """
    name, address = settings.runner or "threads", settings.address
    if name == "threads" and address is not None:
        raise InputError(f"--address {address}: threads have no address; add --runner dask or --runner ray")
    with RUNNERS[name](address, videos_at_a_time(settings), tell) as started:
        yield started


@contextlib.contextmanager
def _threads(address: str | None, at_a_time: int, tell: Tell) -> Iterator[Running]:
    with ThreadPoolTaskRunner(max_workers=at_a_time) as runner:
        yield Running(runner, tell)


@contextlib.contextmanager
def _dask(address: str | None, at_a_time: int, tell: Tell) -> Iterator[Running]:
    runner_of = module_of("dask", "prefect_dask", "--runner dask").DaskTaskRunner
    import dask.config
    from distributed.client import FutureCancelledError

    for name in ("distributed", "distributed.client", "prefect.task_runner.dask"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is told by the results
    announce("starting Dask's processes" if address is None else f"asking {address}")
    where = {"cluster_kwargs": DASK_CLUSTER | {"n_workers": at_a_time}}
    if address is not None:
        where = {"address": address, "client_kwargs": {"timeout": SECONDS_TO_ANSWER}}
    with dask.config.set(DASK_PATIENCE), runner_of(**where) as runner:
        try:
            client = runner.client
        except (OSError, ValueError) as error:
            if address is None:
                raise
            raise InputError(_no_answer(address, "Dask scheduler", error)) from error
        client.subscribe_topic(TOPIC, lambda event: tell(*event[1]))
        yield Running(runner, DaskTell(), (FutureCancelledError,))


@contextlib.contextmanager
def _ray(address: str | None, at_a_time: int, tell: Tell) -> Iterator[Running]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    runner_of = module_of("ray", "prefect_ray", "--runner ray").RayTaskRunner
    import ray

    announce("starting Ray's processes" if address is None else f"asking {address}")
    if address is not None:
        _reach(address)
    how = dict(RAY_CLUSTER) if address else RAY_CLUSTER | {"num_cpus": at_a_time}
    ended = threading.Event()
    with runner_of(address=address or "local", init_kwargs=how) as runner:
        try:
            told = ray.remote(num_cpus=0)(Told).remote()
            threading.Thread(target=_pass_on, args=(told, tell, ended), daemon=True).start()
            yield Running(runner, RayTell(told), (ray.exceptions.RaySystemError,))
        finally:
            ended.set()


RUNNERS = {"threads": _threads, "dask": _dask, "ray": _ray}


class _Now:
    """Lets one call in half a second pass, and each that says the end."""

    def __init__(self) -> None:
        self.last = 0.0

    def due(self, share: float) -> bool:
        now = time.monotonic()
        if share < 1 and now - self.last < SECONDS_BETWEEN_TOLD:
            return False
        self.last = now
        return True


class DaskTell(_Now):
    """Tells the flow's process from one of Dask's."""

    def __call__(self, video: str, share: float, seconds: float) -> None:
        if self.due(share):
            from distributed import get_worker

            get_worker().log_event(TOPIC, (video, share, seconds))


class Told:
    """An actor of Ray, which keeps what is told until it is taken."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float, float]] = []

    def put(self, *one: Any) -> None:
        self.told.append(one)

    def take(self) -> list[tuple[str, float, float]]:
        taken, self.told = self.told, []
        return taken


class RayTell(_Now):
    """Tells the flow's process from one of Ray's."""

    def __init__(self, told: Any) -> None:
        super().__init__()
        self.told = told

    def __call__(self, video: str, share: float, seconds: float) -> None:
        if self.due(share):
            self.told.put.remote(video, share, seconds)


def _pass_on(told: Any, tell: Tell, ended: threading.Event) -> None:
    import ray

    while not ended.wait(SECONDS_BETWEEN_TOLD):
        try:
            taken = ray.get(told.take.remote())
        except ray.exceptions.RayError:
            return  # the results tell what became of the cluster
        for one in taken:
            tell(*one)


def _reach(address: str) -> None:
    """Raises :class:`InputError` where nobody listens: Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()
    except (OSError, ValueError) as error:
        raise InputError(_no_answer(address, "Ray cluster", error)) from error


def _no_answer(address: str, what: str, error: Exception) -> str:
    return f"--address {address}: no {what} answers there ({error}); start one, or leave --address out"
