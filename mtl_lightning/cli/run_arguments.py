"""Arguments of the commands that work on an existing run."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtl_lightning.config import Config, compose, validate
from mtl_lightning.config.pairs import split_pair
from mtl_lightning.errors import MtlError, did_you_mean
from mtl_lightning.printable import Console
from mtl_lightning.report.render.console import say, warn_of_other_plugins
from mtl_lightning.runs.directory import RunDirectory


@dataclass(frozen=True)
class RunArguments:
    """A run, and the arguments of the command that works on it.

    Args:
        run: The run directory.
        config: The run's configuration with the changes of the command line.
        named: Values of the command's own keys.
    """

    run: RunDirectory
    config: Config
    named: dict[str, str]


def open_run(
    verb: str,
    pairs: Sequence[str],
    needed: Sequence[str],
    optional: Sequence[str],
    console: Console,
    *,
    rows: bool = True,
) -> RunArguments:
    """Read the arguments of a command that works on a run, and open the run.

    Args:
        verb: Name of the command, for errors.
        pairs: Its arguments: own keys, and settings that change (``data.eval_batch_size=…``, ``trainer.…``).
        needed: Own keys that are required.
        optional: Own keys that are optional.
        console: Where to print warnings.
        rows: Whether the command reads the run's own rows. Otherwise the rows may be gone.

    Raises:
        MtlError: If an argument is missing or unknown, or the directory is not a run directory.
    """
    named: dict[str, str] = {}
    overrides = []
    for pair in pairs:
        key, value = split_pair(pair)
        if key in (*needed, *optional):
            named[key] = value
        elif "." not in key:
            raise MtlError(f"{verb}: unknown argument {key!r}", did_you_mean(key, [*needed, *optional]))
        else:
            overrides.append(pair)
    for key in needed:
        if not named.get(key):
            raise MtlError(f"{verb} needs {key}=", f"{verb} " + " ".join(f"{name}=…" for name in needed))
    run = RunDirectory.open(named["run"])
    run.weights()
    composed = compose(str(run.config_file), overrides)
    for note in composed.notes:
        say(console, note, "yellow")
    config = validate(composed.plain, rows=rows)
    warn_of_other_plugins(console, run)
    return RunArguments(run, config, named)
