"""Weights of the members of an ensemble, chosen by each validation of a training."""

import math
from copy import deepcopy
from itertools import islice, product
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from mtl_lightning.interfaces import TaskMetric
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.records.metrics import add_members

PARTS = 4
"""Weights are multiples of 1 / PARTS."""


def weight_grid(members: int) -> Tensor:
    """All weights that are multiples of 1 / PARTS and have sum 1, the most equal ones first, [G, k].

    Example:
        >>> weight_grid(2).tolist()
        [[0.5, 0.5], [0.25, 0.75], [0.75, 0.25], [0.0, 1.0], [1.0, 0.0]]
    """
    counts = [parts for parts in product(range(PARTS + 1), repeat=members) if sum(parts) == PARTS]
    return torch.tensor(sorted(counts, key=lambda parts: sum(part**2 for part in parts))) / PARTS


class MemberWeights(Callback):
    """Weighs the members of each task before each validation of a training, where the architecture asks for it.

    Among the weights of :func:`weight_grid`, a task gets the ones whose mean prediction has the best first metric on
    the validation rows of all processes; of equally good ones, the most equal. The validation that follows, its score
    and its checkpoint have these weights. They cost one more pass over the validation rows. A task whose metric is
    undefined keeps its weights. With averaged weights (``optimizer.average``) the choice is made before the average is
    put in place.

    Args:
        run: The run directory, whose ``metrics.json`` gets the weights; None on processes that write nothing.

    Example:
        ``Trainer(callbacks=[MemberWeights(run)])``
    """

    def __init__(self, run: RunDirectory | None) -> None:
        self.run = run

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the weights; a collective."""
        module: Any = pl_module
        architecture = module.network.architecture
        if not architecture.weighs_members or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        grid = weight_grid(architecture.members)
        names = architecture.member_names or tuple(map(str, range(architecture.members)))
        weights = {task: module.network.head(task).weights for task in module.schema.task_index}
        entry: dict[str, Any] = {"step": trainer.global_step, "tasks": {}}
        for task, values in self._values(trainer, module, grid.to(module.device)).items():
            best = max(range(len(grid)), key=lambda i: -math.inf if math.isnan(values[i]) else values[i])
            if not math.isnan(values[best]):
                weights[task].copy_(grid[best])
            alone = {name: _plain(values[int(grid[:, m].argmax())]) for m, name in enumerate(names)}
            entry["tasks"][task] = {"weights": weights[task].tolist(), "alone": alone}
        architecture.weigh_members(weights)
        logged = {
            f"members/{task}/{name}": float(own[m])
            for task, own in weights.items()
            for m, name in enumerate(names)
            if m
        }
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=trainer.global_step)
        if trainer.is_global_zero and self.run is not None:
            add_members(self.run, names, entry)

    def _values(self, trainer: Trainer, module: Any, grid: Tensor) -> dict[str, list[float]]:
        """First metric of each task that has one, by weights of the grid; negative where lower values are better."""
        firsts = {
            task: next(iter(named.values())) for task, named in module.suites["validation"].by_task().items() if named
        }
        metrics: dict[str, list[TaskMetric]] = {
            task: [deepcopy(metric) for _ in grid] for task, metric in firsts.items()
        }
        (limit,) = trainer.num_val_batches
        batches: Any = trainer.val_dataloaders
        for batch in islice(batches, None if math.isinf(limit) else int(limit)):
            moved = trainer.strategy.batch_to_device(batch)
            with trainer.precision_plugin.val_step_context():
                outputs, _ = module.network.outputs(moved)
                _, targets = module.network.measured(outputs, moved)
            for task, tried in metrics.items():
                predictions = module.network.head(task).predictions(outputs[task], moved.raw)
                for metric, mean in zip(
                    tried, torch.tensordot(grid.to(predictions.dtype), predictions, 1), strict=True
                ):
                    metric.update(mean, targets[task])
        signs = {task: 1 if metric.higher_is_better else -1 for task, metric in firsts.items()}
        return {task: [signs[task] * float(metric.compute()) for metric in tried] for task, tried in metrics.items()}


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
