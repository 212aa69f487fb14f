"""Loading by one of many simulated processes: processor time per row of its own, in a shuffled epoch.

Usage: ``python loading.py [rows=8000000] [batch=1024] [turns=2] [directory=…]``

The Store has 135 bytes a row in five matrices. For 1, 8, 64 and 512 processes, the one in the middle loads its part of
an epoch, with one thread. Printed are nanoseconds per row, the least of the turns, and the ratio to one process. Orders
that are drawn as a whole stop after 20 steps of pools, since a process reads all of them.
"""

import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtl_lightning.data.datamodule import POOL
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.data.store.store import Store
from mtl_lightning.data.store.writer import StoreWriter
from mtl_lightning.schema import Schema

USUAL = {"rows": 8_000_000, "batch": 1024, "turns": 2}
WORLDS = (1, 8, 64, 512)
WAYS: dict[str, dict[str, Any]] = {
    "in memory, `array`": {},
    "in memory, `function`": {"function": True},
    "pools, `array`": {"pool": POOL},
    "pools, `function`": {"pool": POOL, "function": True},
}


def write(path: Path, rows: int) -> Store:
    """A Store of random values."""
    draw = np.random.default_rng(0)
    with StoreWriter(path) as writer:
        for start in range(0, rows, 1 << 17):
            count = min(1 << 17, rows - start)
            ids, steps = (draw.integers(0, 1000, (count, width), dtype=np.int32) for width in (16, 4))
            dense, labels = (draw.random((count, width), dtype=np.float32) for width in (10, 3))
            matrices = {"ids": ids, "dense": dense, "labels": labels, "mask": labels < 1, "sequence/steps": steps}
            writer.write(matrices)
    return Store.open(path, Schema((), ()))


def nanoseconds(store: Store, batch: int, world: int, options: dict[str, Any]) -> float:
    """Processor time per row."""
    loader = Loader(store, batch, shuffle=True, seed=1, rank=world // 2, world=world, **options)
    most = 20 if options == WAYS["pools, `array`"] and world > 1 else None
    start = time.process_time()
    rows = sum(len(part) for part in islice(loader, most))
    return (time.process_time() - start) / rows * 1e9


def main() -> None:
    given = dict(pair.split("=", 1) for pair in sys.argv[1:])
    rows, batch, turns = (int(given.get(name, usual)) for name, usual in USUAL.items())
    torch.set_num_threads(1)
    path = Path(given.get("directory") or tempfile.mkdtemp()) / f"store-{rows}"
    store = Store.open(path, Schema((), ())) if path.exists() else write(path, rows)
    print("| order |", " | ".join(f"{world} process{'es' * (world > 1)}" for world in WORLDS), "|\n" + "|---" * 5 + "|")
    for name, options in WAYS.items():
        least = [min(nanoseconds(store, batch, world, options) for _ in range(turns)) for world in WORLDS]
        print(f"| {name} |", " | ".join(f"{time:,.0f} ({time / least[0]:.2f})" for time in least), "|", flush=True)


if __name__ == "__main__":
    main()
