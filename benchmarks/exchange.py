"""Bytes and time of the exchange of table rows, modelled for many processes, next to sharded tables.

Usage: ``python benchmarks/exchange.py [--measure] [--into docs/distributed.md]``

The model has the bandwidths and latencies of :class:`Machine`, which are declared and not measured. ``--measure``
checks its byte counts on two gloo processes of this machine, and prints their time.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass
from math import ceil, log2
from pathlib import Path

import into
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from mtl_lightning.training.exchange import RowExchange

WORLDS = (8, 64, 512)
WIDTHS = (16, 64)


@dataclass(frozen=True)
class Machine:
    """Nodes of equal devices. Bandwidths are bytes per second and device, latencies seconds per hop."""

    per_node: int = 8
    local: float = 300e9
    network: float = 45e9
    local_latency: float = 3e-6
    network_latency: float = 8e-6
    merge: float = 140e9


@dataclass(frozen=True)
class Load:
    """Lookups of a process per step."""

    rows: int = 8192
    ids: int = 16
    width: int = 16
    half: bool = False

    @property
    def entries(self) -> int:
        return self.rows * self.ids

    @property
    def entry(self) -> int:
        """Bytes of an entry on the way: a row's number and its values."""
        return 4 + (2 if self.half else 4) * self.width


def flat(load: Load, world: int, machine: Machine) -> tuple[float, float]:
    """Bytes that a process receives, and seconds, of a single gather and the merge."""
    received = (world - 1) * load.entries * load.entry
    within = world <= machine.per_node
    speed, hop = (machine.local, machine.local_latency) if within else (machine.network, machine.network_latency)
    merged = world * load.entries * (4 + 4 * load.width)
    return received, received / speed + hop * ceil(log2(world)) + merged / machine.merge


def by_node(load: Load, world: int, machine: Machine) -> tuple[float, float]:
    """Bytes that a process receives from other nodes, and seconds, of the exchange node by node."""
    inside, nodes = machine.per_node, ceil(world / machine.per_node)
    full = load.entries * (4 + 4 * load.width)
    part = load.entries * load.entry
    across = (nodes - 1) * part
    local = (inside - 1) * (full + nodes * part)
    hops = 2 * ceil(log2(inside)) * machine.local_latency + ceil(log2(nodes)) * machine.network_latency
    merged = (inside + inside * nodes) * full
    return across, across / machine.network + local / machine.local + hops + merged / machine.merge


def sharded(load: Load, world: int, machine: Machine) -> tuple[float, float]:
    """Bytes that a process receives, and seconds, of tables that are distributed over all processes."""
    value = (2 if load.half else 4) * load.width
    received = load.entries * (8 + 2 * value) * (world - 1) / world
    away = max(world - machine.per_node, 0) / max(world - 1, 1)
    hop = machine.network_latency if away else machine.local_latency
    seconds = received * (away / machine.network + (1 - away) / machine.local) + 3 * hop * ceil(log2(world))
    return received, seconds


def table(machine: Machine) -> str:
    """The table of the page."""
    lines = [
        "| width | processes | one gather | node by node, between nodes | the same in bf16 | sharded tables |",
        "|---|---|---|---|---|---|",
    ]
    for width in WIDTHS:
        for world in WORLDS:
            load, half = Load(width=width), Load(width=width, half=True)
            cells = [flat(load, world, machine)]
            if world > machine.per_node:
                cells += [by_node(load, world, machine), by_node(half, world, machine)]
            shown = [_cell(*cell) for cell in cells] + ["–"] * (3 - len(cells))
            lines.append(f"| {width} | {world} | {' | '.join([*shown, _cell(*sharded(load, world, machine))])} |")
    return "\n".join([*lines, "", *(crossover(width, machine) for width in WIDTHS)])


def crossover(width: int, machine: Machine) -> str:
    """Sentence about the number of processes from which on sharded tables are faster than both exchanges."""
    load = Load(width=width)
    ahead = {}
    for nodes in (1, 2, 4, 8, 16, 32, 64):
        world = nodes * machine.per_node
        best = min(way(load, world, machine)[1] for way in (flat, by_node)[: min(nodes, 2)])
        ahead[world] = best / sharded(load, world, machine)[1]
    ratios = ", ".join(f"{ratio:.1f} ({world})" for world, ratio in ahead.items())
    return f"- Width {width}: time of the faster exchange, in times of sharded tables, by processes: {ratios}."


def _cell(received: float, seconds: float) -> str:
    return f"{received / 1e6:,.0f} MB, {seconds * 1e3:.1f} ms"


def measure(rank: int, port: int) -> None:
    """Exchange on two processes, compare the bytes with the model's, and print them with the time."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    parameter = nn.Parameter(torch.zeros(1_000_000, 16))
    for half in (False, True):
        load = Load(half=half)
        exchange, seconds = RowExchange(values="bfloat16" if half else "full"), []
        for _ in range(6):
            parameter.grad = gradient(load, rank)
            started = time.perf_counter()
            sent = exchange(parameter)
            seconds.append(time.perf_counter() - started)
        if sent != load.entries * load.entry:
            raise SystemExit(f"{sent} bytes were sent, and the model has {load.entries * load.entry}")
        if rank == 0:
            kind = "bfloat16" if half else "float32"
            print(f"2 gloo processes, {kind}: {sent:,} bytes each, as modelled; {min(seconds) * 1e3:.1f} ms")
    dist.destroy_process_group()


def gradient(load: Load, rank: int) -> Tensor:
    """A gradient without equal rows, so that a CPU sends as many entries as a device does."""
    rows = torch.arange(load.entries).mul(3).add(rank).unsqueeze(0)
    return torch.sparse_coo_tensor(
        rows, torch.ones(load.entries, load.width), (1_000_000, load.width), check_invariants=False
    )


def main() -> None:
    """Print the table, and measure if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="check the byte counts on two gloo processes")
    into.add_option(parser, "docs/distributed.md")
    arguments = parser.parse_args()
    into.show(table(Machine()), "exchange", arguments.into)
    if arguments.measure:
        spawn(measure, (29_000 + os.getpid() % 900,), nprocs=2)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
