"""The command ``test``: the best weights of a run on its test split."""

from collections.abc import Sequence
from typing import Any

from mtl_lightning.cli.fit import run_summary
from mtl_lightning.cli.run_arguments import open_run
from mtl_lightning.config import read_arguments
from mtl_lightning.errors import MtlError
from mtl_lightning.ranks import process_rank
from mtl_lightning.report.render.console import first_console, say
from mtl_lightning.runs.interrupts import Interrupted, handled_signals


def test(pairs: Sequence[str]) -> dict[str, Any] | None:
    """Evaluate a run on its test split, and count the evaluation.

    Args:
        pairs: ``run=<run directory>`` and settings that change.

    Returns:
        :func:`~mtl_lightning.cli.fit.run_summary`; None on processes other than the first.

    Raises:
        MtlError: If the run can't be opened, or has no test split.
        Interrupted: On Ctrl-C or SIGTERM; nothing is recorded then.
    """
    console = first_console()
    with handled_signals(first_answers=True) as signals:
        run, config = open_run(read_arguments("test", pairs, ["run"], settings="dotted"), console)

        from mtl_lightning.fitting import children, steps
        from mtl_lightning.fitting.observers import evaluation_observers
        from mtl_lightning.report.training.terminal import quiet_lightning

        quiet_lightning()
        data = steps.prepare_data(config, run)
        if not len(data.prepared.stores.get("test", ())):
            raise MtlError("there is no test split", "set split.test")
        module = steps.build_model(config, data)
        callbacks = evaluation_observers(config, data, run, signals)
        trainer = steps.connect_trainer(config, module, callbacks)
        signals.abandon = lambda: children.end(trainer, patience=0)
        weights = run.weights()
        try:
            metrics = steps.evaluate(trainer, module, data, weights)
        except Interrupted:
            children.end(trainer, ask=True)
            raise
        children.leave()
    if process_rank() > 0:
        return None
    count = steps.record_test(run, data.schema, metrics, weights.name, console)
    if count > 1:
        say(console, f"evaluated {count} times by now: choose between runs on validation, not on this", "yellow")
    return run_summary(run)
