"""Work that a thread does ahead of its use."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_ahead(function: Callable[[Item], Result], items: Iterable[Item], depth: int) -> Generator[Result, None, None]:
    """Yield the results of a function in the order of its arguments, computed by one thread ahead of their use.

    An error is raised where its result would be yielded. An iterator that is closed or released waits for the call that
    is running, and makes no further one.

    Args:
        function: The function. Its calls never overlap.
        items: Arguments.
        depth: Most results that wait for their use; 0 calls the function when its result is needed, without a thread.

    Example:
        >>> list(run_ahead(abs, [-1, 2, -3], depth=2))
        [1, 2, 3]
    """
    if not depth:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    # A new thread would otherwise use all cores.
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, "ahead", initializer=torch.set_num_threads, initargs=(threads,)) as executor:
        try:
            for item in items:
                waiting.append(executor.submit(function, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
