"""Ranks of configurations over tasks and seeds, and groups whose differences are within chance."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from mtl_lightning.compare.bootstrap import Sampled, delta_m
from mtl_lightning.compare.statistics import Floats, metric_name

Models = Mapping[str, Mapping[int, Sampled]]
"""Metrics and bootstrap samples by configuration and seed."""


def compare_ranks(models: Models, kinds: Mapping[str, str], confidence: float) -> dict[str, Any]:
    """Rank configurations in every pair of a task and a seed, and find those that don't differ.

    Args:
        models: Models of every configuration; only seeds that all have count.
        kinds: Kind of each task.
        confidence: Level at which the intervals of all pairs of configurations hold together (Bonferroni).

    Returns:
        - ``mean``: mean rank of each configuration, 1 being the best; equal values share their mean rank. None without
          a value that all have;
        - ``blocks``: number of pairs of a task and a seed;
        - ``alike``: largest groups of neighbours in the order of ranks of which no two differ: their interval of Δm
          includes zero.

    Source:
        Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006, for the diagram. Its
        Nemenyi test needs independent data sets; here the intervals of the comparison take its place.

    Example:
        >>> def model(auc):
        ...     return Sampled({"click": auc}, {"click": auc + np.linspace(-0.001, 0.001, 50)})
        >>> models = {"a": {0: model(0.70), 1: model(0.71)}, "b": {0: model(0.80), 1: model(0.81)}}
        >>> compare_ranks(models, {"click": "binary"}, 0.95)
        {'mean': {'b': 1.0, 'a': 2.0}, 'blocks': 2, 'alike': []}
    """
    seeds = sorted(set.intersection(*(set(own) for own in models.values()))) if models else []
    blocks = [values for task, kind in kinds.items() for seed in seeds if (values := _block(models, task, kind, seed))]
    if not blocks:
        return {"mean": dict.fromkeys(models), "blocks": 0, "alike": []}
    ranks = np.mean([rank(np.array(list(values.values()))) for values in blocks], axis=0)
    mean = dict(sorted(zip(models, ranks.tolist(), strict=True), key=lambda pair: pair[1]))
    pairs = list(combinations(mean, 2))
    level = 1 - (1 - confidence) / max(len(pairs), 1)
    differ = {pair for pair in pairs if _differ(models, kinds, seeds, pair, level)}
    return {"mean": mean, "blocks": len(blocks), "alike": _groups(list(mean), differ)}


def rank(values: Floats) -> Floats:
    """Ranks of values, the largest first; equal values share their mean rank.

    Example:
        >>> rank(np.array([0.7, 0.9, 0.7])).tolist()
        [2.5, 1.0, 2.5]
    """
    above = (values[None, :] > values[:, None]).sum(1)
    equal = (values[None, :] == values[:, None]).sum(1)
    ranks: Floats = above + (equal + 1) / 2
    return ranks


def _block(models: Models, task: str, kind: str, seed: int) -> dict[str, float]:
    """Values of a task with one seed, larger being better; empty if one is undefined."""
    sign = 1.0 if metric_name(kind)[1] else -1.0
    values = {name: sign * own[seed].value[task] for name, own in models.items()}
    return values if all(math.isfinite(value) for value in values.values()) else {}


def _differ(
    models: Models, kinds: Mapping[str, str], seeds: Sequence[int], pair: tuple[str, str], level: float
) -> bool:
    first, second = ([models[name][seed] for seed in seeds] for name in pair)
    ends = delta_m(kinds, first, second, level)
    return ends.low > 0 or ends.high < 0


def _groups(names: Sequence[str], differ: set[tuple[str, str]]) -> list[list[str]]:
    """Largest runs of neighbours without a pair that differs."""
    groups: list[list[str]] = []
    for start in range(len(names)):
        end = start + 1
        while end < len(names) and not any((name, names[end]) in differ for name in names[start:end]):
            end += 1
        group = list(names[start:end])
        if len(group) > 1 and not (groups and groups[-1][-1] == group[-1]):
            groups.append(group)
    return groups
