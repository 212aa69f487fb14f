"""This package's Trainer, and a bare torch loop with the same model and optimizer, on the rows of rows.py.

Usage: ``python ours.py CONTENDER ROWS VOCABULARY BATCH THREADS [weighter [tasks [every]]]`` prints a JSON line.

``ours`` is the Trainer with progress bar, per-task logging and checkpoints; ``bare`` has none of them, and its tensors
in memory. Both keep freed memory, as commands do.
"""

import json
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from rows import CATEGORICAL, EXPERT_HIDDEN, EXPERTS, LR, NUMERIC, TOWER_HIDDEN, WIDTH, make

from mtl_lightning.build import build_module
from mtl_lightning.cli.allocation import keep_freed_memory
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.data.store.store import Store
from mtl_lightning.schema import Field, Schema, Task
from mtl_lightning.training.module import MultiTaskModule
from mtl_lightning.training.optimizer import build_optimizer
from mtl_lightning.training.step import global_counts


def store(rows: int, vocabulary: int, tasks: int) -> Store:
    """Store of the rows, in memory."""
    data = make(rows, vocabulary, tasks)
    fields = [
        Field(name=f"c{i}", kind="categorical", size=size + 2, table=f"c{i}") for i, size in enumerate(data.sizes)
    ]
    fields += [Field(name=f"n{i}", kind="numeric") for i in range(NUMERIC)]
    schema = Schema(tuple(fields), tuple(Task(name=f"t{i}", kind="binary", label=f"t{i}") for i in range(tasks)))
    parts = {
        "ids": torch.from_numpy(data.ids + 2).int(),
        "dense": torch.from_numpy(data.dense),
        "labels": torch.from_numpy(data.labels),
        "mask": torch.ones(rows, tasks, dtype=torch.bool),
    }
    return Store(schema, parts)


def module(schema: Schema, weighter: dict) -> MultiTaskModule:
    """Model of the benchmark."""
    return build_module(
        schema,
        encoder={"name": "embedding", "width": WIDTH, "numeric": "plain"},
        architecture={"name": "mmoe", "experts": EXPERTS, "hidden": EXPERT_HIDDEN},
        heads={task.name: {"name": "binary", "hidden": TOWER_HIDDEN} for task in schema.tasks},
        weighter=weighter,
        optimizer={"lr": LR},
    )


def now() -> tuple[float, float]:
    """Seconds by the clock, and processor time, which is less sensitive to other programs."""
    return time.perf_counter(), time.process_time()


def bare(data: Store, model: MultiTaskModule, batch_size: int) -> tuple[float, float]:
    """Seconds of one epoch of a plain loop."""
    network = model.network
    tables = network.encoder.table_parameters()
    ids = {id(table) for table in tables}
    dense = [p for p in network.parameters() if id(p) not in ids]
    optimizer = build_optimizer(model.optimizer_config, dense, [], tables)
    network.train()
    start = now()
    order = torch.randperm(len(data))
    for first in range(0, len(data), batch_size):
        batch = data.batch(order[first : first + batch_size])
        losses, _ = network.losses(batch, global_counts(batch))
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
    return since(start)


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Seconds by the clock and processor time since ``start``."""
    ended = now()
    return ended[0] - start[0], ended[1] - start[1]


def ours(data: Store, model: MultiTaskModule, batch_size: int) -> tuple[float, float]:
    """Seconds of one epoch of a run with everything that is on by default."""
    from lightning.pytorch import Callback, Trainer
    from rich.console import Console

    from mtl_lightning.fitting.checkpointing import Checkpoints
    from mtl_lightning.report.training.events import EventLog
    from mtl_lightning.report.training.terminal import Terminal
    from mtl_lightning.runs.checkpoint import AtomicCheckpointIO

    class Clock(Callback):
        def on_train_epoch_start(self, trainer, module):
            self.start = now()

        def on_train_epoch_end(self, trainer, module):
            self.seconds = since(self.start)

    folder = Path(tempfile.mkdtemp())
    clock, terminal = Clock(), Terminal()
    terminal._console = Console(file=sys.stderr, force_terminal=True)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=EventLog(folder),
        use_distributed_sampler=False,
        callbacks=[clock, terminal, Checkpoints(folder)],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, Loader(data, batch_size, shuffle=True))
    return clock.seconds


if __name__ == "__main__":
    contender, rows, vocabulary, batch_size, threads = sys.argv[1], *map(int, sys.argv[2:6])
    weighter = {"name": sys.argv[6] if len(sys.argv) > 6 else "sum"}
    tasks = int(sys.argv[7]) if len(sys.argv) > 7 else 3
    if len(sys.argv) > 8:
        weighter["every"] = int(sys.argv[8])
    warnings.simplefilter("ignore")
    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    assert CATEGORICAL == 16
    data = store(rows, vocabulary, tasks)
    seconds = {"bare": bare, "ours": ours}[contender](data, module(data.schema, weighter), batch_size)
    record = {
        "contender": contender,
        "weighter": weighter["name"],
        "every": weighter.get("every", 1),
        "tasks": tasks,
        "vocabulary": vocabulary,
        "batch": batch_size,
        "samples_per_s": rows / seconds[0],
        "samples_per_cpu_s": rows / seconds[1],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(record))
