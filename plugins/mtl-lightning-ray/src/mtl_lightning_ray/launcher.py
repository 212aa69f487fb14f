"""Processes of a run as workers of Ray Train."""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from ray.train import Checkpoint as Copy
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, report
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from typing_extensions import override

from mtl_lightning.interfaces import Launcher, LaunchError, MtlError, NonNegativeInt, PositiveInt, TrainingError
from mtl_lightning_ray.cluster import connect


class RayLauncher(Launcher):
    """Processes of a run as workers of Ray Train, by Lightning's ``RayDDPStrategy``.

    If a worker or its node dies, all workers are started again and resume the run from its latest checkpoint, so the
    weights equal an undisturbed run's. The run directory is on a disk that all nodes share.

    Args:
        workers: Number of processes.
        cpus: CPUs that Ray reserves for a process.
        gpu: Give each process a GPU.
        failures: Number of times that the workers are started again.
        storage: Where Ray Train keeps a copy of the run directory of the latest complete epoch, a path or an URL of
            ``pyarrow.fs`` or fsspec (``s3://bucket/runs``); None for no copy.
        address: Address of the cluster; None for ``RAY_ADDRESS``, then the cluster that this machine is part of, then
            a new one on this machine.

    Raises:
        MtlError: From :meth:`launch`, if the cluster can't be reached.

    Example:
        >>> RayLauncher(workers=4).trainer_options({"max_epochs": 2})["devices"]
        'auto'
    """

    def __init__(
        self,
        *,
        workers: PositiveInt = 1,
        cpus: PositiveInt = 1,
        gpu: bool = False,
        failures: NonNegativeInt = 3,
        storage: str | None = None,
        address: str | None = None,
    ) -> None:
        self.workers, self.cpus, self.gpu = workers, cpus, gpu
        self.failures, self.storage, self.address = failures, storage, address

    @override
    def launch(self, train: Callable[[], None], directory: Path, timeout: float) -> None:
        connected = connect(self.address, log_to_driver=True)
        try:
            # On this node, which lives as long as the caller; Ray may still place actors on one that has died.
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            errors: Any = ray.remote(num_cpus=0, scheduling_strategy=here)(_Errors).remote()
            # Ray keeps its state of the run where all nodes see it.
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".ray-") as folder:
                trainer = TorchTrainer(
                    _Process(train, Path.cwd(), directory, errors, bool(self.storage)),
                    torch_config=TorchConfig(timeout_s=max(1, int(timeout))),
                    scaling_config=ScalingConfig(
                        num_workers=self.workers, use_gpu=self.gpu, resources_per_worker={"CPU": self.cpus}
                    ),
                    run_config=RunConfig(
                        name=directory.name,
                        storage_path=self.storage or folder,
                        failure_config=FailureConfig(max_failures=self.failures),
                        checkpoint_config=CheckpointConfig(num_to_keep=1),
                    ),
                )
                failure: TrainingFailedError | None = None
                try:
                    trainer.fit()
                except TrainingFailedError as error:
                    failure = error
            if (mistake := ray.get(errors.first.remote())) is not None:
                raise mistake
            if failure is not None:
                raise LaunchError(_describe(failure)) from failure
        finally:
            if connected:
                ray.shutdown()

    @override
    def trainer_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        for name in ("devices", "num_nodes", "strategy"):
            if options.get(name, "auto") != "auto":
                raise MtlError(
                    f"trainer.{name} is {options[name]}, and run.launcher=ray starts the processes",
                    f"leave trainer.{name} out, and set run.launcher.workers",
                )
        reports = [_Copies()] if self.storage else []
        strategy, environment = RayDDPStrategy(), RayLightningEnvironment()  # type: ignore[no-untyped-call]
        chosen = {"devices": "auto", "strategy": strategy, "plugins": [environment]}
        return {**options, **chosen, "callbacks": reports}


class _Errors:
    """Actor that keeps the first error that starting again would not help."""

    def __init__(self) -> None:
        self.error: MtlError | None = None

    def add(self, error: MtlError) -> None:
        self.error = self.error or error

    def first(self) -> MtlError | None:
        return self.error


@dataclass(frozen=True)
class _Process:
    """Function of a worker of Ray Train."""

    train: Callable[[], None]
    folder: Path
    directory: Path
    errors: Any
    copies: bool

    def __call__(self) -> None:
        if ray.get(self.errors.first.remote()) is not None:  # of earlier workers: Ray Train starts others all the same
            return
        os.chdir(self.folder)
        try:
            self.train()
        except TrainingError:
            raise
        except MtlError as error:
            ray.get(self.errors.add.remote(error))
            raise
        if self.copies:
            _copy(self.directory, "complete")


class _Copies(Checkpoint):
    """Reports the run directory to Ray Train after each epoch; a ``Checkpoint``, to come after the run's own."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch before: its checkpoint is written now."""
        if trainer.current_epoch > 0:
            checkpoints: Any = trainer.checkpoint_callback  # the run's own, which comes first
            _copy(checkpoints.directory.parent, trainer.current_epoch)


def _copy(directory: Path, epoch: Any) -> None:
    first = ray.train.get_context().get_world_rank() == 0
    report({"epoch": epoch}, checkpoint=Copy.from_directory(directory) if first else None)


def _describe(error: TrainingFailedError) -> str:
    failures = getattr(error, "worker_failures", None) or {0: error}
    rank, first = min(failures.items())
    lines = [line for line in str(first).strip().splitlines() if line.strip()]
    return f"process {rank}: {lines[-1] if lines else type(first).__name__}"
