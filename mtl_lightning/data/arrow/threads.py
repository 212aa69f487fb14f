"""Work on a block of rows in a few threads."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mtl_lightning.errors import DataError

FEW = 4096
"""Number of rows below which threads cost more than they save."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def map_threads(function: Callable[[Item], Result], items: Iterable[Item], rows: int) -> list[Result]:
    """Apply a function to all items in a few threads, or in the calling thread for fewer than :data:`FEW` rows.

    Threads help because Arrow and numpy release the global interpreter lock.

    Args:
        function: The function.
        items: The items.
        rows: Number of rows that each call handles.

    Raises:
        DataError: The first error of a call; the attribute ``others`` holds the further ones.

    Example:
        >>> map_threads(abs, [-1, 2], rows=10)
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
