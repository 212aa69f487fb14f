"""Runs of a launcher: another attempt resumes the run, and failures say how to continue."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mtl_lightning.config import compose, validate
from mtl_lightning.config.record import Component
from mtl_lightning.errors import ConfigError, MtlError
from mtl_lightning.fitting import launched
from mtl_lightning.fitting.failures import TrainingError
from mtl_lightning.fitting.plan import RunPlan, plan_run
from mtl_lightning.launchers.base import Launcher, LaunchError
from mtl_lightning.plugins.names import Registry
from mtl_lightning.printable import Console
from mtl_lightning.runs.directory import RunDirectory

QUIET = Console(quiet=True)


class Fail(Callback):
    """Fails once, at step 7."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == 7 and not self.flag.exists():
            self.flag.touch()
            raise OSError("the disk is away")


class Here(Launcher):
    """Launcher whose only process is this one.

    Args:
        attempts: Number of times that the process is started.
        flag: File that says that it has failed.
    """

    def __init__(self, attempts: int, flag: Path) -> None:
        self.attempts, self.flag = attempts, flag

    def launch(self, train: Callable[[], None], directory: Path, timeout: float) -> None:
        for attempt in range(1, self.attempts + 1):
            try:
                pickle.loads(pickle.dumps(train))()
            except OSError as error:
                if attempt == self.attempts:
                    raise LaunchError(f"process 0: {error}") from error
            else:
                return

    def trainer_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {**options, "callbacks": [Fail(self.flag)]}


def plan(tmp_path: Path, *more: str) -> RunPlan:
    settings = ["source.rows=3000", "data.batch_size=128", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    settings += ["run.checkpoint_every=5", "run.loggers=[]", "run.test=false", f"data.cache_dir={tmp_path / 'cache'}"]
    without = plan_run("ads", [*settings, *more], None, QUIET)
    return replace(without, config=replace(without.config, run=replace(without.config.run, launcher=Component("here"))))


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    checkpoint = run.resume_checkpoint()
    assert checkpoint is not None
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


def test_another_attempt_resumes_and_ends_with_the_weights_of_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launched, "build_launcher", lambda _: Here(2, tmp_path / "failed"))
    runs = []
    for name in ("disturbed", "undisturbed"):  # the flag is there by then
        runs.append(launched.launch(plan(tmp_path, f"run.dir={tmp_path / name}"), QUIET))
        assert (tmp_path / "failed").exists()
    disturbed, undisturbed = (weights(run) for run in runs if run is not None)
    assert disturbed.keys() == undisturbed.keys()
    assert all(torch.equal(values, undisturbed[name]) for name, values in disturbed.items())


def test_a_run_that_fails_too_often_says_how_to_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launched, "build_launcher", lambda _: Here(1, tmp_path / "failed"))
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match="training failed: process 0: the disk is away") as caught:
        launched.launch(plan(tmp_path, f"run.dir={run}"), QUIET)
    assert caught.value.hint.startswith(f"Saved in {run / 'checkpoints' / 'last.ckpt'}. To continue:")


def test_nothing_is_left_of_a_run_that_did_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away(Here):
        def launch(self, train: Callable[[], None], directory: Path, timeout: float) -> None:
            raise MtlError("no cluster can be reached")

    monkeypatch.setattr(launched, "build_launcher", lambda _: Away(1, tmp_path / "failed"))
    with pytest.raises(MtlError, match="no cluster"):
        launched.launch(plan(tmp_path, f"run.dir={tmp_path / 'run'}"), QUIET)
    assert not (tmp_path / "run").exists()


def test_launchers_are_named_in_a_recipe() -> None:
    assert validate(compose("ads", []).plain).run.launcher is None
    with pytest.raises(ConfigError, match=r"run\.launcher\.name: no launcher is called 'slurm'"):
        validate(compose("ads", ["run.launcher=slurm"]).plain)
    with pytest.raises(ConfigError, match=r"run\.launcher: expects the name of a launcher, not 3"):
        validate(compose("ads", ["run.launcher=3"]).plain)


@pytest.mark.parametrize("pair", ["run.launcher=moon", "run.launcher.workers=3"])
def test_a_launcher_without_any_plugin_is_refused_with_a_hint(pair: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Registry.names
    monkeypatch.setattr(Registry, "names", lambda self, kind: [] if kind == "launcher" else names(self, kind))
    with pytest.raises(ConfigError) as caught:
        validate(compose("ads", [pair]).plain)
    (problem,) = caught.value.problems
    assert (problem.path, problem.hint) == ("run.launcher.name", "no plugin with a launcher is installed")
