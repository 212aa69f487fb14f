"""Time of a step with ``optimizer.compile``, bf16-mixed, fused optimizers, or a thread that gathers the next batch.

The model of benchmarks/results/performance.md is trained in a plain loop, so that nothing else is timed. Variants take
turns, round by round. Each prints a JSON line with the median milliseconds of a step and of waiting for its batch; a
table follows.

Usage: ``python benchmarks/trunk.py [--into benchmarks/results/performance.md]``, one thread.
"""

import argparse
import json
import queue
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import into
import torch

sys.path.insert(0, str(Path(__file__).parent / "speed"))
from ours import LR, TOWER_HIDDEN, WIDTH, store
from rows import EXPERT_HIDDEN, EXPERTS

from mtl_lightning.batch import Batch
from mtl_lightning.build import build_module
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.training.step import global_counts

VOCABULARY = 10_000
SIZES = {2048: (5, 15), 256: (7, 40)}
"""Batch size: rounds, and steps of a round."""
PLAIN = "plain (float32, fused AdamW)"
VARIANTS = {
    PLAIN: {},
    "`optimizer.compile=true`": {"compiled": True},
    "`trainer.precision=bf16-mixed`": {"bf16": True},
    "both": {"compiled": True, "bf16": True},
    "`optimizer.fused=false`": {"fused": False},
    "next batch gathered by a thread": {"prefetch": True},
}


def prefetch(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the same batches, gathered one step ahead by a thread."""
    ready: queue.Queue[Batch | None] = queue.Queue(maxsize=1)

    def gather() -> None:
        for batch in batches:
            ready.put(batch)
        ready.put(None)

    threading.Thread(target=gather, daemon=True).start()
    while (batch := ready.get()) is not None:
        yield batch


class Variant:
    """Model and optimizer of a variant; training continues from round to round."""

    def __init__(self, data, batch_size, *, compiled=False, bf16=False, fused=True, prefetch=False):
        self.loader = Loader(data, batch_size, shuffle=True)
        self.module = build_module(
            data.schema,
            encoder={"name": "embedding", "width": WIDTH, "numeric": "plain"},
            architecture={"name": "mmoe", "experts": EXPERTS, "hidden": EXPERT_HIDDEN},
            heads={task.name: {"name": "binary", "hidden": TOWER_HIDDEN} for task in data.schema.tasks},
            optimizer={"lr": LR, "compile": compiled, "fused": fused},
        ).train()
        self.optimizer = self.module.configure_optimizers()
        self.bf16, self.prefetch = bf16, prefetch

    def epoch(self) -> tuple[float, float]:
        """Milliseconds per step, in total and of waiting for the batch."""
        network, waited, steps = self.module.network, 0.0, 0
        batches = iter(self.loader)
        batches = prefetch(batches) if self.prefetch else batches
        begin = mark = time.perf_counter()
        for batch in batches:
            waited += time.perf_counter() - mark
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                losses, _ = network.losses(batch, global_counts(batch))
                objective = torch.stack(losses).sum()
            self.optimizer.zero_grad()
            objective.backward()
            self.optimizer.step()
            steps += 1
            mark = time.perf_counter()
        return 1e3 * (time.perf_counter() - begin) / steps, 1e3 * waited / steps


def measure(batch_size: int, rounds: int, steps: int) -> dict[str, float]:
    """Milliseconds per step of each variant."""
    data = store(batch_size * steps, VOCABULARY, 3)
    variants = {name: Variant(data, batch_size, **options) for name, options in VARIANTS.items()}
    for variant in variants.values():
        variant.epoch()
    measured = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            measured[name].append(variant.epoch())
    medians = {}
    for name, results in measured.items():
        medians[name], waited = (statistics.median(column) for column in zip(*results, strict=True))
        record = {
            "variant": name,
            "batch": batch_size,
            "step_ms": round(medians[name], 2),
            "waiting_ms": round(waited, 3),
        }
        print(json.dumps(record), flush=True)
    return medians


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    into.add_option(parser, "benchmarks/results/performance.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    started = time.monotonic()
    medians = {batch_size: measure(batch_size, *size) for batch_size, size in SIZES.items()}
    lines = [f"| variant | {' | '.join(f'batch {size}, ms | of plain' for size in SIZES)} |", "|---" * 5 + "|"]
    for name in VARIANTS:
        cells = [f"{medians[size][name]:.1f} | {medians[size][name] / medians[size][PLAIN]:.2f}" for size in SIZES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    into.show("\n".join([into.stamp(started), "", *lines]), "trunk", arguments.into)


if __name__ == "__main__":
    main()
