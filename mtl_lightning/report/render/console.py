"""What the commands that run a model have in common on the terminal: who prints, and what Lightning may say."""

import shlex
from pathlib import Path

from rich.markup import escape

from mtl_lightning.plugins import registry
from mtl_lightning.plugins.versions import plugin_changes
from mtl_lightning.printable import Console
from mtl_lightning.ranks import process_rank
from mtl_lightning.runs.directory import RunDirectory


def first_console() -> Console:
    """The terminal for the first process; the others print nothing.

    Example:
        >>> first_console().quiet
        False
    """
    return Console(quiet=process_rank() > 0, highlight=False, emoji=False)


def say(console: Console, text: str, style: str = "") -> None:
    """Print text that may hold anything, brackets included, on one line however long."""
    console.print(escape(text), style=style, soft_wrap=True)


def command(verb: str, *pairs: str) -> str:
    """A command as the user can type it.

    Example:
        >>> command("fit", "resume=runs/my ads/1")
        "python -m mtl_lightning fit 'resume=runs/my ads/1'"
    """
    return shlex.join(["python", "-m", "mtl_lightning", verb, *pairs])


def resume_command(path: Path) -> str:
    """The command that goes on with a run."""
    return command("fit", f"resume={path}")


def warn_of_other_plugins(console: Console, run: RunDirectory) -> None:
    """Say in a line which plugins are not those that the run was made with."""
    changes = plugin_changes(run.load_json("plugins.json") or {}, registry().versions())
    if changes:
        say(console, f"plugins differ from those of {run.path}: {'; '.join(changes)}", "yellow")
