"""A bounded pool of threads for questions: so many at once, so many waiting, and a refusal beyond."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from multimodal.serve.problems import Problem

P, T = ParamSpec("P"), TypeVar("T")


class Pool:
    """``threads`` work; beyond ``waiting`` more the answer is 503."""

    def __init__(self, threads: int, waiting: int, name: str):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most, self._held, self._lock = threads + waiting, 0, threading.Lock()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. Raises :class:`Problem` 503 where too many wait already."""
        with self._lock:
            if self._held >= self._most:
                raise Problem(503, "too many ask at once; ask again in a few seconds", {"retry-after": "2"})
            self._held += 1
        future = self._pool.submit(partial(function, *args, **kwargs))
        future.add_done_callback(self._release)
        return await asyncio.wrap_future(future)

    def _release(self, _: object) -> None:
        with self._lock:
            self._held -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
