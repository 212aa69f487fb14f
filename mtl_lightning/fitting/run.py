"""A run of ``fit``, from its plan to its last table."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer, seed_everything

from mtl_lightning.build import build_loggers, check_columns, check_labels, check_turnover
from mtl_lightning.config import Config, dump
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.preparation import growth
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.quality.findings import refuse
from mtl_lightning.data.quality.gate import check
from mtl_lightning.data.store.latest_events import link_latest
from mtl_lightning.errors import MtlError
from mtl_lightning.export.calibration import measure
from mtl_lightning.export.formula import fits
from mtl_lightning.fitting import steps, warm_start_report
from mtl_lightning.fitting.checkpointing import Checkpoints
from mtl_lightning.fitting.children import leave
from mtl_lightning.fitting.failures import Failures
from mtl_lightning.fitting.header import header, task_lines
from mtl_lightning.fitting.logging import logged
from mtl_lightning.fitting.observers import observers
from mtl_lightning.fitting.plan import RunPlan
from mtl_lightning.fitting.steps import build_model, connect_trainer, prepare_data
from mtl_lightning.fitting.warm_start import WarmStart
from mtl_lightning.plugins import registry
from mtl_lightning.printable import Console
from mtl_lightning.ranks import process_rank
from mtl_lightning.report.render.console import say
from mtl_lightning.report.run.page import write_page
from mtl_lightning.report.run.record import DATA
from mtl_lightning.report.training.terminal import quiet_lightning
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.interrupts import Signals
from mtl_lightning.runs.records.metrics import reopen
from mtl_lightning.runs.records.test_rows import FILE as ROWS
from mtl_lightning.runs.records.test_rows import save_rows
from mtl_lightning.runs.resumption import load_weights
from mtl_lightning.training.module import MultiTaskModule

SCHEMA = "schema.json"
NO_VALIDATION = (
    "there are no validation rows: nothing selects the model. The last weights are kept, and run.patience has no "
    "effect (see split.validation)"
)

SPLIT_IN_HISTORIES = (
    "split.by: random lets rows of the validation and test splits, with the labels that they carry, enter histories "
    "of training rows. Use split.by: time"
)


@contextmanager
def set_up(plan: RunPlan, signals: Signals, console: Console) -> Iterator["Run"]:
    """Do everything between ``fit`` and the first step, and hold the run directory until the block ends.

    Nothing is written before the data, the model and the Trainer are known to be right.

    Args:
        plan: Its configuration and directory.
        signals: Where requests to stop arrive.
        console: Where to print.

    Raises:
        MtlError: If data, components or Trainer can't be built, or the run directory is in use.
    """
    quiet_lightning()
    config, resumed = plan.config, plan.resumed
    with ExitStack() as stack:
        stack.enter_context(plan.locked())
        data = prepare_data(config, resumed)
        check_data(config, data, resumed)
        if not len(data.prepared.stores.get("validation", ())):
            say(console, NO_VALIDATION, "yellow")
        if data.split.by == "random" and data.prepared.transforms.histories:
            say(console, SPLIT_IN_HISTORIES, "yellow")
        # After preparing: it draws random numbers unless its result is cached, which must not affect the weights.
        seed_everything(config.seed, verbose=False)
        module = build_model(config, data)
        check_labels(module.network, data.prepared.summary["lowest"])
        check_columns(module.network, data.prepared.stores, data.prepared.transforms.feature_columns)
        check_turnover(module.network, data.prepared.transforms.features)
        start = warm_start(config, resumed, data)
        copied = warm_start_report.begin(start, module, data) if start is not None else None
        with run_directory(plan) as directory:
            callbacks = observers(config, data, directory, signals, start, quiet=console.quiet)
            loggers = build_loggers(config, directory.path) if directory is not None and process_rank() == 0 else False
            trainer = connect_trainer(config, module, callbacks, loggers, plan.launcher)
        run = Run(plan, data, module, trainer, directory, console)
        if directory is not None and process_rank() == 0:
            stack.callback(directory.release)
            save_inputs(directory, plan, data, copied)
            print_header(run, copied)
        yield run


def check_data(config: Config, data: DataModule, resumed: RunDirectory | None) -> None:
    """Refuse data with serious findings, and data other than a resumed run was trained on.

    Raises:
        DataError: For findings that ``data.accept`` does not list.
        MtlError: If the schema or the fitted transforms differ from the resumed run's.
    """
    refuse(check(data.prepared), config.data.accept)
    if resumed is None:
        return
    if resumed.load_json(SCHEMA) not in (None, data.schema.to_dict()):
        raise MtlError(f"{resumed.path} was trained on other data", "its source's rows or their encoding changed")
    if not resumed.transforms.exists():
        return
    if Transforms.load(resumed.transforms).identity != data.prepared.transforms.identity:
        hint = "its values have other ids or scales now; start a new run, or one with init_from="
        raise MtlError(f"{resumed.path} was trained on other data", hint)


def warm_start(config: Config, resumed: RunDirectory | None, data: DataModule) -> WarmStart | None:
    """The earlier run to start from; None if there is none, or if the run has a checkpoint to resume from."""
    has_checkpoint = resumed is not None and resumed.resume_checkpoint() is not None
    if config.run.init_from is None or has_checkpoint or data.base is None:
        return None
    return WarmStart(config.run.init_from, growth.stayed(data.prepared.transforms, data.base))


@contextmanager
def run_directory(plan: RunPlan) -> Iterator[RunDirectory | None]:
    """The run directory; None on processes that do not know it yet. A new one is removed if the block fails."""
    if plan.resumed is not None or process_rank() > 0:
        yield plan.resumed
        return
    directory = RunDirectory.create(plan.recipe, plan.config.run.dir)
    try:
        yield directory
    except BaseException:
        directory.discard()
        raise


def save_inputs(directory: RunDirectory, plan: RunPlan, data: DataModule, copied: dict[str, Any] | None) -> None:
    """Write everything that resuming, testing and predicting need, except for the weights.

    Args:
        directory: The run directory.
        plan: Its configuration and the name of its recipe.
        data: Its data.
        copied: What was copied from an earlier run, if the run was warm-started.

    Raises:
        MtlError: If a file can't be written.
    """
    reopen(directory)  # before the configuration, which may ask for more epochs
    directory.save_config(dump(plan.config.plain))
    directory.save_json("recipe.json", plan.recipe)
    directory.save_json("plugins.json", registry().versions())
    directory.save_json(SCHEMA, data.schema.to_dict())
    directory.save_json(DATA, data_facts(data))
    base = data.base.latest if data.base is not None else {}
    try:
        directory.transforms.parent.mkdir(exist_ok=True)
        data.prepared.transforms.save(directory.transforms)
        if data.base is not None:
            data.base.save(directory.base_transforms)
        for latest, folder in ((data.prepared.transforms.latest, directory.latest), (base, directory.base_latest)):
            if latest:
                link_latest(next(iter(latest.values())).folder, folder)
    except OSError as error:
        raise MtlError(f"{directory.transforms} can't be written: {error.strerror}", "is the disk full?") from error
    if copied is not None:
        directory.save_json(warm_start_report.FILE, copied)


def data_facts(data: DataModule) -> dict[str, Any]:
    """Rows of each split, tasks with their labels, and findings on the training rows, for the page of the run."""
    ids = growth.turnover(data.prepared.transforms, data.base)
    return {
        "rows": {split: len(store) for split, store in data.prepared.stores.items()},
        "tasks": list(task_lines(data.prepared)),
        "findings": [finding.to_dict() for finding in check(data.prepared)],
        **({"ids": ids} if ids else {}),
    }


def print_header(run: "Run", copied: dict[str, Any] | None) -> None:
    """Print the header, what was copied from an earlier run, and the checkpoint that the run is resumed from."""
    console, plan = run.console, run.plan
    console.print(header(plan.config, plan.recipe, run.data.prepared, run.module, run.directory.path))
    if copied is not None:
        console.print(warm_start_report.warm_table(copied))
    if ids := growth.turnover(run.data.prepared.transforms, run.data.base):
        console.print(warm_start_report.turnover_table(ids))
    if plan.resumed is not None:
        where = f"from {run.checkpoint}" if run.checkpoint else "from the beginning: there is no checkpoint yet"
        say(console, f"resuming {where}")


class Run:
    """A run that is ready to train.

    Args:
        plan: Its configuration and directory.
        data: Its data.
        module: Its module.
        trainer: Its Trainer, with :class:`~mtl_lightning.fitting.checkpointing.Checkpoints` among its callbacks.
        directory: Its directory; None on processes that do not know it until training starts.
        console: Where to print.

    Example:
        ``with set_up(plan, signals, console) as run: run.train()``
    """

    def __init__(
        self,
        plan: RunPlan,
        data: DataModule,
        module: MultiTaskModule,
        trainer: Trainer,
        directory: RunDirectory | None,
        console: Console,
    ) -> None:
        self.plan, self.data, self.module, self.trainer, self.console = plan, data, module, trainer, console
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        self.checkpoints = next(callback for callback in callbacks if isinstance(callback, Checkpoints))
        self.failures = Failures(trainer, self.checkpoints, plan.config.run.timeout, console)
        self.checkpoint = directory.resume_checkpoint() if directory is not None else None

    @property
    def directory(self) -> RunDirectory:
        """The run directory; on processes other than the first it is known once training has started."""
        return RunDirectory(self.checkpoints.directory.parent)

    def train(self) -> None:
        """Train.

        Raises:
            Interrupted: On a signal, after saving.
            TrainingError: If training fails for a reason that the user can act on.
        """
        with self.failures.explained():
            steps.train(self.trainer, self.module, self.data, self.checkpoint)

    def evaluate(self) -> dict[str, float]:
        """Evaluate the best weights on the test split, print and record the result.

        Returns:
            Logged values by full name; empty without a test split.

        Raises:
            Interrupted: On a signal.
            TrainingError: If the evaluation fails for a reason that the user can act on.
        """
        if not len(self.data.prepared.stores.get("test", ())):
            say(self.console, "there is no test split")
            return {}
        directory = self.directory
        weights = directory.weights()
        with self.failures.explained():
            metrics = steps.evaluate(self.trainer, self.module, self.data, weights)
        if process_rank() == 0:
            if self.plan.config.run.keep_rows:  # before the record, which says that the run is complete
                self._save_rows(directory, weights)
            steps.record_test(directory, self.data.schema, metrics, weights.name, self.console, complete=True)
        return metrics

    def write_page(self) -> None:
        """Write the page of the run, on the first process; a page that can't be written causes a warning."""
        if process_rank() == 0:
            try:
                write_page(self.directory)
            except MtlError as error:
                say(self.console, str(error), "yellow")

    def _save_rows(self, directory: RunDirectory, weights: Path) -> None:
        load_weights(self.module, weights)  # spawned processes trained a copy of the module
        stores, network, size = self.data.prepared.stores, self.module.network, self.data.eval_batch_size
        validation = stores.get("validation")
        records = measure(network, validation, size) if validation is not None and len(validation) else {}
        scaling = {task: (record["a"], record["b"]) for task, record in records.items() if fits(record)}
        preferences = self.module.weighter.chooses_preferences
        save_rows(directory.path / ROWS, network, stores["test"], size, scaling, preferences=preferences)


def fit_run(plan: RunPlan, signals: Signals, console: Console) -> tuple[Run, dict[str, float]]:
    """Train a run, and evaluate it unless ``run.test=false``.

    Args:
        plan: Its configuration and directory.
        signals: Where requests to stop arrive.
        console: Where to print.

    Returns:
        The run, and logged values of the test split by full name.

    Raises:
        MtlError: If anything is wrong before training starts (nothing is written then), or if training fails.
        Interrupted: On a signal, after saving.
    """
    with (
        set_up(plan, signals, console) as run,
        logged(run.trainer, plan.config, run.directory if run.trainer.loggers else None),
    ):
        run.train()
        metrics = run.evaluate() if plan.config.run.test else {}
        run.write_page()
    leave()
    return run, metrics
