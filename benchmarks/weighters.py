"""What each weighter costs: step time relative to ``sum``, and peak memory.

Usage: ``python benchmarks/weighters.py [--batch 2048] [--tasks 3] [--trunk] [--turns 8] [--memory] [names …]``. Prints
one JSON line per weighter and interval. Weighters take turns, a few steps each, so that whatever else the machine does
falls on all of them; the ratio is the median over turns. Memory is measured in a process per weighter.

The model is an MMoE of 8 experts [128, 64], towers [32], 16 categorical features of width 16 and 4 numeric; with
``--trunk`` a shared bottom whose trunk [256, 128] lies below the seam.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from mtl_lightning.batch import Batch
from mtl_lightning.build import build_module
from mtl_lightning.interfaces import Weighter
from mtl_lightning.optim import OptimizerConfig, build_optimizer
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Field, Schema, Task
from mtl_lightning.step import Step, global_counts
from mtl_lightning.weighters.gramian import GramianWeighter

VOCABULARY, STEPS = 10_000, 8  # FAMO looks at each 8th step


class Problem:
    """One batch, one model, one optimizer, for all weighters."""

    def __init__(self, batch: int, tasks: int, trunk: bool) -> None:
        torch.manual_seed(0)
        fields = [Field(name=f"c{i}", kind="categorical", size=VOCABULARY, table=f"c{i}") for i in range(16)]
        fields += [Field(name=f"n{i}", kind="numeric") for i in range(4)]
        self.schema = Schema(
            tuple(fields), tuple(Task(name=f"t{i}", kind="binary", label=f"t{i}") for i in range(tasks))
        )
        self.batch = Batch(
            schema=self.schema,
            ids=torch.randint(2, VOCABULARY, (batch, 16)),
            dense=torch.randn(batch, 4),
            labels=torch.randint(0, 2, (batch, tasks)).float(),
            mask=torch.ones(batch, tasks, dtype=torch.bool),
        )
        encoder = {"name": "embedding", "width": 16, "numeric": "plain", **({"hidden": [256, 128]} if trunk else {})}
        experts = {"name": "mmoe", "experts": 8, "hidden": [128, 64]}
        self.module = build_module(
            self.schema, encoder=encoder, architecture={"name": "shared_bottom"} if trunk else experts
        )
        tables = self.module.network.encoder.table_parameters()
        kept = {id(table) for table in tables}
        dense = [p for p in self.module.network.parameters() if id(p) not in kept]
        self.optimizer = build_optimizer(OptimizerConfig(), dense, [], tables)
        self.index = 0

    def step(self, weighter: Weighter) -> None:
        """One training step."""
        losses, z = self.module.network.losses(self.batch, global_counts(self.batch))
        weighter(Step(losses, z, tasks=weighter.tasks, index=self.index, seed=0)).backward()
        self.optimizer.step()
        self.module.zero_grad()
        weighter.zero_grad()
        if weighter.needs_losses_after_step:
            with torch.no_grad():
                losses, _ = self.module.network.losses(self.batch, global_counts(self.batch))
            weighter.after_step(torch.stack(losses))
        self.index += 1


def build(name: str, every: int, tasks: tuple[str, ...]) -> Weighter:
    """A weighter with its defaults, at an interval if it is not 1."""
    made: Weighter = registry().resolve("weighter", name)(tasks, **({"every": every} if every > 1 else {}))
    return made


def memory(arguments: argparse.Namespace, name: str, every: int) -> float:
    """Peak memory of a process that trains with one weighter, in MB."""
    command = [sys.executable, __file__, "--alone", f"{name}:{every}", "--batch", str(arguments.batch)]
    command += ["--tasks", str(arguments.tasks), *(["--trunk"] if arguments.trunk else [])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--trunk", action="store_true")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--alone", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problem = Problem(arguments.batch, arguments.tasks, arguments.trunk)
    tasks = tuple(problem.schema.task_index)
    if arguments.alone:
        name, every = arguments.alone.split(":")
        weighter = build(name, int(every), tasks)
        for _ in range(6):
            problem.step(weighter)
        # Not ru_maxrss: a child starts with its parent's.
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
        return
    cases = [("sum", 1)]
    for name in arguments.names or [each for each in registry().names("weighter") if each != "sum"]:
        cases.append((name, 1))
        if issubclass(registry().resolve("weighter", name), GramianWeighter):
            cases.append((name, 4))
    weighters = {case: build(*case, tasks) for case in cases}
    times: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for turn in range(arguments.turns):
        for case, weighter in weighters.items():
            problem.index = turn * STEPS
            start = time.perf_counter()
            for _ in range(STEPS):
                problem.step(weighter)
            times[case].append((time.perf_counter() - start) / STEPS)
    base, least = times["sum", 1][1:], memory(arguments, "sum", 1) if arguments.memory else 0.0
    for (name, every), seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[1:], base, strict=True))
        record = {
            "weighter": name,
            "every": every,
            "batch": arguments.batch,
            "tasks": arguments.tasks,
            "trunk": arguments.trunk,
            "rows_per_second": round(arguments.batch / statistics.median(seconds[1:])),
            "times_sum": round(ratio, 2),
        }
        if arguments.memory:
            record["memory_times_sum"] = round(memory(arguments, name, every) / least, 2)
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
