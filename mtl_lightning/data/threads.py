"""Work on a block of rows, on a few threads."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

FEW = 4096
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], rows: int) -> list[Result]:
    """Apply to all items on a few threads (Arrow and numpy release the lock); the first error is raised.

    Few rows don't pay for threads.

    Example:
        >>> in_threads(abs, [-1, 2], rows=10)
        [1, 2]
    """
    if rows < FEW:
        return [function(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))
