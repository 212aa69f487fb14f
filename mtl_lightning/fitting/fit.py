"""Train and evaluate from Python with one call: ``mtl_lightning.fit("ads", "architecture=ple")``."""

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtl_lightning.config.pairs import split_pair
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.errors import MtlError
from mtl_lightning.fitting.launched import launch
from mtl_lightning.fitting.plan import RunPlan, plan_run
from mtl_lightning.fitting.run import fit_run
from mtl_lightning.fitting.steps import build_model, prepare_data
from mtl_lightning.markup import fragment, table
from mtl_lightning.printable import Console
from mtl_lightning.report.render.console import first_console
from mtl_lightning.report.render.tables import by_task, number
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.interrupts import Interrupted, handled_signals
from mtl_lightning.runs.records.metrics import read_test
from mtl_lightning.runs.resumption import load_weights
from mtl_lightning.training.module import MultiTaskModule

RECIPE_KEYS = ("recipe", "resume")


@dataclass(frozen=True)
class FitResult:
    """A trained run.

    Args:
        run: Its directory, which the commands ``test``, ``predict`` and ``export`` take as ``run=``.
        module: Its Lightning module with the best weights, in evaluation mode, on the CPU.
        data: Its data.
        metrics: Metrics of the test split by task and name; empty without a test split or with ``run.test=false``.
        score: The weighted score of the tasks' first metrics; NaN without metrics.
    """

    run: RunDirectory
    module: MultiTaskModule
    data: DataModule
    metrics: dict[str, dict[str, float]]
    score: float

    def _repr_html_(self) -> str:
        """Metrics of the test split and the parts of the module, for notebooks."""
        rows = [
            [f"{task} {name}", number(value)] for task, named in self.metrics.items() for name, value in named.items()
        ]
        return fragment(
            f"Run {self.run.path}, test score {number(self.score)}",
            table(["metric", "test"], rows),
            self.module._repr_html_(),
        )


def fit(
    recipe: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *pairs: str,
    quiet: bool = False,
    **settings: Any,
) -> FitResult:
    """Train a recipe, and evaluate its best weights on the test split: the command ``fit`` for Python.

    The run gets a directory as it does from the command line, so that it can be resumed, tested, exported and compared.

    Args:
        recipe: Name of a recipe, path of its file, or its content as a mapping. It may be omitted with
            ``init_from=<run directory>``, which then supplies it.
        pairs: Settings as the command line takes them: ``"architecture=ple"``, ``"trainer.max_epochs=1"``.
        quiet: Print nothing. Warnings are issued all the same.
        settings: Settings by keyword, with plain values: ``architecture="ple"``, ``trainer={"max_epochs": 1}``. They
            come after ``pairs``, and a mapping changes only the settings that it lists.

    Returns:
        The run with its module, data and metrics.

    Raises:
        MtlError: If a setting, the data or the run directory is wrong (nothing is written then), or if training fails.
        KeyboardInterrupt: On Ctrl-C, after saving at the end of a step. SIGTERM saves as well and ends the process.

    Note:
        Signal handlers are installed for the call only, and only in the main thread.

        With ``trainer.strategy=ddp``, Lightning starts the calling script again in every further process: each of
        them gets the same metrics, and the first one writes. Use ``ddp_spawn`` in a script whose code is below
        ``if __name__ == "__main__"``, and ``ddp_notebook`` in a notebook.

    Example:
        >>> import tempfile
        >>> import mtl_lightning
        >>> small = {"trainer": {"max_epochs": 1, "accelerator": "cpu"}, "data": {"cache_dir": tempfile.mkdtemp()}}
        >>> result = mtl_lightning.fit("ads", "source.rows=1000", run={"dir": tempfile.mkdtemp()}, quiet=True, **small)
        >>> sorted(result.metrics), result.run.best.name
        (['click', 'conversion', 'dwell'], 'best.ckpt')
    """
    source = os.fspath(recipe) if isinstance(recipe, os.PathLike) else recipe
    if isinstance(source, str) and "=" in source and not Path(source).exists():
        raise MtlError(f"the first argument is a recipe, not {source!r}", 'write fit("ads", "key=value")')
    return _fit(source, [*pairs, *_pairs_of(settings)], None, quiet)


def resume(
    directory: str | os.PathLike[str] | RunDirectory, /, *pairs: str, quiet: bool = False, **settings: Any
) -> FitResult:
    """Resume a run from its last checkpoint: the command ``fit resume=…`` for Python.

    A complete run is only opened, unless a setting changes.

    Args:
        directory: The run directory.
        pairs: Settings that change, as for :func:`fit`: ``"trainer.max_epochs=10"`` trains a complete run further.
        quiet: As for :func:`fit`; so are the errors.
        settings: Settings by keyword, as for :func:`fit`.

    Example:
        ``mtl_lightning.resume("runs/ads/20260101-120000", trainer={"max_epochs": 10})``
    """
    path = str(directory.path) if isinstance(directory, RunDirectory) else os.fspath(directory)
    return _fit(None, [*pairs, *_pairs_of(settings)], path, quiet)


def _fit(recipe: str | Mapping[str, Any] | None, pairs: Sequence[str], resumed: str | None, quiet: bool) -> FitResult:
    for key, _ in map(split_pair, pairs):
        if key in RECIPE_KEYS:
            raise MtlError(f"{key}= is not a setting", 'write fit("ads", …) or resume("runs/ads/…", …)')
    console = Console(quiet=True) if quiet else first_console()
    try:
        with handled_signals(first_answers=True) as signals:
            plan = plan_run(recipe, pairs, resumed, console)
            if plan.is_complete and not pairs:
                return _open(plan)
            if (launched := launch(plan, console)) is not None:
                return _open(replace(plan, resumed=launched))
            run, metrics = fit_run(plan, signals, console)
    except Interrupted as interrupted:
        if interrupted.signum == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise
    return _result(run.directory, run.module, run.data, metrics)


def _open(plan: RunPlan) -> FitResult:
    """The result of a complete run."""
    assert plan.resumed is not None
    data = prepare_data(plan.config, plan.resumed)
    return _result(plan.resumed, build_model(plan.config, data), data, read_test(plan.resumed))


def _result(run: RunDirectory, module: MultiTaskModule, data: DataModule, metrics: Mapping[str, float]) -> FitResult:
    load_weights(module, run.weights())  # the best ones; spawned processes trained a copy of the module
    return FitResult(run, module.eval(), data, by_task(metrics, "test"), metrics.get("test/score", float("nan")))


def _pairs_of(settings: Mapping[str, Any]) -> list[str]:
    """Settings by keyword as pairs; JSON values are read as YAML."""
    pairs = []
    for key, value in settings.items():
        try:
            pairs.append(f"{key}={json.dumps(value, ensure_ascii=False, default=_text)}")
        except TypeError as error:
            raise MtlError(f"{key}: {error}", "settings are plain values: numbers, text, lists and mappings") from error
    return pairs


def _text(value: Any) -> str:
    """Paths as text."""
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    raise TypeError(f"a value is a {type(value).__name__}")
