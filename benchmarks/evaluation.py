"""Time of metrics over predictions in a file, compared with reading the file and with torchmetrics.

Usage: ``python benchmarks/evaluation.py [ROWS] [--into benchmarks/results/performance.md]``, one thread;
10 million rows by default.

Writes a parquet file of users, labels and probabilities, reads it batch by batch like an evaluation, and prints a
Markdown table. For each metric over the same batches it shows:

- seconds, and multiples of the time of reading, by the clock and by processor time (less sensitive to other programs);
- memory of the metric's state;
- seconds and difference of torchmetrics, if it has the metric.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import into
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error
from torchmetrics.metric import Metric

from mtl_lightning.interfaces import Target, Task
from mtl_lightning.plugins import registry

BATCH, USERS, RATE = 65_536, 500_000, 0.05
TASK = Task(name="click", kind="binary", label="click", mean=RATE)
METRICS = (
    ("auc", {}),
    ("auc", {"exact": True}),
    ("log_loss", {}),
    ("calibration", {}),
    ("ece", {}),
    ("pr_auc", {}),
    ("gauc", {}),
)


def write(path: Path, rows: int) -> None:
    """Write rows whose labels are drawn from their probabilities; positives are rare."""
    random = np.random.default_rng(0)
    logit = random.normal(np.log(RATE / (1 - RATE)) - 0.5, 1.0, rows)
    chance = 1 / (1 + np.exp(-logit))
    columns = {
        "user": random.integers(0, USERS, rows),
        "label": (random.random(rows) < chance).astype(np.float32),
        "probability": chance.astype(np.float32),
    }
    pq.write_table(pa.table(columns), path, row_group_size=1 << 20)


def batches(path: Path) -> Iterator[tuple[torch.Tensor, Target]]:
    """Read the file as batches of predictions and targets."""
    for batch in pq.ParquetFile(path).iter_batches(BATCH, use_threads=False):
        user, label, probability = (torch.from_numpy(batch.column(i).to_numpy().copy()) for i in range(3))
        known = torch.ones(len(user), dtype=torch.bool)
        yield probability, Target(label=label.unsqueeze(1), mask=known, group=user)


def timed(run: Callable[[], object]) -> tuple[object, float, float]:
    """Result of a function, and its seconds by the clock and by processor time."""
    start, used = time.perf_counter(), time.process_time()
    return run(), time.perf_counter() - start, time.process_time() - used


def held(metric: Metric) -> int:
    """Number of bytes in a metric's state."""
    states = [getattr(metric, name) for name in metric._defaults]
    tensors = [part for state in states for part in (state if isinstance(state, list) else [state])]
    return sum(part.numel() * part.element_size() for part in tensors)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=int, nargs="?", default=10_000_000)
    into.add_option(parser, "benchmarks/results/performance.md")
    arguments = parser.parse_args()
    rows, started = arguments.rows, time.monotonic()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.parquet"
        write(path, rows)
        _, reading, reading_cpu = timed(lambda: [None for _ in batches(path)])
        read = list(batches(path))
    score = torch.cat([probability for probability, _ in read])
    label = torch.cat([target.label[:, 0] for _, target in read]).long()
    torch.set_default_dtype(torch.float64)  # in which torchmetrics divides its counts
    theirs = {
        "auc": timed(lambda: binary_auroc(score, label)),
        "ece": timed(lambda: binary_calibration_error(score, label, n_bins=15)),
    }
    torch.set_default_dtype(torch.float32)
    heads = "metric", "seconds", "of reading", "by processor time", "state, MB", "torchmetrics, seconds", "difference"
    table = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, options in METRICS:
        metric = registry().resolve("metric", name)(TASK, **options)

        def run(metric: Metric = metric) -> torch.Tensor:
            for probability, target in read:
                metric.update(probability, target)
            value: torch.Tensor = metric.compute()
            return value

        value, seconds, cpu = timed(run)
        shown = f"{name}, exact" if options else name
        there, difference = "–", "–"
        if name in theirs:
            other, taken, _ = theirs[name]
            there, difference = f"{taken:.2f}", f"{abs(float(value) - float(other)):.1e}"  # type: ignore[arg-type]
        ratios = f"{seconds / reading:.2f}", f"{cpu / reading_cpu:.2f}"
        cells = shown, f"{seconds:.2f}", *ratios, f"{held(metric) / 1e6:.1f}", there, difference
        table.append(f"| {' | '.join(cells)} |")
    said = f"{into.stamp(started)} Reading {rows / 1e6:g} million rows takes {reading:.2f} s."
    into.show("\n".join([said, "", *table]), "evaluation", arguments.into)


if __name__ == "__main__":
    main()
