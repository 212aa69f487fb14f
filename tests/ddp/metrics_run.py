"""Computes every metric on this process's share of a log.

Usage: ``python metrics_run.py OUT.json`` with torchrun's variables.
"""

import json
import pkgutil
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from mtl_lightning.interfaces import Target, Task
from mtl_lightning.plugins.builtin import METRICS

TASKS = (
    Task(name="click", kind="binary", label="click", oracle="p"),
    Task(name="dwell", kind="regression", label="dwell"),
    Task(name="topic", kind="multiclass", label="topic", classes=3),
    Task(name="effect", kind="uplift", label="click", oracle="p"),
    Task(name="actions", kind="multilabel", label="actions", oracle="p", classes=3),
)
ROWS = 1201


def chances(p: torch.Tensor) -> dict[str, torch.Tensor]:
    """True probabilities of the binary task, and of each label of the multilabel one."""
    return {"p": p, **{f"p.actions.{label}": p ** (label + 1) for label in range(3)}}


def log(task: Task) -> tuple[torch.Tensor, Target]:
    """Predictions and targets of all rows, the same on every process."""
    random = torch.Generator().manual_seed(0)
    p = torch.rand(ROWS, generator=random).double() ** 3
    user = torch.randint(0, 90, (ROWS,), generator=random)
    mask, weight = torch.rand(ROWS, generator=random) < 0.8, torch.rand(ROWS, generator=random)
    classes = torch.rand(ROWS, 3, generator=random)
    label, prediction = {
        "binary": ((torch.rand(ROWS, generator=random) < p)[:, None], (p * 40).round() / 40),
        "regression": (user[:, None] / 9, user / 10 + p),
        "multiclass": (user[:, None] % 3, classes.softmax(1)),
        "uplift": ((torch.rand(ROWS, generator=random) < p)[:, None], (p * 40).round() / 40),
        "multilabel": (classes > 0.7, torch.rand(ROWS, 3, generator=random)),
    }[task.kind]
    target = Target(label=label.float(), mask=mask, weight=weight, group=user, raw=chances(p))
    if task.kind == "regression":
        levels = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
        target.details = {"quantiles": prediction[:, None] * 2 * levels, "levels": levels.expand(ROWS, -1)}
    if task.kind == "uplift":
        target.details = {"treatment": torch.arange(ROWS) % 2.0}
    return prediction, target


def results(rank: int, world: int) -> dict[str, float]:
    """All metrics; the last process has the fewest rows, and none at all of some batches."""
    values = {}
    share = torch.arange(ROWS)
    if world > 1:
        borders = [0, *(ROWS - 7 ** (world - 1 - i) for i in range(world - 1)), ROWS]
        share = share[borders[rank] : borders[rank + 1]]
    for name, path in METRICS.items():
        cls = pkgutil.resolve_name(path)
        for task in TASKS:
            if task.kind not in cls.kinds:
                continue
            for options in ({}, {"exact": True}) if "auc" in name and hasattr(cls, "curve") else ({},):
                metric = cls(task, **options)
                prediction, target = log(task)
                for rows in share.split(100):
                    part = Target(
                        label=target.label[rows],
                        mask=target.mask[rows],
                        weight=target.weight[rows],
                        group=target.group[rows],
                        raw={column: values[rows] for column, values in target.raw.items()},
                        details={column: values[rows] for column, values in target.details.items()},
                    )
                    metric.update(prediction[rows], part)
                values[f"{name} {task.kind} {options}"] = metric.compute().item()
                if name == "ece":
                    for column, points in metric.points().items():
                        values |= {f"reliability {column} {i}": point for i, point in enumerate(points)}
                metric.reset()
    return values


def empty(rank: int) -> list[float]:
    """A metric of each way of reduction where only process 0 has rows."""
    values = []
    for name, options in (("auc", {}), ("auc", {"exact": True}), ("gauc", {}), ("r2", {}), ("xauc", {})):
        task = TASKS[1] if name in ("r2", "xauc") else TASKS[0]
        metric = pkgutil.resolve_name(METRICS[name])(task, **options)
        if rank == 0:
            metric.update(*log(task))
        values.append(metric.compute().item())
    return values


if __name__ == "__main__":
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    Path(f"{sys.argv[1]}.{rank}").write_text(json.dumps([results(rank, world), empty(rank)]))
    dist.destroy_process_group()
