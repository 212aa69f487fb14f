"""Parts in processes of this machine."""

import concurrent.futures
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any

from typing_extensions import override

from mtl_lightning.errors import MtlError
from mtl_lightning.executors.base import Part, Result
from mtl_lightning.executors.pool import PoolExecutor

_FUNCTIONS: list[Callable[[Any], Any]] = []
"""In a worker: the function that it was started for."""


class Processes(PoolExecutor):
    """Parts in processes of this machine, which share no interpreter lock.

    Each worker starts with a copy of the function. If one is killed, its parts run again in new workers; if the caller
    is killed, its workers end.

    Args:
        workers: Number of processes; None for one per core, at most four.

    Raises:
        MtlError: From :meth:`map`, if the function can't be pickled.

    Example:
        >>> Processes(workers=8).workers
        8
    """

    @override
    def start(self, function: Callable[[Any], Any]) -> concurrent.futures.Executor:
        # Processes that are forked from one with threads may hang. The fork server has none, and has imported the
        # function's module once for all workers.
        server = "forkserver" in multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if server else "spawn")
        if server:
            context.set_forkserver_preload(["__main__", type(function).__module__])
        return concurrent.futures.ProcessPoolExecutor(self.workers, context, _receive, (function,))

    @override
    def submit(
        self, pool: concurrent.futures.Executor, function: Callable[[Part], Result], part: Part
    ) -> "concurrent.futures.Future[Result]":
        try:
            return pool.submit(_call, part)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            message = f"data.executor: this can't be sent to other processes: {error}"
            raise MtlError(message, "data.executor=threads, or define its classes in a module") from error


def _receive(function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller, which ends its workers
    threading.Thread(target=_end_with_caller, daemon=True).start()
    _FUNCTIONS.append(function)


def _end_with_caller() -> None:
    if (caller := multiprocessing.parent_process()) is not None:
        caller.join()
        os._exit(1)


def _call(part: Any) -> Any:
    return _FUNCTIONS[-1](part)
