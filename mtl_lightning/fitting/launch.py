"""Commands in processes of their own, forked from a server that has imported torch."""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from filelock import FileLock

Main = Callable[[Sequence[str]], None]
"""The command line's function."""


THREADS = "OMP_NUM_THREADS"


PRELOADED = ["mtl_lightning.fitting.run", "mtl_lightning.fitting.launch"]
"""What takes seconds to import: done once, by the process from which the others are forked."""


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
