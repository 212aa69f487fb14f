"""Runs the cells that are left, each in a process of its own."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from mtl_lightning.compare.plan import Cell, Grid
from mtl_lightning.fitting.launch import Main, start
from mtl_lightning.runs.directory import RunDirectory


def finished(path: Path) -> bool:
    """Whether a cell's run is complete."""
    return RunDirectory(path).is_complete()


def unfinished(grid: Grid, cells: Sequence[Cell]) -> list[Cell]:
    """Cells whose run isn't complete."""
    return [cell for cell in cells if not finished(cell.path(grid.out))]


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


def launch(grid: Grid, left: Sequence[Cell], tell: Callable[[Cell, int, float], None], main: Main) -> list[Cell]:
    """Run cells, ``grid.jobs`` at a time; what each one prints goes to ``logs/<cell>.log``.

    When this process is asked to stop (an exception passes through), the running cells are asked too: they save, and
    the next launch goes on with them.

    Args:
        grid: What is compared.
        left: Cells to run.
        tell: Called with a cell, its exit code and seconds when it has ended.
        main: The command line's function.

    Returns:
        Cells that failed.
    """
    logs = grid.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // grid.jobs)
    waiting, failed = list(left), []
    running: dict[Cell, tuple[BaseProcess, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < grid.jobs:
                cell = waiting.pop(0)
                RunDirectory(cell.path(grid.out)).clean()
                process = start(main, arguments(grid, cell), logs / f"{cell.name}.log", threads)
                running[cell] = process, time.monotonic()
            wait([process.sentinel for process, _ in running.values()])
            for cell, (process, since) in list(running.items()):
                if (code := process.exitcode) is not None:
                    del running[cell]
                    failed += [cell] if code else []
                    tell(cell, code, time.monotonic() - since)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()
    return failed
