"""Runs the cells that are left, each in a process of its own."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mtl_lightning.compare.plan import Cell, Grid
from mtl_lightning.rundir import RunDir

POLL_SECONDS = 0.1


def finished(path: Path) -> bool:
    """Whether a cell's run is complete: its test split was evaluated, which is the last thing that ``fit`` does."""
    return bool((RunDir(path).load_json("metrics.json") or {}).get("test"))


def arguments(grid: Grid, cell: Cell) -> list[str]:
    """The cell's command after ``python -m mtl_lightning``: one that begins it, or one that goes on with it."""
    path = cell.path(grid.out)
    if (path / "config.yaml").is_file():
        return ["fit", f"resume={path}"]
    own = [*cell.pairs, f"seed={cell.seed}", "run.keep_rows=true", f"run.dir={path}"]
    return ["fit", f"recipe={grid.recipe}", *grid.overrides, *own]


def command(grid: Grid, cell: Cell) -> str:
    """The cell's command as a line for a shell or a launcher."""
    return shlex.join([sys.executable, "-m", "mtl_lightning", *arguments(grid, cell)])


def launch(grid: Grid, left: Sequence[Cell], tell: Callable[[Cell, int, float], None]) -> list[Cell]:
    """Run cells, ``grid.jobs`` at a time; what each one prints goes to ``logs/<cell>.log``.

    When this process is asked to stop (an exception passes through), the running cells are asked too: they save, and
    the next launch goes on with them.

    Args:
        grid: What is compared.
        left: Cells to run.
        tell: Called with a cell, its exit code and seconds when it has ended.

    Returns:
        Cells that failed.
    """
    logs = grid.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, (os.cpu_count() or 1) // grid.jobs))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    waiting, failed = list(left), []
    running: dict[Cell, tuple[subprocess.Popen[bytes], float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < grid.jobs:
                cell = waiting.pop(0)
                RunDir(cell.path(grid.out)).clean()
                with (logs / f"{cell.name}.log").open("ab") as log:
                    process = subprocess.Popen(
                        [sys.executable, "-m", "mtl_lightning", *arguments(grid, cell)],
                        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment,
                    )  # fmt: skip
                running[cell] = process, time.monotonic()
            for cell, (process, since) in list(running.items()):
                if (code := process.poll()) is not None:
                    del running[cell]
                    failed += [cell] if code else []
                    tell(cell, code, time.monotonic() - since)
            time.sleep(POLL_SECONDS)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.wait()
    return failed
