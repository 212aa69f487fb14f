"""Backward elimination of features by permutation."""

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mtl_lightning.compare.statistics import Difference
from mtl_lightning.data.features.base import Feature
from mtl_lightning.importance.items import Items

Losses = dict[str, Difference]
"""Loss of each task's metric and of the score."""


@dataclass(frozen=True)
class Step:
    """A set of features that was tried.

    Args:
        name: Name of the item that was added to what goes.
        features: All features that would go, in the order of the recipe.
        losses: Loss when all of them are permuted together; empty if the recipe needs one of them.
        goes: Whether they go.
    """

    name: str
    features: tuple[str, ...]
    losses: Losses
    goes: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON."""
        losses = {task: difference.to_dict() for task, difference in self.losses.items()}
        return {"name": self.name, "features": list(self.features), "losses": losses, "goes": self.goes}


def eliminate(
    items: Items,
    features: Mapping[str, Feature],
    losses: Callable[[Collection[str]], Losses],
    allowed: Callable[[Collection[str]], bool],
    max_loss: float = 0.0,
) -> list[Step]:
    """Find features that a model does not rely on, neither one by one nor together.

    Items are tried from the least important one on. An item goes if the loss of the score and of every task, with all
    that goes permuted together, is not shown to exceed ``max_loss``: its interval reaches down to that value.

    Args:
        items: Names of features by the name of what goes as one.
        features: The recipe's features. What refers to a feature goes with it.
        losses: Loss when features are permuted together: :meth:`~mtl_lightning.importance.measurement.Importance.of`.
        allowed: Whether a recipe without some features is valid.
        max_loss: Largest loss that is accepted, in the unit of each metric.

    Returns:
        What was tried, in order. The features of the last step that goes are those to remove.

    Example:
        >>> from mtl_lightning.data.features.build import build_features
        >>> features = build_features(dict.fromkeys(("price", "noise"), "numeric"))
        >>> def losses(names):
        ...     loss = 0.1 * ("price" in names)
        ...     return {"score": Difference(loss, loss - 0.01, loss + 0.01)}
        >>> steps = eliminate({name: (name,) for name in features}, features, losses, lambda names: True)
        >>> [(step.name, step.goes) for step in steps]
        [('noise', True), ('price', False)]
    """
    sets = {name: with_dependents(features, members) for name, members in items.items()}
    needed = [name for name, members in sets.items() if len(members) == len(features) or not allowed(members)]
    steps = [Step(name, sets[name], {}, goes=False) for name in needed]
    alone = {name: losses(members) for name, members in sets.items() if name not in needed}
    gone: tuple[str, ...] = ()
    for name in sorted(alone, key=lambda name: _order(alone[name])):
        tried = tuple(feature for feature in features if feature in gone or feature in sets[name])
        if len(tried) == len(features) or not allowed(tried):
            steps.append(Step(name, tried, {}, goes=False))
            continue
        # What does harm by itself is not measured again together with the others.
        measured = losses(tried) if gone and harmless(alone[name], max_loss) else alone[name]
        goes = harmless(measured, max_loss)
        gone = tried if goes else gone
        steps.append(Step(name, tried, measured, goes))
    return steps


def _order(losses: Losses) -> float:
    mean = losses["score"].mean
    return math.inf if math.isnan(mean) else mean


def harmless(losses: Losses, max_loss: float) -> bool:
    """Decide whether no loss is shown to exceed a value; undefined ones show nothing.

    Example:
        >>> harmless({"click": Difference(0.02, -0.01, 0.05), "buy": Difference(0.02, 0.01, 0.03)}, 0.0)
        False
    """
    return not any(difference.low > max_loss for difference in losses.values())


def with_dependents(features: Mapping[str, Feature], names: Iterable[str]) -> tuple[str, ...]:
    """Features with those that refer to them, such as crosses.

    Example:
        >>> from mtl_lightning.data.features.build import build_features
        >>> features = build_features({"user": "categorical", "hour": "categorical",
        ...                            "both": {"kind": "cross", "of": ["user", "hour"]}})
        >>> with_dependents(features, ["user"])
        ('user', 'both')
    """
    gone = set(names)
    while more := {
        name for name, feature in features.items() if name not in gone and gone.intersection(feature.needs())
    }:
        gone |= more
    return tuple(name for name in features if name in gone)


def removals(names: Iterable[str], per_request: Iterable[str] = ()) -> tuple[str, ...]:
    r"""Settings of the command line that remove features.

    Args:
        names: Names of the features.
        per_request: The recipe's ``data.per_request``, which must not name them any more.

    Example:
        >>> removals(["user_id", "page.views"])
        ('features.user_id=null', 'features.page\\.views=null')
        >>> removals(["age"], ["user", "age"])
        ('features.age=null', 'data.per_request=["user"]')
    """
    removed, declared = list(names), list(per_request)
    settings = ["features." + re.sub(r"([.\[\]])", r"\\\1", name) + "=null" for name in removed]
    if not set(declared).isdisjoint(removed):
        settings.append(f"data.per_request={json.dumps([name for name in declared if name not in removed])}")
    return tuple(settings)
