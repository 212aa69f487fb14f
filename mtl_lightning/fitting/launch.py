"""Commands in processes of their own, forked from a server that has imported torch."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # modules that start processes are imported there: --help does without
    from multiprocessing.process import BaseProcess

THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Program:
    """A command line that runs in processes of its own.

    Args:
        main: Its function, which takes the arguments. ``python -m`` must be able to run the module that defines it: a
            run on several devices starts its other processes in this way.
        preload: Modules that take seconds to import. They are imported once, by the process that forks the others.
    """

    main: Callable[[Sequence[str]], None]
    preload: tuple[str, ...] = ()


def start(program: Program, arguments: Sequence[str], log: Path, threads: int) -> "BaseProcess":
    """Start a command in a process that does not need to import torch first.

    The process is forked from a server that has only imported the program's modules, so it starts like a new process.
    When the calling process dies, the command saves and stops. Until then, no other command that writes to the same log
    begins.

    Args:
        program: The command line.
        arguments: Its arguments.
        log: File to which its output is appended.
        threads: Number of torch's threads, unless the environment sets it; the first call decides for the server.
    """
    import multiprocessing

    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    context.set_forkserver_preload([*program.preload, __name__])
    process: BaseProcess = context.Process(target=_run, args=(program, list(arguments), str(log)))
    with _environment(threads):
        process.start()
    return process


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    before = os.environ.get(THREADS)
    os.environ.setdefault(THREADS, str(threads))
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]


def _run(program: Program, arguments: list[str], log: str) -> None:
    from filelock import FileLock

    threading.Thread(target=_stop_with_parent, daemon=True).start()
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Lightning starts the other processes of a run with the command that it reads here.
    module = sys.modules[program.main.__module__]
    sys.modules["__main__"] = module
    sys.argv = [str(module.__file__), *arguments]
    with FileLock(f"{log}.lock"):
        program.main(arguments)


def _stop_with_parent() -> None:
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
