"""Runs whose processes are started by a launcher."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from mtl_lightning.build import build_launcher
from mtl_lightning.config import validate
from mtl_lightning.fitting.failures import TrainingError, continuation
from mtl_lightning.fitting.plan import RunPlan
from mtl_lightning.fitting.run import check_data, fit_run
from mtl_lightning.fitting.steps import prepare_data
from mtl_lightning.launchers.base import Launcher, LaunchError
from mtl_lightning.printable import Console
from mtl_lightning.report.render.console import first_console, say
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.interrupts import handled_signals


@dataclass(frozen=True)
class LaunchedTraining:
    """Function of each process of a run: it begins the run, or resumes it if an earlier process has begun it.

    Args:
        settings: The resolved configuration.
        recipe: Name of the recipe.
        directory: The run directory.
        launcher: What starts the process.
        quiet: Print nothing.
    """

    settings: dict[str, Any]
    recipe: str
    directory: Path
    launcher: Launcher
    quiet: bool = False

    def __call__(self) -> None:
        """Train and evaluate.

        Raises:
            MtlError: As :func:`~mtl_lightning.fitting.run.fit_run`.
        """
        run = RunDirectory(self.directory)
        begun = [run.config_file.is_file()]
        if dist.is_initialized():  # the first process decides: it writes the file while another may be late
            dist.broadcast_object_list(begun)
        plan = RunPlan(validate(self.settings), self.recipe, run if begun[0] else None, self.launcher)
        with handled_signals(first_answers=True) as signals:
            fit_run(plan, signals, Console(quiet=True) if self.quiet else first_console())


def launch(plan: RunPlan, console: Console) -> RunDirectory | None:
    """Train and evaluate a run in the processes that ``run.launcher`` starts.

    Args:
        plan: Its configuration and directory.
        console: Where to print.

    Returns:
        The run directory; None without a launcher, when this process trains.

    Raises:
        MtlError: If the data is wrong or processes can't be started.
        TrainingError: If processes fail.
    """
    if plan.config.run.launcher is None:
        return None
    launcher = build_launcher(plan.config)
    launcher.trainer_options(plan.config.trainer)
    # Here, since an executor may need the machines that the processes will hold.
    check_data(plan.config, prepare_data(plan.config, plan.resumed), plan.resumed)
    directory = plan.resumed or RunDirectory.create(plan.recipe, plan.config.run.dir)
    directory.release()  # the first process holds it
    path = directory.path.resolve()
    settings = {**plan.config.plain, "run": {**plan.config.plain["run"], "dir": str(path)}}
    say(console, f"run directory {path}; starting processes by {plan.config.run.launcher.name}")
    try:
        training = LaunchedTraining(settings, plan.recipe, path, launcher, console.quiet)
        launcher.launch(training, path, plan.config.run.timeout)
    except LaunchError as error:
        raise TrainingError(f"training failed: {error}", continuation(path)) from error
    finally:
        if not directory.config_file.is_file():
            directory.discard()
    return directory
