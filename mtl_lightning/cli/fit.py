"""The command ``fit``: compose, validate, prepare, train, test."""

import time
from collections.abc import Sequence
from typing import Any

from mtl_lightning.config.pairs import RESERVED, read_arguments
from mtl_lightning.fitting.plan import RunPlan, plan_run
from mtl_lightning.printable import Console
from mtl_lightning.ranks import process_rank
from mtl_lightning.report.render.console import first_console, resume_command, say
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.interrupts import Signals, handled_signals


def fit(pairs: Sequence[str]) -> dict[str, Any] | None:
    """Train a recipe, or resume a run.

    Args:
        pairs: ``recipe=… key=value …``, or ``resume=<run directory>`` with the settings that change. With
            ``init_from=<run directory>`` training is warm-started from that run, with its recipe if none is given.

    Returns:
        :func:`run_summary` and ``seconds``; None on processes other than the first.

    Raises:
        MtlError: If anything is wrong before training starts; nothing is written then.
        Interrupted: On Ctrl-C or SIGTERM, after saving.
        SystemExit: With code 1 if training fails, after printing how to continue.
    """
    started = time.monotonic()
    console = first_console()
    with handled_signals(first_answers=True) as signals:
        request = read_arguments("fit", pairs, optional=RESERVED, settings="all")
        plan = plan_run(request.own.get("recipe"), request.settings, request.own.get("resume"), console)
        if plan.resumed is not None and plan.is_complete and not request.settings:
            _print_result(plan.resumed, console)
            run = plan.resumed
        else:
            run = _fit(plan, signals, console)
            say(console, f"run directory {run.path}, {time.monotonic() - started:.0f} s")
    if process_rank() > 0:
        return None
    return run_summary(run) | {"seconds": time.monotonic() - started}


def run_summary(run: RunDirectory) -> dict[str, Any]:
    """The records of a run that ``--json`` prints.

    Returns:
        ``run``, ``complete``, the last ``validation`` (None without one) and ``test`` (None before an evaluation), as
        in ``metrics.json``.
    """
    from mtl_lightning.runs.records.metrics import read

    record = read(run)
    return {
        "run": str(run.path),
        "complete": record.get("complete", False),
        "validation": record["validations"][-1] if record["validations"] else None,
        "test": record["test"],
    }


def _fit(plan: RunPlan, signals: Signals, console: Console) -> RunDirectory:
    """Train and test; a failure is printed without a traceback."""
    from mtl_lightning.fitting.failures import LostProcessError, TrainingError
    from mtl_lightning.fitting.launched import launch
    from mtl_lightning.fitting.run import fit_run

    try:
        if (launched := launch(plan, console)) is not None:
            return launched
        run, _ = fit_run(plan, signals, console)
    except TrainingError as error:
        # The first process may be the one that is lost, so every other process reports it.
        everywhere = isinstance(error, LostProcessError) and console.quiet
        output = Console(stderr=True, highlight=False, emoji=False) if everywhere else console
        say(output, error.message, "red")
        say(output, error.hint)
        raise SystemExit(1) from error
    return run.directory


def _print_result(run: RunDirectory, console: Console) -> None:
    """Print the metrics of a complete run, and how to train it further."""
    from mtl_lightning.report.render.tables import metrics_table
    from mtl_lightning.runs.records.metrics import read_test

    console.print(metrics_table(read_test(run), "test", "Test"))
    say(console, f"{run.path} is complete; to train it further: {resume_command(run.path)} trainer.max_epochs=…")
