"""Runs the cells that are left, each in a process of its own."""

import importlib
import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from filelock import FileLock

from mtl_lightning.compare.plan import Cell, Grid
from mtl_lightning.rundir import RunDir

Main = Callable[[Sequence[str]], None]
"""The command line's function."""

THREADS = "OMP_NUM_THREADS"
PRELOADED = ["mtl_lightning.cli.training", "mtl_lightning.compare.launch"]
"""What takes seconds to import: done once, by the process from which the others are forked."""


def finished(path: Path) -> bool:
    """Whether a cell's run is complete."""
    return RunDir(path).is_complete()


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


def start(main: Main, given: Sequence[str], log: Path, threads: int) -> BaseProcess:
    """Start a command in a process that needn't import torch first.

    It is forked from a server that has imported it and done nothing else, so that it starts as a new process does. When
    this process dies, it saves and stops; until then nothing else that writes to the same log begins.

    Args:
        main: The command line's function.
        given: Its arguments.
        log: Where to append what it prints.
        threads: Of torch, unless the environment says otherwise; the first call decides for the server.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    context.set_forkserver_preload(PRELOADED)
    process: BaseProcess = context.Process(target=_run, args=(main, list(given), str(log)))
    with _environment(threads):
        process.start()
    return process


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    given = os.environ.get(THREADS)
    os.environ.setdefault(THREADS, str(threads))
    try:
        yield
    finally:
        if given is None:
            del os.environ[THREADS]


def _run(main: Main, given: list[str], log: str) -> None:
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # A run on several devices starts its other processes by the command that it finds here.
    program = importlib.import_module("mtl_lightning.__main__")
    sys.modules["__main__"] = program
    sys.argv = [str(program.__file__), *given]
    with FileLock(f"{log}.lock"):
        main(given)


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


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
                RunDir(cell.path(grid.out)).clean()
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
