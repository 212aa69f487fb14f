"""Order of things that need each other: tasks and their parents, features and those they refer to."""

from collections.abc import Collection, Mapping
from heapq import heapify, heappop, heappush


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
    missing = {name: {other for other in required if other in needs} for name, required in needs.items()}
    dependents: dict[str, list[str]] = {name: [] for name in names}
    for name, required in missing.items():
        for other in required:
            dependents[other].append(name)
    position = {name: i for i, name in enumerate(names)}
    free = [position[name] for name in names if not missing[name]]
    heapify(free)
    result: list[str] = []
    while free:
        name = names[heappop(free)]
        result.append(name)
        for dependent in dependents[name]:
            missing[dependent].discard(name)
            if not missing[dependent]:
                heappush(free, position[dependent])
    if len(result) < len(names):
        raise CycleError(_cycle({name: required for name, required in missing.items() if required}, needs))
    return result


def _cycle(missing: Mapping[str, set[str]], needs: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Find a cycle among names that all need another one of them."""
    chain = [next(iter(missing))]
    seen = set(chain)
    while True:
        chain.append(next(other for other in needs[chain[-1]] if other in missing[chain[-1]]))
        if chain[-1] in seen:
            return tuple(chain[chain.index(chain[-1]) :])
        seen.add(chain[-1])
