"""Commands of the package: in this process, in a process that is awaited, and in one that keeps running."""

import os
import subprocess
from pathlib import Path

import pytest
from warm_python import warm_python

from mtl_lightning.cli.app import main


def command(*arguments: str) -> int:
    """Run a command in this process and return its exit code."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def environment_of(folder: Path) -> dict[str, str]:
    """Environment of commands in other processes: one thread, and a cache below the folder."""
    return {**os.environ, "MTL_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


def run_command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m mtl_lightning …`` in a folder to its end, whatever its exit code."""
    return subprocess.run(
        [warm_python(), "-m", "mtl_lightning", *arguments],
        cwd=folder,
        env=environment_of(folder) | environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def start_command(folder: Path, *arguments: str, python: str | None = None) -> subprocess.Popen[str]:
    """Start ``python -m mtl_lightning …`` in a folder; its output, including errors, is its ``stdout``."""
    return subprocess.Popen(
        [python or warm_python(), "-m", "mtl_lightning", *arguments],
        cwd=folder,
        env=environment_of(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
