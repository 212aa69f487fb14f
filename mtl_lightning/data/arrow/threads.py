"""Work on a block of rows, on a few threads."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mtl_lightning.errors import DataError

FEW = 4096
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], rows: int) -> list[Result]:
    """Apply to all items on a few threads (Arrow and numpy release the lock).

    The first error is raised; the further ones are its ``others``.

    Few rows don't pay for threads.

    Example:
        >>> in_threads(abs, [-1, 2], rows=10)
        [1, 2]
    """
    errors: list[DataError] = []

    def attempt(item: Item) -> Result | DataError:
        try:
            return function(item)
        except DataError as error:
            return error

    if rows < FEW:
        outcomes = [attempt(item) for item in items]
    else:
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            outcomes = list(pool.map(attempt, items))
    results: list[Result] = []
    for outcome in outcomes:
        if isinstance(outcome, DataError):
            errors.append(outcome)
        else:
            results.append(outcome)
    if errors:
        errors[0].others = tuple(errors[1:])
        raise errors[0]
    return results
