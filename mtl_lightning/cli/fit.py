"""The command ``fit``: compose, validate, prepare, train, test."""

import time
from collections.abc import Sequence
from contextlib import ExitStack

from mtl_lightning.config import compose, read_pairs, validate
from mtl_lightning.errors import MtlError
from mtl_lightning.printable import Console
from mtl_lightning.ranks import process_rank
from mtl_lightning.report.render.console import first_console, resume_command, say, warn_of_other_plugins
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.interrupts import Interrupted, Signals


def fit(pairs: Sequence[str]) -> None:
    """Train a recipe, or go on with a run.

    Args:
        pairs: ``recipe=… key=value …``, or ``resume=<run directory>`` with the settings that change; with
            ``init_from=<run directory>`` training starts from that run, by its recipe if none is named.

    Raises:
        MtlError: If anything is wrong before training starts; nothing is left behind then.
        Interrupted: On Ctrl-C or SIGTERM, after saving.
        SystemExit: With code 1 if training fails, after saying how to go on.
    """
    console = first_console()
    signals = Signals()
    signals.install()
    try:
        _fit(pairs, signals, console)
    except Interrupted:
        # The first process's exit code is the answer; Lightning would take another's for a failure and kill it.
        if process_rank() > 0:
            raise SystemExit(0) from None
        raise
    finally:
        signals.restore()


def _fit(pairs: Sequence[str], signals: Signals, console: Console) -> None:
    started = time.monotonic()
    request = read_pairs(pairs)
    if request.resume and request.recipe:
        raise MtlError("fit takes recipe= or resume=, not both", "a run directory holds its recipe")
    run = RunDirectory.open(request.resume) if request.resume else None
    init_from = next((pair.partition("=")[2] for pair in request.overrides if pair.startswith("init_from=")), None)
    if run is not None and init_from:
        raise MtlError("fit takes init_from= or resume=, not both", "a run that goes on has started already")
    recipe, overrides = str(run.config_file) if run else request.recipe, request.overrides
    base = RunDirectory.open(init_from) if init_from else None
    if base is not None and recipe is None:  # the same recipe as yesterday, in a directory of its own
        recipe, overrides = str(base.config_file), ("run.dir=null", *overrides)
    composed = compose(recipe, overrides)
    for note in composed.notes:
        say(console, note, "yellow")
    config = validate(composed.plain)
    if run is not None and _finished(run, request.overrides, console):
        return
    if run is not None:
        warn_of_other_plugins(console, run)

    from mtl_lightning.fitting.children import leave
    from mtl_lightning.fitting.run import Training

    named = run or (base if not request.recipe else None)
    name = (named.load_json("recipe.json") if named else None) or composed.recipe
    with ExitStack() as held:
        if run is not None and process_rank() == 0:
            run.hold()
            held.callback(run.release)
        training = Training(config, name, run, signals, console)
        if training.run_dir is not None:
            held.callback(training.run_dir.release)
        training.run()
        if config.run.test:
            training.test()
    leave()
    say(console, f"run directory {training.path}, {time.monotonic() - started:.0f} s")


def _finished(run: RunDirectory, overrides: Sequence[str], console: Console) -> bool:
    """Say so if there is nothing left to do."""
    if overrides or not run.is_complete():
        return False
    from mtl_lightning.report.render.tables import metrics_table
    from mtl_lightning.runs.records.metrics import read

    test = read(run)["test"]
    values = {name: float("nan") if value is None else value for name, value in test["metrics"].items()}
    console.print(metrics_table(values, "test", "Test"))
    say(console, f"{run.path} is complete; to train it further: {resume_command(run.path)} trainer.max_epochs=…")
    return True
