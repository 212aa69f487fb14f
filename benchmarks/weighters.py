"""Cost of each weighter: samples per second, step time relative to ``sum``, and peak memory.

Usage: ``python benchmarks/weighters.py [--into docs/weighters/README.md] [--turns 5] [names …]``, about nine minutes
for all on one core. Prints a JSON line per weighter, case and interval, then the table.

Weighters take turns, a few steps each, so that other programs slow all of them down alike; a ratio is the median over
turns. Memory is measured in a process per weighter. The model is an MMoE of 8 experts [128, 64], towers [32], 16
categorical features of width 16 and 4 numeric ones, with 3 and 8 tasks. A third case is a shared bottom whose trunk
[256, 128] is below z.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import into
import torch

from mtl_lightning.batch import Batch
from mtl_lightning.build import build_module
from mtl_lightning.interfaces import Weighter
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.builtin import WEIGHTERS
from mtl_lightning.schema import Field, Schema, Task
from mtl_lightning.training.optimizer import OptimizerConfig, build_optimizer
from mtl_lightning.training.step import Step, global_counts
from mtl_lightning.weighters.bases.gramian import GramianWeighter
from mtl_lightning.weighters.bases.jacobian import JacobianWeighter

VOCABULARY, BATCH = 10_000, 2048
CASES = {"3 tasks": (3, False, 8), "8 tasks": (8, False, 4), "trunk below z": (3, True, 8)}
"""Number of tasks, position of the trunk (below z), and steps per turn: FAMO evaluates losses at every 8th step."""
Times = dict[tuple[str, int], tuple[float, float]]
"""Samples per second, and time relative to ``sum``, by weighter and interval."""


class Problem:
    """Batch, model and optimizer for all weighters."""

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
        table_ids = {id(table) for table in tables}
        dense = [p for p in self.module.network.parameters() if id(p) not in table_ids]
        self.optimizer = build_optimizer(OptimizerConfig(), dense, [], tables)
        self.index = 0

    def step(self, weighter: Weighter) -> None:
        """Take a training step."""
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
    """Build a weighter with its defaults and an interval."""
    weighter: Weighter = registry().resolve("weighter", name)(tasks, **({"every": every} if every > 1 else {}))
    return weighter


def memory(name: str) -> float:
    """Peak memory of a process that trains with a weighter, in MB."""
    command = [sys.executable, __file__, "--alone", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def alone(name: str) -> float:
    """Peak memory of this process after a few steps with a weighter, in MB."""
    problem = Problem(BATCH, 3, trunk=False)
    weighter = build(name, 1, tuple(problem.schema.task_index))
    for _ in range(6):
        problem.step(weighter)
    # Not ru_maxrss, which a child inherits from its parent.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def of_gradients(name: str) -> bool:
    """True for weighters that use the gradient of each task."""
    return issubclass(registry().resolve("weighter", name), JacobianWeighter | GramianWeighter)


def times(names: list[str], case: str, turns: int) -> Times:
    """Measure weighters in turns; weighters of losses only in the first case."""
    tasks, trunk, steps = CASES[case]
    problem = Problem(BATCH, tasks, trunk)
    chosen = [name for name in names if name != "sum" and (of_gradients(name) or case == next(iter(CASES)))]
    cases = [("sum", 1), *((name, 1) for name in chosen)]
    cases += [(name, 4) for name in chosen if issubclass(registry().resolve("weighter", name), GramianWeighter)]
    weighters = {key: build(*key, tuple(problem.schema.task_index)) for key in cases}
    taken: dict[tuple[str, int], list[float]] = {key: [] for key in cases}
    for turn in range(turns + 1):
        for key, weighter in weighters.items():
            problem.index = turn * steps
            start = time.perf_counter()
            for _ in range(steps):
                problem.step(weighter)
            taken[key].append((time.perf_counter() - start) / steps)
    figures: Times = {}
    for (name, every), seconds in taken.items():  # the first turn is a warm-up
        ratio = statistics.median(a / b for a, b in zip(seconds[1:], taken["sum", 1][1:], strict=True))
        figures[name, every] = BATCH / statistics.median(seconds[1:]), ratio
        record = {"weighter": name, "case": case, "every": every, "samples_per_s": round(figures[name, every][0])}
        print(json.dumps(record | {"times_sum": round(ratio, 3)}), flush=True)
    return figures


def table(names: list[str], measured: dict[str, Times], peaks: dict[str, float]) -> str:
    """Table in Markdown."""
    pairs = [(case, every) for case in CASES for every in (1, 4)]
    heads = [f"{case}{', `every: 4`' if every == 4 else ''}" for case, every in pairs]
    first = next(iter(CASES))
    lines = [
        "| weighter | samples/s | " + " | ".join(heads) + " | peak MB | of `sum` |",
        "|---" * (len(heads) + 4) + "|",
    ]
    for name in names:
        cells = [f"{measured[first][name, 1][0]:,.0f}"]
        for case, every in pairs:
            cells.append(f"×{measured[case][name, every][1]:.2f}" if (name, every) in measured[case] else "–")
        cells += [f"{peaks[name]:,.0f}", f"{peaks[name] / peaks['sum']:.2f}"]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="weighters, all by default")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--alone", default="", help=argparse.SUPPRESS)
    into.add_option(parser, "docs/weighters/README.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.alone:
        print(alone(arguments.alone))
        return
    if arguments.into and arguments.names:
        parser.error("--into requires all weighters")
    started = time.monotonic()
    names = sorted({"sum", *(arguments.names or WEIGHTERS)})
    measured = {case: times(names, case, arguments.turns) for case in CASES}
    peaks = {name: memory(name) for name in names}
    into.show(f"{into.stamp(started)}\n\n{table(names, measured, peaks)}", "weighters", arguments.into)


if __name__ == "__main__":
    main()
