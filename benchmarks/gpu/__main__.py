"""Training speed on a GPU: rows from the device and from the host, a bare loop, torch-rechub, and a lower bound.

    python benchmarks/gpu [--batches 8192 65536] [--steps 100] [--precision bf16-mixed] [--rechub PYTHON]

Rows, model and torch-rechub's environment are the ones of ``benchmarks/speed``. Printed per batch size and contender:

- samples per second, by the clock, after steps that are not counted;
- kernel milliseconds per step, and the share of the time in which the GPU runs no kernel, by torch's profiler;
- peak memory of torch on the GPU.

The roofline is the least time of a step: its matrix products at ``--tflops``, or reading and writing its batch, table
rows and weights at ``--gbytes`` per second, whichever is longer. Activations are not counted, so no program reaches
it. The defaults are float32 and memory of an H200, from its data sheet.

Without a GPU the program runs on the CPU, as a check that it works. It then says that its figures are none of a GPU.
"""

import argparse
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

sys.path.append(str(Path(__file__).parents[1] / "speed"))
from ours import module, store
from rows import CATEGORICAL, WIDTH

from mtl_lightning.analysis.cost import batch_flops
from mtl_lightning.data.store.device_store import DeviceStores
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.data.store.store import Store
from mtl_lightning.training.optimizer import build_optimizer
from mtl_lightning.training.step import global_counts
from mtl_lightning.training.transfer import pack_batch

VOCABULARY, WARM, PROFILED = 1_000_000, 5, 10
HERE = Path(__file__).parents[1] / "speed"


class Meter(Callback):
    """Clock and profiler of the steps after the first ones."""

    def __init__(self, steps: int, batch: int, device: torch.device) -> None:
        self.steps, self.batch, self.device = steps, batch, device
        self.count, self.start, self.seconds, self.kernel = 0, 0.0, 0.0, 0.0
        self.profiler: Any = None

    @property
    def total(self) -> int:
        """Number of steps to take."""
        return WARM + self.steps + (PROFILED if self.device.type == "cuda" else 0)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def on_train_batch_end(self, *_: object) -> None:
        """Count a step."""
        self.count += 1
        if self.count == WARM:
            self.start = self._now()
        if self.count == WARM + self.steps:
            self.seconds = (self._now() - self.start) / self.steps
            if self.device.type == "cuda":
                self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
                self.profiler.__enter__()
        if self.profiler is not None and self.count == self.total:
            self._now()
            self.profiler.__exit__(None, None, None)
            averages = self.profiler.key_averages()
            self.kernel = sum(event.self_device_time_total for event in averages) / 1e6 / PROFILED

    def row(self, name: str) -> str:
        """A line of the table."""
        cells = [name, f"{self.batch / self.seconds:,.0f}", "–", "–", "–"]
        if self.device.type == "cuda":
            memory = torch.cuda.max_memory_allocated(self.device) / 2**20
            idle = max(1 - self.kernel / self.seconds, 0)
            cells[2:] = [f"{1e3 * self.kernel:.3f}", f"{idle:.0%}", f"{memory:,.0f}"]
        return f"| {self.batch:,} | {' | '.join(cells)} |"


