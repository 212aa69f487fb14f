"""Base of executors that are pools of the standard library."""

import concurrent.futures
import os
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from typing_extensions import override

from mtl_lightning.bounds import PositiveInt
from mtl_lightning.errors import MtlError
from mtl_lightning.executors.base import Executor, Part, Result

TRIES = 3
"""Number of times that a part is tried."""


class PoolExecutor(Executor):
    """Executor with a pool for each call of :meth:`map`.

    At most twice as many parts as workers are waiting or running, so that results don't pile up in memory.

    Args:
        workers: Number of workers; None for one per core, at most four.
    """

    def __init__(self, *, workers: PositiveInt | None = None) -> None:
        self.workers = workers or min(4, os.cpu_count() or 1)

    @abstractmethod
    def start(self, function: Callable[[Any], Any]) -> concurrent.futures.Executor:
        """Start a pool whose workers can call a function."""

    def submit(
        self, pool: concurrent.futures.Executor, function: Callable[[Part], Result], part: Part
    ) -> "concurrent.futures.Future[Result]":
        """Let a worker of a pool call the function that it was started for."""
        return pool.submit(function, part)

    @override
    def map(self, function: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        remaining = iter(parts)
        waiting: deque[tuple[Part, concurrent.futures.Executor, concurrent.futures.Future[Result]]] = deque()
        pool = self.start(function)
        try:
            while True:
                for part in islice(remaining, 2 * self.workers - len(waiting)):
                    waiting.append((part, pool, self._submit(pool, function, part)))
                if not waiting:
                    return
                part, its_pool, future = waiting.popleft()
                tries = 1
                while (error := _error(future)) is not None:
                    if tries == TRIES:
                        raise MtlError(f"{part} failed {TRIES} times: {_describe(error)}") from error
                    tries += 1
                    if isinstance(error, concurrent.futures.BrokenExecutor) and its_pool is pool:
                        # The part runs alone in a new pool: if that breaks as well, it is this part that breaks it.
                        pool.shutdown(wait=False)
                        pool = self.start(function)
                    its_pool, future = pool, self._submit(pool, function, part)
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _submit(
        self, pool: concurrent.futures.Executor, function: Callable[[Part], Result], part: Part
    ) -> "concurrent.futures.Future[Result]":
        try:
            return self.submit(pool, function, part)
        except concurrent.futures.BrokenExecutor as error:  # a worker has died since the last part
            failed: concurrent.futures.Future[Result] = concurrent.futures.Future()
            failed.set_exception(error)
            return failed


def _error(future: "concurrent.futures.Future[Any]") -> BaseException | None:
    """Wait for a part; return an error after which it is tried again.

    Raises:
        MtlError: If the part raised one.
    """
    error = future.exception()
    if isinstance(error, MtlError):
        raise error
    return error


def _describe(error: BaseException) -> str:
    if isinstance(error, concurrent.futures.BrokenExecutor):
        return "its process died: out of memory perhaps, or it can't import what it was sent"
    return f"{type(error).__name__}: {error}".splitlines()[0]
