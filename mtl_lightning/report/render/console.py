"""Messages of commands on the terminal, printed by the first process only."""

import shlex
from pathlib import Path

from rich.markup import escape

from mtl_lightning.plugins import registry
from mtl_lightning.plugins.versions import plugin_changes
from mtl_lightning.printable import Console
from mtl_lightning.ranks import process_rank
from mtl_lightning.runs.directory import RunDirectory


def first_console() -> Console:
    """Console of the first process; other processes print nothing.

    Example:
        >>> first_console().quiet
        False
    """
    return Console(quiet=process_rank() > 0, highlight=False, emoji=False)


def say(console: Console, text: str, style: str = "") -> None:
    """Print text literally, including brackets, on one line of any length."""
    console.print(escape(text), style=style, soft_wrap=True)


def command(verb: str, *pairs: str) -> str:
    """Shell command of this package, quoted.

    Example:
        >>> command("fit", "resume=runs/my ads/1")
        "python -m mtl_lightning fit 'resume=runs/my ads/1'"
    """
    return shlex.join(["python", "-m", "mtl_lightning", verb, *pairs])


def resume_command(path: Path) -> str:
    """Shell command that resumes a run."""
    return command("fit", f"resume={path}")


def warn_of_other_plugins(console: Console, run: RunDirectory) -> None:
    """Print a line with the plugins whose versions differ from those recorded in the run directory."""
    changes = plugin_changes(run.load_json("plugins.json") or {}, registry().versions())
    if changes:
        say(console, f"plugins have changed since the run {run.path}: {'; '.join(changes)}", "yellow")
