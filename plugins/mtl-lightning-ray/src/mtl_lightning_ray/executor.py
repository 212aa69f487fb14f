"""Parts as tasks of a Ray cluster."""

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError
from typing_extensions import override

from mtl_lightning.interfaces import Executor, MtlError, PositiveInt
from mtl_lightning_ray.cluster import connect

Part = TypeVar("Part")
Result = TypeVar("Result")
TRIES = 3
"""Number of times that a part is tried."""
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {}
"""In a worker: the latest function that it was sent, by the address of the function in the object store."""


class RayExecutor(Executor):
    """Parts as tasks of a Ray cluster, spread over its nodes.

    Workers start in the caller's directory. They need this package, the source's files and ``data.cache_dir`` at the
    same paths, on a disk that all nodes share. At most twice as many parts as workers are waiting, running or unread.

    Args:
        workers: Number of parts that run at once; None for as many as the cluster has CPUs.
        cpus: CPUs that Ray reserves for a part.
        address: Address of the cluster; None for ``RAY_ADDRESS``, then the cluster that this machine is part of, then
            a new one on this machine.

    Raises:
        MtlError: When it is entered, if the cluster can't be reached; from :meth:`map`, if the function can't be sent.

    Example:
        >>> RayExecutor(workers=64).workers
        64
    """

    def __init__(
        self, *, workers: PositiveInt | None = None, cpus: PositiveInt = 1, address: str | None = None
    ) -> None:
        self.workers, self.cpus, self.address = workers, cpus, address
        self._connected = False

    @override
    def __enter__(self) -> Self:
        self._connected = connect(self.address)
        return self

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connected:
            ray.shutdown()

    @override
    def map(self, function: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        workers = self.workers or max(1, int(resources.get("CPU", 1)) // self.cpus)
        try:
            sent = ray.put((function, Path.cwd()))
        except (pickle.PicklingError, TypeError) as error:
            message = f"data.executor: this can't be sent to other machines: {error}"
            raise MtlError(message, "data.executor=threads, or define its classes in a module") from error
        # Ray would retry errors of the data as well, so it retries nothing.
        task = ray.remote(num_cpus=self.cpus, max_retries=0, scheduling_strategy="SPREAD")(_call)
        waiting: deque[tuple[Part, ray.ObjectRef[Any]]] = deque()
        try:
            for part in parts:
                while len(waiting) == 2 * workers:
                    yield self._result(task, sent, *waiting.popleft())
                while len(running := _unfinished(waiting)) >= workers:
                    ray.wait(running)
                waiting.append((part, task.remote([sent], part)))
            while waiting:
                yield self._result(task, sent, *waiting.popleft())
        finally:
            for ref in (running := _unfinished(waiting)):
                ray.cancel(ref)
            ray.wait(running, num_returns=max(1, len(running)))  # nothing is written when this returns

    def _result(self, task: Any, sent: "ray.ObjectRef[Any]", part: Any, ref: "ray.ObjectRef[Any]") -> Any:
        tries = 1
        while True:
            try:
                return ray.get(ref)
            except RayError as error:
                cause = error.cause if isinstance(error, RayTaskError) else error
                if isinstance(cause, MtlError):
                    raise cause from None
                if tries == TRIES:
                    raise MtlError(f"{part} failed {TRIES} times: {_describe(cause)}") from error
            tries += 1
            ref = task.remote([sent], part)


def _unfinished(waiting: "Iterable[tuple[Any, ray.ObjectRef[Any]]]") -> "list[ray.ObjectRef[Any]]":
    refs = [ref for _, ref in waiting]
    return ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)[1] if refs else []


def _describe(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def _call(sent: "list[ray.ObjectRef[Any]]", part: Any) -> Any:
    # In a list, Ray does not fetch the object for each call: a worker keeps what it was sent.
    key = sent[0].hex()
    if key not in _FUNCTIONS:
        function, folder = ray.get(sent[0])
        os.chdir(folder)
        _FUNCTIONS.clear()
        _FUNCTIONS[key] = function
    return _FUNCTIONS[key](part)
