"""Computes sliced metrics and a threshold on this process's share of a log.

Usage: ``python slices_run.py OUT`` with torchrun's variables.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from metrics_run import ROWS, TASKS, log

from mtl_lightning.build import build_metrics
from mtl_lightning.metrics.counting.thresholds import Thresholds, best_edge, decisions
from mtl_lightning.metrics.slices import SlicedSuite
from mtl_lightning.schema import Schema

VALUES = ("first", "last process only", "nobody")


def results(rank: int, world: int) -> dict:
    schema = Schema((), (TASKS[0], TASKS[1]), raw=("p",))
    suite, seen = SlicedSuite(schema, build_metrics(schema), VALUES), Thresholds()
    part = torch.zeros(ROWS, dtype=torch.int64)
    part[-50:] = 1
    share = torch.arange(ROWS)[-40:] if rank else torch.arange(ROWS)[: ROWS - 40]
    share = share if world > 1 else torch.arange(ROWS)
    logs = {task.name: log(task) for task in schema.tasks}
    for rows in share.split(100):
        predictions = {name: prediction[rows] for name, (prediction, _) in logs.items()}
        targets = {
            name: replace(
                item,
                label=item.label[rows],
                mask=item.mask[rows],
                weight=item.weight[rows],
                group=item.group[rows],
                raw={"p": item.raw["p"][rows]},
            )
            for name, (_, item) in logs.items()
        }
        suite.update(predictions, targets, part[rows])
        seen.update(predictions["click"], targets["click"])
    counts = seen.counts()
    edge = best_edge(counts)
    flat = {"edge": float(edge), **decisions(counts, edge)}
    for value, result in suite.compute().items():
        flat |= {f"{value}/{name}": number for name, number in result["metrics"].items()}
        flat |= {f"{value}/rows/{task}": float(number) for task, number in result["rows"].items()}
    return flat


if __name__ == "__main__":
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    Path(f"{sys.argv[1]}.{rank}").write_text(json.dumps(results(rank, world)))
    dist.destroy_process_group()
