"""One run of ``fit`` from the checked configuration to the last table."""

import errno
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch import seed_everything
from torch.multiprocessing.spawn import ProcessRaisedException

from mtl_lightning.analysis.affinity import AffinityCallback
from mtl_lightning.analysis.detailed_evaluation import space
from mtl_lightning.analysis.divergence import DivergenceCallback
from mtl_lightning.analysis.gradient_relations import RelationsCallback
from mtl_lightning.analysis.output_relations import OutputRelations
from mtl_lightning.build import build_data, check_labels, module_from_config
from mtl_lightning.config import Config, dump
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.quality.findings import refuse
from mtl_lightning.data.quality.gate import check
from mtl_lightning.errors import MtlError
from mtl_lightning.fitting import children as processes
from mtl_lightning.fitting import warm_start_report as warm
from mtl_lightning.fitting.checkpointing import Checkpoints, RandomStates
from mtl_lightning.fitting.header import header
from mtl_lightning.fitting.memory import exhausted
from mtl_lightning.fitting.trainer import build_trainer
from mtl_lightning.fitting.warm_start import TableState, WarmStart
from mtl_lightning.plugins import registry
from mtl_lightning.printable import Console
from mtl_lightning.ranks import process_rank
from mtl_lightning.report.evaluation.report import EvaluationReport, wanted
from mtl_lightning.report.render.console import resume_command, say
from mtl_lightning.report.render.tables import metrics_table
from mtl_lightning.report.training.events import EventLog
from mtl_lightning.report.training.relations import RelationsReport
from mtl_lightning.report.training.terminal import Terminal, quiet_lightning
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO, CheckpointError
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.interrupts import Interrupted, Signals
from mtl_lightning.runs.records.metrics import Record, add_test, reopen
from mtl_lightning.runs.records.resources import ResourcesReport
from mtl_lightning.runs.records.test_rows import FILE as ROWS
from mtl_lightning.runs.records.test_rows import save_rows
from mtl_lightning.runs.resumption import Expectation, load_weights, restoring, unrestored

SCHEMA = "schema.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, of a quota and of a limit on the size of files."""
NO_VALIDATION = (
    "there are no validation rows: nothing selects the model. The last weights are kept, and run.patience has no "
    "effect (see split.validation)"
)


