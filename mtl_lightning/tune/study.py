"""Run the trials of a study: ask Optuna for values, train in another process, report every validation to Optuna."""

import math
import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from mtl_lightning.errors import MtlError
from mtl_lightning.files import write_atomic
from mtl_lightning.fitting.launch import Program, start
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.tune.failure import failure_reason
from mtl_lightning.tune.plan import SCORE, Plan

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

POLL_SECONDS = 0.2
HOME, SETTINGS, VALUES, REASON = "home", "settings", "tasks", "reason"
"""Attributes of studies and trials: directory of a trial, settings of a study, a trial's metrics, reason of failure."""

Report = Callable[["FrozenTrial", float], None]
"""Called with a trial that has ended, and its duration in seconds."""


def import_optuna() -> Any:
    """Import Optuna, which is an extra of the package.

    Raises:
        MtlError: If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MtlError("tune needs Optuna", "pip install 'mtl-lightning[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(plan: Plan, higher: dict[str, bool]) -> "Study":
    """Open the study of a plan, or create it.

    Args:
        plan: The plan.
        higher: Per task, True if higher values of its metric are better.

    Raises:
        MtlError: If the storage can't be opened, or has another study of the same name.
    """
    optuna = import_optuna()
    import sqlalchemy.exc  # with Optuna

    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MtlError(f"out={plan.out}: can't be written: {error.strerror}", "choose another directory") from error
    per_task = ["maximize" if up else "minimize" for up in higher.values()]
    directions = ["maximize"] if plan.objective == SCORE else per_task
    try:
        storage: Any = plan.storage
        if storage is None:
            journal = optuna.storages.journal
            file = str(plan.out / "journal.log")
            # Locks by opening a file: not every file system has links.
            backend = journal.JournalFileBackend(file, lock_obj=journal.JournalFileOpenLock(file))
            storage = optuna.storages.JournalStorage(backend)
        with FileLock(plan.out / ".ask.lock"):
            study: Study = optuna.create_study(
                storage=storage, study_name=plan.study, directions=directions, load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
            )  # fmt: skip
            before = study.user_attrs.get(SETTINGS)
            if before is None:
                study.set_user_attr(SETTINGS, plan.settings)
    except (ValueError, ImportError, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        shown = re.sub(r"(//[^:/@]*):[^@/]*@", r"\1:…@", f"storage={plan.storage}: {' '.join(str(error).split())}")
        shown = re.sub(r"(?i)(pass(?:word|wd)?=)[^&\s]*", r"\1…", shown)
        raise MtlError(shown, "for instance storage=sqlite:///study.db; see Optuna's storages") from error
    before = before or {}
    if changed := [key for key, value in plan.settings.items() if before.get(key, value) != value]:
        raise MtlError(f"study {plan.study} has another {' and '.join(changed)}", "choose another out= or study=")
    return study


@dataclass
class Running:
    """A running trial.

    Args:
        trial: The trial.
        owner: Lock that this process holds while it is responsible for the trial.
        process: The process that trains.
        since: Start, in seconds of the monotonic clock.
        pruned: True once it was asked to stop.
    """

    trial: "Trial"
    owner: FileLock
    process: BaseProcess
    since: float
    pruned: bool = False


class Trials:
    """Trials of a study that this process runs.

    The storage numbers the trials, so that several processes and machines share a study. The process that holds the
    lock of a trial is responsible for it. A running trial whose lock is free was left by a process that died, and is
    resumed.

    Args:
        plan: The plan.
        study: The study.
        metrics: Logged name of each task's metric.
        program: The command line that trains a trial.
        report: Called when a trial has ended.
    """

    def __init__(self, plan: Plan, study: "Study", metrics: dict[str, str], program: Program, report: Report) -> None:
        self.plan, self.study, self.metrics, self.program, self.report = plan, study, metrics, program, report
        self.optuna = import_optuna()
        for name in ("trials", "logs", "locks"):
            (plan.out / name).mkdir(parents=True, exist_ok=True)
        home = plan.out / "home"
        with FileLock(plan.out / ".ask.lock"):
            if not home.is_file():
                write_atomic(home, uuid.uuid4().hex)
        self.home = home.read_text(encoding="utf-8")
        self.running: dict[int, Running] = {}

    def run(self) -> None:
        """Run trials until the study has enough; on an exception, ask running trials to save and stop."""
        try:
            while self._fill() or self.running:
                wait([entry.process.sentinel for entry in self.running.values()], timeout=POLL_SECONDS)
                for entry in list(self.running.values()):
                    ended = entry.process.exitcode is not None  # before its last validations are read
                    self._report(entry)
                    if ended:
                        self._end(entry)
        finally:
            for entry in self.running.values():
                entry.process.terminate()
            for entry in self.running.values():
                entry.process.join()
                entry.owner.release()

    def _fill(self) -> bool:
        """Start trials until enough are running; True if one was started."""
        before = len(self.running)
        while len(self.running) < self.plan.jobs:
            with FileLock(self.plan.out / ".ask.lock"):
                next_trial = self._abandoned() or self._new()
            if next_trial is None:
                break
            trial, owner = next_trial
            RunDirectory(self.plan.path(trial.number)).clean()
            log = self.plan.out / "logs" / f"{trial.number:04d}.log"
            threads = max(1, (os.cpu_count() or 1) // self.plan.jobs)
            process = start(self.program, self.plan.arguments(trial.number, trial.params), log, threads)
            self.running[trial.number] = Running(trial, owner, process, time.monotonic())
        return len(self.running) > before

    def _lock(self, number: int) -> FileLock:
        return FileLock(self.plan.out / "locks" / f"{number:04d}.lock")

    def _abandoned(self) -> "tuple[Trial, FileLock] | None":
        """A trial in this directory whose process has died, with the settings that it lacks."""
        for frozen in self.study.get_trials(deepcopy=False, states=[self.optuna.trial.TrialState.RUNNING]):
            if frozen.number in self.running or frozen.user_attrs.get(HOME, self.home) != self.home:
                continue
            owner = self._lock(frozen.number)
            try:
                owner.acquire(timeout=0)
            except Timeout:
                continue
            return self._chosen(self.optuna.trial.Trial(self.study, frozen._trial_id)), owner
        return None

    def _new(self) -> "tuple[Trial, FileLock] | None":
        started = len(self.study.get_trials(deepcopy=False))
        if started >= self.plan.trials:
            return None
        # One sampler per number: two processes never draw the same values, and one process alone is reproducible.
        self.study.sampler = self.optuna.samplers.TPESampler(
            seed=self.plan.seed + started, n_startup_trials=min(10, max(2, self.plan.trials // 3)), constant_liar=True
        )
        trial = self.study.ask()
        owner = self._lock(trial.number)
        owner.acquire()
        return self._chosen(trial), owner

    def _chosen(self, trial: "Trial") -> "Trial":
        trial.set_user_attr(HOME, self.home)
        for dimension in self.plan.space:
            if dimension.choices:
                trial.suggest_categorical(dimension.key, dimension.choices)
            elif dimension.whole:
                trial.suggest_int(dimension.key, int(dimension.low), int(dimension.high), log=dimension.log)
            else:
                trial.suggest_float(dimension.key, dimension.low, dimension.high, log=dimension.log)
        return trial

    def _validations(self, number: int) -> list[dict[str, Any]]:
        record = RunDirectory(self.plan.path(number)).load_json("metrics.json") or {}
        return [entry["metrics"] for entry in record.get("validations", ())]

    def _report(self, entry: Running) -> None:
        """Report new validations to Optuna, and stop the trial if Optuna prunes it."""
        if self.plan.objective != SCORE:
            return
        known = self.study._storage.get_trial(entry.trial._trial_id).intermediate_values
        for epoch, metrics in enumerate(self._validations(entry.trial.number), 1):
            score = metrics.get("validation/score")
            if epoch not in known and score is not None:
                entry.trial.report(score, epoch)
                if (
                    self.plan.prune
                    and not entry.pruned
                    and entry.process.exitcode is None
                    and entry.trial.should_prune()
                ):
                    entry.pruned = True
                    entry.process.terminate()

    def _end(self, entry: Running) -> None:
        states = self.optuna.trial.TrialState
        del self.running[entry.trial.number]
        validations = self._validations(entry.trial.number)
        scored = [metrics for metrics in validations if metrics.get("validation/score") is not None]
        best = max(scored, key=lambda metrics: metrics["validation/score"], default={})
        tasks = {task: best.get(name) for task, name in self.metrics.items()}
        entry.trial.set_user_attr(VALUES, tasks)
        values: list[float] | None = None
        if entry.process.exitcode == 0:
            objectives = [best.get("validation/score")] if self.plan.objective == SCORE else list(tasks.values())
            values = [value for value in objectives if value is not None and math.isfinite(value)]
            values = values if len(values) == len(objectives) else None
        state = states.COMPLETE if values else states.PRUNED if entry.pruned else states.FAIL
        if state == states.FAIL:
            log = self.plan.out / "logs" / f"{entry.trial.number:04d}.log"
            entry.trial.set_user_attr(REASON, failure_reason(entry.process.exitcode, log))
        frozen = self.study.tell(entry.trial.number, values, state=state)
        entry.owner.release()
        self.report(frozen, time.monotonic() - entry.since)
