"""Runs that commands work on."""

from mtl_lightning.config import Arguments, Config, compose, validate
from mtl_lightning.printable import Console
from mtl_lightning.report.render.console import say, warn_of_other_plugins
from mtl_lightning.runs.directory import RunDirectory


def open_run(arguments: Arguments, console: Console, *, rows: bool = True) -> tuple[RunDirectory, Config]:
    """Open the run of a command that works on one, and read its configuration.

    Args:
        arguments: Arguments with ``run`` and the settings that change (``data.eval_batch_size=…``, ``trainer.…``).
        console: Where to print warnings.
        rows: Whether the command reads the run's own rows. Otherwise the rows may be gone.

    Returns:
        The run directory, and the run's configuration with the changes of the command line.

    Raises:
        MtlError: If the directory is not a run directory, or a setting is wrong.
    """
    run = RunDirectory.open(arguments.own["run"])
    run.weights()
    composed = compose(str(run.config_file), arguments.settings)
    for note in composed.notes:
        say(console, note, "yellow")
    config = validate(composed.plain, rows=rows)
    warn_of_other_plugins(console, run)
    return run, config
