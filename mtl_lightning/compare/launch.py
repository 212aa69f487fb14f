"""Run the unfinished cells, each in a process of its own."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from mtl_lightning.compare.plan import Cell, Grid
from mtl_lightning.fitting.launch import Program, start
from mtl_lightning.runs.directory import RunDirectory

Report = Callable[[Cell, int, float], None]
"""Called with a cell that has ended, its exit code, and its duration in seconds."""


def finished(path: Path) -> bool:
    """True if a cell's run is complete."""
    return RunDirectory(path).is_complete()


def unfinished(grid: Grid, cells: Sequence[Cell]) -> list[Cell]:
    """Cells whose run is not complete."""
    return [cell for cell in cells if not finished(cell.path(grid.out))]


def arguments(grid: Grid, cell: Cell) -> list[str]:
    """Arguments of the command that starts the cell's run, or resumes it."""
    path = cell.path(grid.out)
    if (path / "config.yaml").is_file():
        return ["fit", f"resume={path}"]
    settings = [*cell.pairs, f"seed={cell.seed}", "run.keep_rows=true", f"run.dir={path}"]
    return ["fit", f"recipe={grid.recipe}", *grid.overrides, *settings]


def command(grid: Grid, cell: Cell) -> str:
    """The cell's command as a line for a shell or a launcher."""
    return shlex.join([sys.executable, "-m", "mtl_lightning", *arguments(grid, cell)])


def launch(grid: Grid, cells: Sequence[Cell], report: Report, program: Program) -> list[Cell]:
    """Run cells, ``grid.jobs`` at a time; the output of each is appended to ``logs/<cell>.log``.

    If an exception ends this function, as a signal does, the running cells are asked to stop: they save, and the next
    call resumes them.

    Args:
        grid: The comparison.
        cells: Cells to run.
        report: Called when a cell has ended.
        program: The command line that trains a cell.

    Returns:
        Cells that failed.
    """
    logs = grid.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // grid.jobs)
    waiting, failed = list(cells), []
    running: dict[Cell, tuple[BaseProcess, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < grid.jobs:
                cell = waiting.pop(0)
                RunDirectory(cell.path(grid.out)).clean()
                process = start(program, arguments(grid, cell), logs / f"{cell.name}.log", threads)
                running[cell] = process, time.monotonic()
            wait([process.sentinel for process, _ in running.values()])
            for cell, (process, since) in list(running.items()):
                if (code := process.exitcode) is not None:
                    del running[cell]
                    failed += [cell] if code else []
                    report(cell, code, time.monotonic() - since)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()
    return failed
