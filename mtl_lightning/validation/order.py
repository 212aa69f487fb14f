"""Order of things that need each other: tasks and their parents, features and those they refer to."""

import graphlib
from collections.abc import Collection, Mapping
from graphlib import TopologicalSorter
from heapq import heappop, heappush


class CycleError(Exception):
    """Things that need each other in a circle.

    Args:
        chain: Their names; the first one is repeated at the end.
    """

    def __init__(self, chain: tuple[str, ...]) -> None:
        super().__init__(" → ".join(chain))
        self.chain = chain


def sort_by_needs(needs: Mapping[str, Collection[str]]) -> list[str]:
    """Sort names so that each one comes after those it needs, otherwise in the given order.

    Args:
        needs: Names that each name needs; unknown ones are ignored.

    Raises:
        CycleError: If some need each other.

    Example:
        >>> sort_by_needs({"buy": ["cart"], "view": [], "cart": ["view"]})
        ['view', 'cart', 'buy']
        >>> sort_by_needs({"buy": ["cart"], "cart": ["buy"]})
        Traceback (most recent call last):
        mtl_lightning.validation.order.CycleError: buy → cart → buy
    """
    names = list(needs)
    position = {name: i for i, name in enumerate(names)}
    sorter = TopologicalSorter({name: [other for other in needs[name] if other in needs] for name in names})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        circle = error.args[1][:0:-1]  # each needs the next one
        start = circle.index(min(circle, key=position.__getitem__))
        raise CycleError((*circle[start:], *circle[: start + 1])) from None
    free: list[int] = []
    result: list[str] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heappush(free, position[name])
        result.append(names[heappop(free)])
        sorter.done(result[-1])
    return result
