"""A run directory opened again, to test it or to predict with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtl_lightning.config import Config, compose, validate
from mtl_lightning.config.pairs import split_pair
from mtl_lightning.errors import MtlError, did_you_mean
from mtl_lightning.printable import Console
from mtl_lightning.report.render.console import say, warn_of_other_plugins
from mtl_lightning.runs.directory import RunDirectory


@dataclass(frozen=True)
class Opened:
    """A run and how it is to be used.

    Args:
        run: The directory.
        config: The run's configuration with the command line's changes.
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
) -> Opened:
    """Read the arguments of a command that works on a run.

    Args:
        verb: The command, for errors.
        pairs: Its arguments: own keys, and settings that change (``data.eval_batch_size=…``, ``trainer.…``).
        needed: Own keys that must be given.
        optional: Own keys that may be given.
        console: Where to print warnings.
        rows: Whether the command reads the run's own rows: without, they needn't be there any more.

    Raises:
        MtlError: If an argument is missing or unknown, or the directory holds no run.
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
    return Opened(run, config, named)
