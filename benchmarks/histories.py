"""Cost of a history: preparation and loading with and without it, as ratios within one run.

    python benchmarks/histories.py [rows=1000000] [users=50000] [length=50] [days=30] [folder=]

Each preparation is a process of its own, so that its peak memory is its own. A log is written once, in the order of
time, with ids as Zipf's law has them. Printed are CPU seconds (of all threads) and peak memory of preparation, and the
size of the prepared data. Then come CPU milliseconds of the loader per batch (10th percentile of groups):

- as it yields batches;
- with the places of each row's events copied, as a transfer to a GPU does that holds the events;
- with the events copied, as a transfer to a GPU does that has no memory for them;
- with ids, numbers and gaps made, padded and widened, as an encoder on the CPU reads them.

The last column is the value with a history divided by the value without. The log covers ``days``, in milliseconds.

The log of ``rows=50000000 users=2500000 length=200`` and what is prepared of it take 10 GB below ``folder`` (the
system's folder for temporary files, if it is empty).
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mtl_lightning.data.store.loader import Loader
from mtl_lightning.steps import Steps

BLOCK = 500_000
GROUP = 16
"""Batches that are timed together, as the loader gathers the rows of several."""


def write_log(path: Path, rows: int, users: int, days: int) -> None:
    """Write a log in time order, block by block."""
    rng = np.random.default_rng(0)
    writer = None
    per_row = days * 86_400_000 / rows
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        time_ms = ((start + np.sort(rng.random(count)) * count) * per_row).astype(np.int64)
        columns = {
            "user": (rng.zipf(1.2, count) * 2_654_435_761) % users,
            "item": rng.zipf(1.3, count) % 200_000,
            "author": rng.zipf(1.5, count) % 20_000,
            **{f"c{i}": rng.integers(0, 50, count) for i in range(10)},
            **{f"n{i}": rng.random(count, dtype=np.float32) for i in range(4)},
            "time_ms": time_ms,
            "play_ms": rng.exponential(9000, count),
            "click": rng.integers(0, 2, count),
        }
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def measure(path: str, cache: str, length: int) -> dict[str, float]:
    """Prepare in this process and go through one epoch of the loader; ``length`` 0 is without a history."""
    from mtl_lightning.cli.allocation import keep_freed_memory
    from mtl_lightning.data.datamodule import DataModule
    from mtl_lightning.data.sources.table import Table
    from mtl_lightning.data.store.store import Store

    keep_freed_memory()  # as the commands do
    features = {
        "user": "categorical",
        "item": "categorical",
        "author": "categorical",
        **{f"c{i}": "categorical" for i in range(10)},
        **{f"n{i}": "numeric" for i in range(4)},
    }
    if length:
        features["watched"] = {
            "kind": "history", "by": "user", "time": "time_ms", "of": "item", "where": "click == 1",
            "with": ["author", {"play_ms": "log"}], "gap": True, "length": length,
        }  # fmt: skip
    split = {"by": "time", "column": "time_ms"}
    data = DataModule(
        Table(path=path), features=features, tasks={"click": "binary"}, split=split, cache_dir=cache, batch_size=4096
    )
    started = time.process_time()
    prepared = data.prepare()
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert prepared.path is not None
    size = sum(file.stat().st_size for file in prepared.path.rglob("*.bin")) / 1e6
    loader, store = data.train_dataloader(), prepared.stores["train"]
    # Nothing reads events here, so a device without memory takes the place of a GPU.
    far = {name: events.to(torch.device("meta")) for name, events in store.events.items()}
    placed = Loader(Store(store.schema, store.parts, store.path, far), loader.batch_size, shuffle=True)
    uses: dict[str, tuple[Loader, Callable[[Steps], Any]]] = {
        "batch ms": (loader, lambda _: None),
        "batch, copied": (placed, lambda steps: steps.moved(torch.clone)),
        "with events": (loader, lambda steps: steps.moved(lambda part: part)),
        "batch, read": (loader, lambda steps: steps.map(lambda part: part)),
    }
    spent: dict[str, list[float]] = {name: [] for name in uses}
    for _ in range(3):
        for name, (batches, use) in uses.items():
            started = time.process_time()
            for place, batch in enumerate(batches, 1):
                for steps in batch.steps.values():
                    use(steps)
                if place % GROUP == 0:
                    spent[name].append((time.process_time() - started) / GROUP)
                    started = time.process_time()
    lowest = {name: 1e3 * float(np.quantile(seconds, 0.1)) for name, seconds in spent.items()}
    return {"prepare s": seconds, "prepare MiB": peak, "stored MB": size, **lowest}


def main() -> None:
    """Print the table."""
    options = {"rows": 1_000_000, "users": 50_000, "length": 50, "days": 30}
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
        return
    given = dict(pair.split("=", 1) for pair in sys.argv[1:])
    place = given.pop("folder", "") or None
    options |= {name: int(value) for name, value in given.items()}
    with tempfile.TemporaryDirectory(dir=place) as folder:
        log = Path(folder) / "log.parquet"
        write_log(log, options["rows"], options["users"], options["days"])
        result = []
        for length in (0, options["length"]):
            command = [sys.executable, __file__, "measure", str(log), f"{folder}/cache-{length}", str(length)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result.append(json.loads(output.splitlines()[-1]))
    print(f"{options['rows']:,} rows, {options['users']:,} users, {options['days']} days, length {options['length']}")
    print(f"{'':13} {'without':>10} {'with':>10} {'ratio':>7}")
    for name, without in result[0].items():
        print(f"{name:13} {without:10.2f} {result[1][name]:10.2f} {result[1][name] / without:7.2f}")


if __name__ == "__main__":
    main()
