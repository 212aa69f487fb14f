"""Runs the trials of a study: ask Optuna, train in a process of its own, report each epoch, tell the outcome."""

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
from mtl_lightning.fitting.launch import Main, start
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.tune.failure import failure_reason
from mtl_lightning.tune.plan import SCORE, Plan

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

POLL_SECONDS = 0.2
HOME, SETTINGS, VALUES, REASON = "home", "settings", "tasks", "reason"
"""Attributes: whose directory a trial lies in; what the study is; a trial's metric per task; why it failed."""

Tell = Callable[["FrozenTrial", float], None]


def import_optuna() -> Any:
    """Optuna, which is an extra.

    Raises:
        MtlError: If it isn't installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MtlError("tune needs Optuna", "pip install 'mtl-lightning[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(plan: Plan, higher: dict[str, bool]) -> "Study":
    """Open the plan's study, or begin it.

    Args:
        plan: The plan.
        higher: Whether more of a task's metric is better, per task.

    Raises:
        MtlError: If the storage can't be opened, or the study of this name is another one.
    """
    optuna = import_optuna()
    import sqlalchemy.exc  # with Optuna

    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MtlError(f"out={plan.out}: can't be written: {error.strerror}", "choose another directory") from error
    each = ["maximize" if up else "minimize" for up in higher.values()]
    directions = ["maximize"] if plan.objective == SCORE else each
    try:
        storage: Any = plan.storage
        if storage is None:
            journal = optuna.storages.journal
            file = str(plan.out / "journal.log")
            # Locks by opening a file: links aren't to be had on every file system.
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
    """A trial at work.

    Args:
        trial: The trial.
        owner: Held while this process looks after it.
        process: What trains.
        since: When it began.
        pruned: Whether it was asked to stop.
    """

    trial: "Trial"
    owner: FileLock
    process: BaseProcess
    since: float
    pruned: bool = False


class Trials:
    """The part of a study that this process does.

    Trials are numbered by the storage, so that processes and machines share them. Each is looked after by the process
    that holds its lock; one whose lock is free was left by a process that is gone, and is gone on with.

    Args:
        plan: The plan.
        study: The study.
        metrics: Each task's metric, as it is logged.
        main: The command line's function.
        tell: Called with a trial that has ended, and its seconds.
    """

    def __init__(self, plan: Plan, study: "Study", metrics: dict[str, str], main: Main, tell: Tell) -> None:
        self.plan, self.study, self.metrics, self.main, self.tell = plan, study, metrics, main, tell
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
        """Work until the study has its trials; on an exception, ask the running ones to save, and leave them."""
        try:
            while self._fill() or self.running:
                wait([each.process.sentinel for each in self.running.values()], timeout=POLL_SECONDS)
                for each in list(self.running.values()):
                    ended = each.process.exitcode is not None  # before reading what it wrote last
                    self._report(each)
                    if ended:
                        self._end(each)
        finally:
            for each in self.running.values():
                each.process.terminate()
            for each in self.running.values():
                each.process.join()
                each.owner.release()

    def _fill(self) -> bool:
        """Start what there is to start; True if anything was."""
        before = len(self.running)
        while len(self.running) < self.plan.jobs:
            with FileLock(self.plan.out / ".ask.lock"):
                found = self._abandoned() or self._new()
            if found is None:
                break
            trial, owner = found
            RunDirectory(self.plan.path(trial.number)).clean()
            log = self.plan.out / "logs" / f"{trial.number:04d}.log"
            threads = max(1, (os.cpu_count() or 1) // self.plan.jobs)
            process = start(self.main, self.plan.arguments(trial.number, trial.params), log, threads)
            self.running[trial.number] = Running(trial, owner, process, time.monotonic())
        return len(self.running) > before

    def _lock(self, number: int) -> FileLock:
        return FileLock(self.plan.out / "locks" / f"{number:04d}.lock")

    def _abandoned(self) -> "tuple[Trial, FileLock] | None":
        """A trial in this directory whose process is gone; its settings that weren't chosen yet are."""
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
        begun = len(self.study.get_trials(deepcopy=False))
        if begun >= self.plan.trials:
            return None
        # One sampler per number: no two processes draw the same, and one process alone draws the same again.
        self.study.sampler = self.optuna.samplers.TPESampler(
            seed=self.plan.seed + begun, n_startup_trials=min(10, max(2, self.plan.trials // 3)), constant_liar=True
        )
        trial = self.study.ask()
        owner = self._lock(trial.number)
        owner.acquire()
        return self._chosen(trial), owner

    def _chosen(self, trial: "Trial") -> "Trial":
        trial.set_user_attr(HOME, self.home)
        for each in self.plan.space:
            if each.choices:
                trial.suggest_categorical(each.key, each.choices)
            elif each.whole:
                trial.suggest_int(each.key, int(each.low), int(each.high), log=each.log)
            else:
                trial.suggest_float(each.key, each.low, each.high, log=each.log)
        return trial

    def _validations(self, number: int) -> list[dict[str, Any]]:
        record = RunDirectory(self.plan.path(number)).load_json("metrics.json") or {}
        return [entry["metrics"] for entry in record.get("validations", ())]

    def _report(self, each: Running) -> None:
        """Pass new validations on, and ask a trial to stop that has fallen behind."""
        if self.plan.objective != SCORE:
            return
        known = self.study._storage.get_trial(each.trial._trial_id).intermediate_values
        for epoch, metrics in enumerate(self._validations(each.trial.number), 1):
            score = metrics.get("validation/score")
            if epoch not in known and score is not None:
                each.trial.report(score, epoch)
                if self.plan.prune and not each.pruned and each.process.exitcode is None and each.trial.should_prune():
                    each.pruned = True
                    each.process.terminate()

    def _end(self, each: Running) -> None:
        states = self.optuna.trial.TrialState
        del self.running[each.trial.number]
        found = [
            metrics for metrics in self._validations(each.trial.number) if metrics.get("validation/score") is not None
        ]
        best = max(found, key=lambda metrics: metrics["validation/score"], default={})
        tasks = {task: best.get(name) for task, name in self.metrics.items()}
        each.trial.set_user_attr(VALUES, tasks)
        values: list[float] | None = None
        if each.process.exitcode == 0:
            wanted = [best.get("validation/score")] if self.plan.objective == SCORE else list(tasks.values())
            values = [value for value in wanted if value is not None and math.isfinite(value)]
            values = values if len(values) == len(wanted) else None
        state = states.COMPLETE if values else states.PRUNED if each.pruned else states.FAIL
        if state == states.FAIL:
            log = self.plan.out / "logs" / f"{each.trial.number:04d}.log"
            each.trial.set_user_attr(REASON, failure_reason(each.process.exitcode, log))
        frozen = self.study.tell(each.trial.number, values, state=state)
        each.owner.release()
        self.tell(frozen, time.monotonic() - each.since)
