"""A Dask cluster as an operator starts one: a scheduler and workers of one thread, each a process of its own."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from command import until


class DaskCluster:
    """``workers``: the processes of all that were started, also of those that were killed since."""

    def __init__(self, environment: Mapping[str, str], folder: Path):
        self._environment, self._folder = environment, folder
        self._told = folder / "scheduler.json"
        folder.mkdir()
        self.scheduler = self._start("scheduler", "--port", 0)
        self.workers: list[subprocess.Popen] = []

    @property
    def address(self) -> str:
        """Raises ValueError where the scheduler has not written it yet."""
        return json.loads(self._told.read_text() if self._told.exists() else "")["address"]

    def is_ready(self) -> bool:
        """Whether the scheduler has written its address; it makes the file first."""
        with contextlib.suppress(ValueError):
            return bool(self.address)
        return False

    def add_worker(self) -> None:
        self.workers.append(self._start("worker", "--nthreads", 1, "--no-nanny"))

    def _start(self, *arguments: object) -> subprocess.Popen:
        where = ("--scheduler-file", self._told, "--host", "127.0.0.1", "--no-dashboard")
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *map(str, (*arguments, *where))],
                env=dict(self._environment), stdout=log, stderr=log, cwd=self._folder,
            )  # fmt: skip


@contextlib.contextmanager
def dask_cluster(environment: Mapping[str, str], folder: Path) -> Iterator[DaskCluster]:
    """A scheduler and two workers."""
    cluster = DaskCluster(environment, folder)
    try:
        until(cluster.is_ready)
        for _ in range(2):
            cluster.add_worker()
        yield cluster
    finally:
        for process in (cluster.scheduler, *cluster.workers):
            process.kill()
            process.wait()
