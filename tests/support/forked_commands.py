"""Commands in real processes that are forked from one with torch in it: a second each instead of eight."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mtl_lightning.cli.app import PROGRAM, main


def run_forked(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], plugin: Path, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever ends it.

    Args:
        arguments: After ``python -m mtl_lightning``.
        folder: Its working directory.
        environment: Added variables; those that torch reads when it is imported have no effect.
        plugin: Directory of a plugin that it finds.
        timeout: Seconds after which it is killed.

    Returns:
        Its exit code (negative: a signal), and what it printed, all of it as ``stdout``.
    """
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PROGRAM.preload, "forked_commands"])
    log = folder / "forked.log"
    log.unlink(missing_ok=True)
    process = context.Process(target=_run, args=(list(arguments), folder, dict(environment), plugin, log))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"{' '.join(arguments)}: {log.read_text()}")
    return subprocess.CompletedProcess(arguments, process.exitcode, log.read_text(), "")


def _run(arguments: list[str], folder: Path, environment: dict[str, str], plugin: Path, log: Path) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    os.chdir(folder)
    sys.path.insert(0, str(plugin))
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    main(arguments)