def bare(data: Store, model: Any, meter: Meter, precision: str) -> None:
    """A plain loop over rows on the device."""
    network = model.network.to(meter.device).train()
    tables = network.encoder.table_parameters()
    known = {id(table) for table in tables}
    dense = [parameter for parameter in network.parameters() if id(parameter) not in known]
    optimizer = build_optimizer(model.optimizer_config, dense, [], tables)
    parts = {name: part.to(meter.device) for name, part in data.parts.items()}
    mixed = torch.autocast(meter.device.type, torch.bfloat16, enabled=precision == "bf16-mixed")
    while meter.count < meter.total:
        order = torch.randperm(len(data), device=meter.device)
        for rows in order.split(meter.batch)[: min(len(data) // meter.batch, meter.total - meter.count)]:
            batch = data.packed({name: part.index_select(0, rows) for name, part in parts.items()})
            with mixed:
                losses, _ = network.losses(batch, global_counts(batch))
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
            meter.on_train_batch_end()


def trained(data: Store, model: Any, meter: Meter, precision: str, place: Any) -> None:
    """This package's Trainer."""
    on_device = DeviceStores(meter.device, place).get("train", data)
    pack = partial(pack_batch, device=meter.device, training=True)
    ahead = 4 if meter.device.type == "cuda" else 0
    loader = Loader(data, meter.batch, shuffle=True, on_device=on_device, pack=pack, ahead=ahead)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    accelerator = "gpu" if meter.device.type == "cuda" else "cpu"
    chosen: Any = precision
    options: dict[str, Any] = {"accelerator": accelerator, "devices": 1, "precision": chosen, **quiet}
    Trainer(max_steps=meter.total, callbacks=[meter], use_distributed_sampler=False, **options).fit(model, loader)


def roofline(data: Store, model: Any, batch: int, tflops: float, gbytes: float) -> str:
    """The least time of a step, as a line of the table."""
    rows = data.batch(slice(0, batch))
    flops = batch_flops(model, rows)
    tables = {id(table) for table in model.network.encoder.table_parameters()}
    dense = sum(part.numel() for part in model.network.parameters() if id(part) not in tables)
    # A weight of AdamW: itself and two moments read and written, and its gradient. A value of a table: read, its
    # gradient written and read, updated.
    moved = sum(part[:batch].numel() * part.element_size() for part in data.parts.values())
    moved += 4 * (7 * dense + 5 * batch * CATEGORICAL * WIDTH)
    seconds = max(flops / tflops / 1e12, moved / gbytes / 1e9)
    limit = "products" if flops / tflops / 1e12 >= moved / gbytes / 1e9 else "memory"
    return f"| {batch:,} | roofline ({limit}) | {batch / seconds:,.0f} | {1e3 * seconds:.3f} | 0% | – |"


def rechub(python: str, rows: int, batch: int, device: torch.device) -> str:
    """torch-rechub in its own environment, as a line of the table."""
    command = [python, "peers.py", "rechub", str(rows), str(VOCABULARY), str(batch), "1", device.type]
    ended = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    speed = float(ended.stdout.rsplit('"samples_per_s": ', 1)[1].split(",")[0])
    return f"| {batch:,} | torch-rechub | {speed:,.0f} | – | – | – |"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[8_192, 65_536])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rows", type=int, help="default: 32 of the largest batches")
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--tf32", action="store_true", help="products in TF32, as runs on a GPU")
    parser.add_argument("--tflops", type=float, default=67.0)
    parser.add_argument("--gbytes", type=float, default=4_800.0)
    parser.add_argument("--rechub", help="python of an environment with torch-rechub")
    given = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cpu":
        print("There is no GPU here. The program runs on the CPU to show that it works: these figures say nothing.")
    if given.tf32:
        torch.set_float32_matmul_precision("high")
    data = store(given.rows or 32 * max(given.batches), VOCABULARY, 3)
    contenders: dict[str, Callable[..., None]] = {
        "this package, rows on the device": partial(trained, place="device"),
        "this package, rows on the host": partial(trained, place="host"),
        "a bare loop, rows on the device": bare,
    }
    print(f"{given.precision}{', TF32' if given.tf32 else ''}; {device.type}; torch {torch.__version__}\n")
    print("| batch | contender | samples/s | kernel ms | idle | MiB |\n|---|---|---|---|---|---|")
    for batch in given.batches:
        for name, run in contenders.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            meter = Meter(given.steps, batch, device)
            run(data, module(data.schema, {"name": "sum"}), meter, given.precision)
            print(meter.row(name), flush=True)
        if given.rechub:
            print(rechub(given.rechub, len(data), batch, device), flush=True)
        print(roofline(data, module(data.schema, {"name": "sum"}), batch, given.tflops, given.gbytes), flush=True)


if __name__ == "__main__":
    main()