class Training:
    """Data, module, Trainer and run directory of a run.

    Everything that the user may have got wrong is met in the constructor, and the directory is made at its end.

    Args:
        config: The configuration.
        recipe: Name of the recipe.
        run: The directory to go on in, or None for a new one.
        signals: Where requests to stop arrive.
        console: Where to print.

    Raises:
        MtlError: If data, components or Trainer can't be made.
    """

    def __init__(
        self, config: Config, recipe: str, run: RunDirectory | None, signals: Signals, console: Console
    ) -> None:
        quiet_lightning()
        self.console = console
        self.keep_rows = config.run.keep_rows
        self.timeout = config.run.timeout
        self.data = build_data(config, run)
        refuse(check(self.data.prepare()), config.data.accept)
        if run is not None and run.load_json(SCHEMA) not in (None, self.data.schema.to_dict()):
            raise MtlError(f"{run.path} was trained on other data", "its source's rows or their encoding changed")
        if run is not None and run.transforms.exists():
            before = Transforms.load(run.transforms).identity
            if before != self.data.prepared.transforms.identity:
                hint = "its values have other ids or scales now; start a new run, or one with init_from="
                raise MtlError(f"{run.path} was trained on other data", hint)
        if not len(self.data.prepared.stores.get("validation", ())):
            say(console, NO_VALIDATION, "yellow")
        # After preparing: what it draws (and whether it was cached) must not show in the weights.
        seed_everything(config.seed, verbose=False)
        self.module = module_from_config(config, self.data.schema)
        check_labels(self.module.network, self.data.prepared.summary["lowest"])
        going_on = run is not None and run.resume_checkpoint() is not None
        start = WarmStart(config.run.init_from) if config.run.init_from and not going_on else None
        self.warm = warm.begin(start, self.module, self.data) if start else None
        self.checkpoints = Checkpoints(
            "", every_n_steps=config.run.checkpoint_every or 0, patience=config.run.patience, signals=signals
        )
        self.record = Record()
        self.resources = ResourcesReport()
        look = OutputRelations()
        cosines = RelationsCallback(config.run.relations) if config.run.relations else None
        affinity = AffinityCallback(config.run.affinity) if config.run.affinity != 0 else None
        self.relations = RelationsReport(look, cosines, affinity)
        self.evaluation = EvaluationReport(config, self.data) if wanted(config) else None
        checkpoint_io = AtomicCheckpointIO(registry().versions())
        self.trainer = build_trainer(
            config,
            callbacks=[
                *registry().callbacks(config.plain),
                RandomStates(),
                *([TableState(start)] if start else []),
                self.resources,
                *([cosines] if cosines else []),
                *([affinity] if affinity else []),
                look,
                self.relations,
                Terminal(
                    show_progress=config.trainer.get("enable_progress_bar", True) is not False,
                    patience=config.run.patience,
                ),
                self.record,
                *([self.evaluation] if self.evaluation else []),
                *([DivergenceCallback(config.run.divergence)] if config.run.divergence else []),
                self.checkpoints,
            ],
            checkpoint_io=checkpoint_io,
        )
        signals.abandon = self._abandon
        checkpoint_io.expect = Expectation(self.module, self.trainer)
        self.run_dir = run
        if process_rank() == 0:
            self.run_dir = self._open(config, recipe)
            console.print(header(config, recipe, self.data.prepared, self.module, self.run_dir.path))
            if self.warm is not None:
                console.print(warm.warm_table(self.warm))
        self.start = self.run_dir.resume_checkpoint() if run is not None and self.run_dir else None
        if run is not None:
            where = f"from {self.start}" if self.start else "from the beginning: there is no checkpoint yet"
            say(console, f"going on {where}")

    def _open(self, config: Config, recipe: str) -> RunDirectory:
        run = self.run_dir or RunDirectory.create(recipe, config.run.dir)
        reopen(run)  # before the configuration, by which it may have more to do
        run.save_config(dump(config.plain))
        run.save_json("recipe.json", recipe)
        run.save_json("plugins.json", registry().versions())
        run.save_json(SCHEMA, self.data.schema.to_dict())
        try:
            run.transforms.parent.mkdir(exist_ok=True)
            self.data.prepared.transforms.save(run.transforms)
            if self.data.base is not None:
                self.data.base.save(run.base_transforms)
        except OSError as error:
            raise MtlError(f"{run.transforms} can't be written: {error.strerror}", "is the disk full?") from error
        if self.warm is not None:
            run.save_json(warm.FILE, self.warm)
        self.checkpoints.directory = run.checkpoints
        self.record.run = self.resources.run = self.relations.run = run
        if self.evaluation is not None:
            self.evaluation.run = run
        self.trainer.loggers = [EventLog(run.tensorboard)]
        return run

    @property
    def path(self) -> Path:
        """The run directory; the first process chose it."""
        return self.checkpoints.directory.parent

    def run(self) -> None:
        """Train."""
        self._guarded(
            lambda: self.trainer.fit(self.module, datamodule=self.data, ckpt_path=self.start, weights_only=True)
        )

    def test(self) -> None:
        """Evaluate the best weights on the test split, print and record the result."""
        if not len(self.data.prepared.stores.get("test", ())):
            say(self.console, "there is no test split")
            return
        weights = RunDirectory(self.path).weights()
        results = self._guarded(
            lambda: self.trainer.test(
                self.module, datamodule=self.data, ckpt_path=weights, weights_only=True, verbose=False
            )
        )
        if self.run_dir is not None and process_rank() == 0:
            if self.keep_rows:  # before the record, which says that the run is complete
                self._keep_rows(weights)
            spaces = {task.name: space(task) for task in self.data.schema.tasks}
            add_test(self.run_dir, results[0], weights.name, spaces, complete=True)
            self.console.print(metrics_table(results[0], "test", f"Test, {weights.name}", spaces))

    def _keep_rows(self, weights: Path) -> None:
        # Spawned processes trained a copy: the weights are in the checkpoint only.
        load_weights(self.module, weights)
        save_rows(self.path / ROWS, self.module.network, self.data.prepared.stores["test"], self.data.eval_batch_size)

    def _guarded(self, work: Any) -> Any:
        """Do work that may be interrupted or fail on any process."""
        try:
            return work()
        except Interrupted as interrupted:
            self._interrupted(interrupted.signum)
        except CheckpointError:  # nothing was trained yet, and what is wrong is a file
            processes.end(self.trainer, patience=0)
            raise
        except MtlError as error:
            processes.end(self.trainer, patience=0)
            self._failed(str(error))
        except Exception as error:
            found, broken = processes.failed(self.trainer), processes.lost(error)
            asked = self.checkpoints.signals.received
            if broken is not None and found is None and asked is None and processes.left(self.trainer):
                asked = signal.SIGTERM  # the other process was, and left at once
            processes.end(self.trainer, patience=0)
            if short := exhausted(error):
                self._failed(short)
            if restoring(self.trainer):
                raise unrestored(self.start, error) from error
            if found is None:
                if broken is not None and asked is not None:
                    self._interrupted(asked)
                if broken is not None:
                    self._lost(broken)
                if isinstance(error, OSError) and error.errno in FULL:
                    self._failed(f"{error.filename or self.path} can't be written: {error.strerror}")
                say(self.console, self._how_to_go_on())
                raise
            rank, code = found
            if signum := processes.signal_of(code):
                self._interrupted(signum)
            self._failed(_last_line(error) or f"the process of rank {rank} {processes.ending(code)}")

    def _interrupted(self, signum: int) -> NoReturn:
        processes.end(self.trainer, ask=True)
        say(self.console, f"stopped by signal {signum}. {self._how_to_go_on()}")
        raise Interrupted(signum)

    def _abandon(self) -> None:
        """End what this process started: it waits for another one in vain, and was asked to stop."""
        processes.end(self.trainer, patience=0)
        say(self.console, f"stopped, without an answer of the other processes. {self._how_to_go_on()}")

    def _lost(self, reason: str) -> NoReturn:
        """Another process is gone or silent; whoever is left says so, since the first may be the one that is gone."""
        console = Console(stderr=True, highlight=False, emoji=False) if self.console.quiet else self.console
        who = f"process {process_rank()}: another process died, or was silent for run.timeout={self.timeout:g} s"
        say(console, f"training failed: {who} ({reason}). Its own last words, or its launcher's, say why", "red")
        say(console, self._how_to_go_on())
        raise SystemExit(1)

    def _failed(self, reason: str) -> NoReturn:
        say(self.console, f"training failed: {reason}", "red")
        say(self.console, self._how_to_go_on())
        raise SystemExit(1)

    def _how_to_go_on(self) -> str:
        saved = RunDirectory(self.path).resume_checkpoint()
        by = "under torchrun as before, with fit" if os.environ.get("TORCHELASTIC_RUN_ID") else ""
        command = f"{by} resume={self.path}" if by else resume_command(self.path)
        if saved:
            return f"Saved in {saved}. To go on: {command}"
        return f"There is no checkpoint to continue from; to start again from the beginning: {command}"


def _last_line(error: Exception) -> str:
    """What an error of a spawned process says that is meant for the user; empty otherwise."""
    if not isinstance(error, ProcessRaisedException):
        return ""
    last = str(error).strip().splitlines()[-1]
    name, _, message = last.partition(": ")
    return message if name.startswith("mtl_lightning.") else ""
