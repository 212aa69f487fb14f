"""A command line for tests of processes: it prints how Lightning would start the other processes of a run."""

import sys
from collections.abc import Sequence

from lightning.fabric.strategies.launchers.subprocess_script import _basic_subprocess_cmd


def main(arguments: Sequence[str]) -> None:
    """Print the command, and fail if asked to."""
    print(list(_basic_subprocess_cmd()), flush=True)
    sys.exit(3 if "fail" in arguments else 0)
