"""Preferences of tasks along which a model that reads them is measured."""

import math
from itertools import combinations, pairwise
from typing import Any

import torch
from torch import Tensor

from mtl_lightning.data.store.loader import Loader
from mtl_lightning.metrics.suite import MetricSuite

ROWS = 20_000
"""Most rows of a split that are predicted at every preference."""
MOST = 15
"""Most points of the lattice, unless there are more tasks than this."""


def preference_grid(tasks: int) -> Tensor:
    """Preferences on a lattice over all that sum to 1 (Das and Dennis 1998), and the even ones; [P, T] float64.

    They are multiples of 1/H. H is at most 8, and as large as :data:`MOST` points allow, but at least 1: then each
    lattice point prefers one task only.

    Args:
        tasks: Number of tasks T.

    Example:
        >>> preference_grid(2)[:3].tolist(), len(preference_grid(3))
        ([[0.0, 1.0], [0.125, 0.875], [0.25, 0.75]], 16)
        >>> preference_grid(6)[-1].tolist() == [1 / 6] * 6
        True
    """
    parts = max((number for number in range(2, 9) if math.comb(number + tasks - 1, number) <= MOST), default=1)
    bars = combinations(range(parts + tasks - 1), tasks - 1)
    points = [[b - a - 1 for a, b in pairwise((-1, *places, parts + tasks - 1))] for places in bars]
    lattice = torch.tensor(points, dtype=torch.float64) / parts
    even = torch.full((1, tasks), 1 / tasks, dtype=torch.float64)
    return lattice if parts % tasks == 0 else torch.cat([lattice, even])


@torch.no_grad()
def measure_preferences(module: Any, loader: Loader) -> list[dict[str, dict[str, float]]]:
    """Metrics at each preference of :func:`preference_grid`; a collective.

    Args:
        module: A :class:`~mtl_lightning.training.module.MultiTaskModule` that reads preferences.
        loader: This process's rows.

    Returns:
        Per point the ``preference`` of each task, and ``metrics`` by name: the recipe's metrics and the score.
    """
    network, schema = module.network, module.schema
    suite = MetricSuite(schema, module.suites["test"].by_task()).to(module.device)
    training = module.training
    module.eval()
    points = []
    for preference in preference_grid(len(schema.tasks)):
        suite.reset()
        for batch_on_host in loader:
            batch = batch_on_host.to(module.device).preferring(preference.to(module.device))
            suite.update(*network.measured(network.outputs(batch)[0], batch))
        shares = dict(zip((task.name for task in schema.tasks), preference.tolist(), strict=True))
        points.append({"preference": shares, "metrics": suite.compute()})
    module.train(training)
    return points
