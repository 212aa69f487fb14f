"""Table of what a training step costs the host of an accelerator: reads, copies and launches, per component.

No accelerator is needed: tensors of a stand-in (``tests/support/remote_device.py``) count operations and refuse what a
device refuses. The step has a batch of the ``ads`` simulator, MMoE, three tasks, and clipping. One part is replaced per
row. A launch is an operation that runs a kernel; some run two, and a fused optimizer counts once per group.

Usage: ``python benchmarks/device_traffic.py [--write docs/gpu.md]``. With ``--write``, the page's table is replaced.
"""

import argparse
import itertools
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mtl_lightning.batch import Batch
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Schema
from tests.support import device_steps

KINDS = ("weighter", "architecture", "encoder")
"""Kinds of components in the table."""

BEGIN, END = "<!-- table of benchmarks/device_traffic.py -->", "<!-- end of table -->"
"""Lines around the table in a page."""

PARTS = {"weighter": "sum", "architecture": "mmoe", "encoder": "embedding"}
"""Components of a step in which nothing is replaced."""

Row = tuple[str, str, int, int, int]
"""Kind, name, reads, copies, launches."""


def load(directory: str) -> tuple[Schema, list[Batch]]:
    """Return the schema and the first batches of the simulator."""
    data = DataModule(Simulator(rows=1000), batch_size=32, cache_dir=directory)
    data.prepare()
    return data.schema, list(itertools.islice(data.train_dataloader(), 3))


def components() -> list[tuple[str, str]]:
    """Return kind and name of the package's own components."""
    named = [(kind, name) for kind in KINDS for name in registry().names(kind)]
    return [pair for pair in named if registry().resolve(*pair).__module__.startswith("mtl_lightning.")]


def measure(schema: Schema, batches: list[Batch], kind: str, name: str) -> Row:
    """Count the third step of a run with one component replaced."""
    module = device_steps.build(schema, on_device=True, **{**PARTS, kind: name})
    traffic = device_steps.train(module, batches, clip=1.0)
    counts = (traffic.reads, traffic.copies, traffic.launches)
    reads, copies, launches = (sum(counter.values()) for counter in counts)
    return kind, name, reads, copies, launches


def table(rows: Iterator[Row]) -> str:
    """Format rows as Markdown."""
    lines = ["| part | component | reads | copies | launches |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {kind} | `{name}` | {reads} | {copies} | {count} |" for kind, name, reads, copies, count in rows]
    return "\n".join(lines)


def read_table(page: str) -> list[Row]:
    """Return the rows of the table in a page."""
    lines = page.split(BEGIN)[1].split(END)[0].strip().splitlines()[2:]
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    return [(kind, name, int(reads), int(copies), int(count)) for kind, name, reads, copies, count in cells]


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    target: Path | None = parser.parse_args().write
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as directory:
        schema, batches = load(directory)
        written = table(measure(schema, batches, kind, name) for kind, name in components())
    if target is None:
        print(written)
        return
    page = target.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    target.write_text(f"{before}{BEGIN}\n\n{written}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
