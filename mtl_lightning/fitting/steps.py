"""The steps that ``fit`` and ``test`` share: data, model, Trainer, training and evaluation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from mtl_lightning.analysis.detailed_evaluation import space
from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.config import Config
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.errors import MtlError
from mtl_lightning.fitting.device_settings import DeviceSettings, trains_on_gpu
from mtl_lightning.fitting.memory import exhausted
from mtl_lightning.fitting.trainer import build_trainer
from mtl_lightning.launchers.base import Launcher
from mtl_lightning.plugins import registry
from mtl_lightning.printable import Console
from mtl_lightning.report.render.tables import metrics_table
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.records.metrics import add_test
from mtl_lightning.runs.resumption import Expectation, restoring, unrestored
from mtl_lightning.schema import Schema
from mtl_lightning.training.module import MultiTaskModule


def prepare_data(config: Config, run: RunDirectory | None = None) -> DataModule:
    """Read, clean, split and encode the rows, or open the result in the cache.

    Args:
        config: The configuration.
        run: The run directory, if there is one: it contains the transforms that the run was warm-started from.

    Raises:
        DataError: If rows can't be read, or lack a column.
    """
    data = build_data(config, run)
    data.prepare()
    return data


def build_model(config: Config, data: DataModule) -> MultiTaskModule:
    """Build the Lightning module for prepared data.

    Args:
        config: The configuration.
        data: Its data.
    """
    return module_from_config(config, data.schema)


def connect_trainer(
    config: Config,
    module: MultiTaskModule,
    callbacks: Sequence[Callback],
    logger: Any = False,
    launcher: Launcher | None = None,
) -> Trainer:
    """Build the Trainer. It writes checkpoints atomically, and reads only checkpoints that fit the module.

    Args:
        config: The configuration.
        module: The module to train or evaluate.
        callbacks: Observers of the run.
        logger: Where values are logged.
        launcher: What started this process; None if no launcher did.

    Raises:
        MtlError: If the Trainer rejects its arguments.
    """
    settings = DeviceSettings.of(config, gpu=trains_on_gpu(config.trainer))
    if settings.tf32:
        torch.set_float32_matmul_precision("high")
    checkpoint_io = AtomicCheckpointIO(registry().versions(), background=settings.checkpoint_in_background)
    trainer = build_trainer(config, callbacks=callbacks, checkpoint_io=checkpoint_io, logger=logger, launcher=launcher)
    checkpoint_io.expect = Expectation(module, trainer)
    return trainer


def train(trainer: Trainer, module: MultiTaskModule, data: DataModule, checkpoint: Path | None = None) -> None:
    """Train, from a checkpoint if one is given.

    Raises:
        CheckpointError: If the checkpoint can't be restored.
    """
    with _restoring_from(checkpoint, trainer):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)


def evaluate(trainer: Trainer, module: MultiTaskModule, data: DataModule, weights: Path) -> dict[str, float]:
    """Evaluate the weights of a checkpoint on the test split.

    Returns:
        Logged values by full name, ``test/click/auc``.

    Raises:
        CheckpointError: If the checkpoint can't be restored.
    """
    with _restoring_from(weights, trainer):
        results = trainer.test(module, datamodule=data, ckpt_path=weights, weights_only=True, verbose=False)
    return dict(results[0])


def record_test(
    run: RunDirectory,
    schema: Schema,
    metrics: dict[str, float],
    weights: str,
    console: Console,
    *,
    complete: bool = False,
) -> int:
    """Record and print the result of :func:`evaluate`, on the first process.

    Args:
        run: The run directory.
        schema: The schema of the data.
        metrics: The result.
        weights: Name of the evaluated checkpoint.
        console: Where to print.
        complete: Whether this was the last step of ``fit``.

    Returns:
        Number of evaluations of this run on the test split, including this one.
    """
    spaces = {task.name: space(task) for task in schema.tasks}
    count = add_test(run, metrics, weights, spaces, complete=complete)
    console.print(metrics_table(metrics, "test", f"Test, {weights}", spaces))
    return count


@contextmanager
def _restoring_from(checkpoint: Path | None, trainer: Trainer) -> Iterator[None]:
    """Name the checkpoint if an error occurs while the Trainer restores it."""
    try:
        yield
    except Exception as error:
        if restoring(trainer) and not isinstance(error, MtlError) and exhausted(error) is None:
            raise unrestored(checkpoint, error) from error
        raise
