"""Bounded pools of threads for questions: so many at once, so many waiting, and a refusal beyond."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, ParamSpec, TypeVar

from multimodal.serve.problems import Problem

P, T, Q = ParamSpec("P"), TypeVar("T"), TypeVar("Q")
MOST_TOGETHER = 32
"""Questions that are answered by one call at most."""


class Pool:
    """``threads`` work; beyond ``waiting`` more the answer is 503."""

    def __init__(self, threads: int, waiting: int, name: str):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most, self._held, self._lock = threads + waiting, 0, threading.Lock()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. Raises :class:`Problem` 503 where too many wait already."""
        with self._lock:
            if self._held >= self._most:
                raise too_many()
            self._held += 1
        future = self._pool.submit(partial(function, *args, **kwargs))
        future.add_done_callback(self._release)
        return await asyncio.wrap_future(future)

    def _release(self, _: object) -> None:
        with self._lock:
            self._held -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Together(Generic[Q, T]):
    """Questions that wait are answered by one call: each of ``threads`` takes its share of them. Beyond ``waiting`` the
    answer is 503. ``answer`` gives for each question its answer, or the error that its asker gets."""

    def __init__(
        self, answer: Callable[[Sequence[Q]], Sequence[T | Exception]], threads: int, waiting: int, name: str
    ):
        self._answer, self._threads, self._most = answer, threads, waiting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: deque[tuple[Q, Future[T]]] = deque()
        self._working, self._lock = 0, threading.Lock()

    async def ask(self, question: Q) -> T:
        """The answer. Raises :class:`Problem` 503 where too many wait already, and the question's own error."""
        future: Future[T] = Future()
        with self._lock:
            if len(self._waiting) >= self._most:
                raise too_many()
            self._waiting.append((question, future))
            if begins := self._working < self._threads:
                self._working += 1
        if begins:
            self._pool.submit(self._work)
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while taken := self._take():
            try:
                answers = self._answer([question for question, _ in taken])
            except Exception as error:  # noqa: BLE001 - it is the askers' to handle
                answers = [error] * len(taken)
            for (_, future), answer in zip(taken, answers, strict=True):
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _take(self) -> list[tuple[Q, Future[T]]]:
        """This thread's share of what waits; none where it ends."""
        with self._lock:
            while self._waiting:
                share = min(MOST_TOGETHER, -(-len(self._waiting) // self._threads))
                some = [self._waiting.popleft() for _ in range(share)]
                # An asker who has gone is passed over.
                if taken := [(q, future) for q, future in some if future.set_running_or_notify_cancel()]:
                    return taken
            self._working -= 1
            return []

    def close(self) -> None:
        with self._lock:
            while self._waiting:
                self._waiting.popleft()[1].cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)


def too_many() -> Problem:
    return Problem(503, "too many ask at once; ask again in a few seconds", {"retry-after": "2"})
