"""Averages of the predictions of several runs with equal tasks and inputs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from mtl_lightning.batch import Batch, Target
from mtl_lightning.errors import MtlError, shown
from mtl_lightning.task_kinds import TaskKind
from mtl_lightning.training.network import Network

TINY = 1e-30
"""Smallest probability whose logarithm is taken."""

NEAR_ONE = 1 - 2**-24
"""Largest float32 below 1."""


class Average(nn.Module):
    """Average of networks: of log-odds of probabilities, of logarithms of class probabilities, of other values.

    Shapes: batch → {task: [B] or [B, K]}.

    Args:
        networks: Networks with the same schema.

    Source:
        Bordley, "A multiplicative formula for aggregating probability assessments", Management Science 1982: with
        equal weights it is the mean of log-odds.

    Example:
        ``Average([first, second])(batch)["click"]``
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.schema = networks[0].schema
        self.networks = nn.ModuleList(networks)

    def targets(self, batch: Batch) -> dict[str, Target]:
        """Return the target of each task."""
        first = self.networks[0]
        assert isinstance(first, Network)
        return first.targets(batch)

    @override
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the averages per task, [B], or [B, K] for several classes."""
        predictions = [network(batch) for network in self.networks]
        return {
            task.name: average(torch.stack([part[task.name] for part in predictions]), task.traits)
            for task in self.schema.tasks
        }


def average(predictions: Tensor, kind: TaskKind) -> Tensor:
    """Average predictions of a task.

    Args:
        predictions: Predictions of M members, [M, B] or [M, B, K].
        kind: Kind of the task.

    Example:
        >>> from mtl_lightning.task_kinds import TASK_KINDS
        >>> round(average(torch.tensor([[0.5], [0.9]]), TASK_KINDS["binary"]).item(), 4)
        0.75
    """
    values = predictions.float()
    if kind.probability:
        log_odds = values.clamp_min(TINY).log() - torch.log1p(-values.clamp_max(NEAR_ONE))
        return log_odds.mean(0).sigmoid()
    if not kind.scalar:
        return values.clamp_min(TINY).log().mean(0).softmax(-1)
    return values.mean(0)


def check_equal_inputs(states: Mapping[Path, Mapping[str, Any]]) -> None:
    """Check that runs have the same tasks, features and fitted transforms.

    Args:
        states: Fitted transforms as plain containers, by run directory.

    Raises:
        MtlError: If one differs; the message names the first difference.

    Example:
        >>> check_equal_inputs({Path("a"): {"tasks": ["click"]}, Path("b"): {"tasks": ["buy"]}})
        Traceback (most recent call last):
        mtl_lightning.errors.MtlError: run: a and b differ in tasks[0]: 'click' and 'buy' ...
    """
    (first, expected), *others = states.items()
    for run, state in others:
        difference = next(differences(expected, state), None)
        if difference is not None:
            place, left, right = difference
            raise MtlError(
                f"run: {first} and {run} differ in {place}: {shown(left)} and {shown(right)}",
                "only runs with equal tasks and inputs can be averaged: fit them with one recipe and other seeds",
            )


MISSING = "nothing"
"""Value that is shown for a missing key."""


def differences(left: Any, right: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the places at which two JSON values differ, with both values.

    Example:
        >>> list(differences({"a": [1, 2], "b": 0}, {"a": [1, 3], "b": 0}))
        [('a[1]', 2, 3)]
    """
    if isinstance(left, dict) and isinstance(right, dict):
        for key in [*left, *(key for key in right if key not in left)]:
            inner = f"{place}.{key}" if place else key
            yield from differences(left.get(key, MISSING), right.get(key, MISSING), inner)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, (before, after) in enumerate(zip(left, right, strict=True)):
            yield from differences(before, after, f"{place}[{number}]")
    elif left != right:
        yield place, left, right
