"""The Trainer of a run: Lightning's Trainer, with a few arguments set by this package."""

from collections.abc import Sequence
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from mtl_lightning.config import Config
from mtl_lightning.errors import MtlError
from mtl_lightning.fitting.children import PatientLauncher
from mtl_lightning.launchers.base import Launcher
from mtl_lightning.training.exchange import check_group
from mtl_lightning.training.strategies import add_torchrun_options, build_strategy

QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "enable_autolog_hparams": False}
"""Lightning's progress bar and summary would overwrite the tables on the terminal."""


def build_trainer(
    config: Config,
    *,
    callbacks: Sequence[Callback] = (),
    checkpoint_io: CheckpointIO | None = None,
    logger: Any = False,
    launcher: Launcher | None = None,
) -> Trainer:
    """Build the Trainer of a run.

    Args:
        config: The configuration; its ``trainer`` section goes to the Trainer as it is.
        callbacks: Observers of the run.
        checkpoint_io: Writer and reader of checkpoints; None for Lightning's.
        logger: Where values are logged.
        launcher: What started this process; None if no launcher did.

    Raises:
        MtlError: If a strategy is refused, the Trainer rejects its arguments, or ``optimizer.exchange_group`` does not
            divide the number of processes.

    Example:
        >>> from mtl_lightning.config import compose, validate
        >>> config = validate(compose("ads", ["trainer.max_epochs=2"]).plain)
        >>> build_trainer(config).max_epochs
        2
    """
    if launcher is not None:
        options = launcher.trainer_options(config.trainer)
    else:
        options = add_torchrun_options(config.trainer)
        options["strategy"] = build_strategy(
            options.get("strategy", "auto"),
            options.get("devices", "auto"),
            config.run.timeout,
            nodes=options.get("num_nodes", 1),
            accelerator=options.get("accelerator", "auto"),
        )
    if options.get("accelerator", "auto") == "auto" and MPSAccelerator.is_available():
        options["accelerator"] = "cpu"  # Lightning would choose Apple's GPU, which has no float64
    callbacks = [*callbacks, *options.pop("callbacks", ())]
    plugins = [plugin for plugin in (checkpoint_io, *options.pop("plugins", ())) if plugin is not None]
    # The loader distributes rows itself, and a sanity check before training would count as a validation.
    options = {"num_sanity_val_steps": 0, **options, **QUIET}
    try:
        trainer = Trainer(
            callbacks=callbacks,
            plugins=plugins or None,
            logger=logger,
            use_distributed_sampler=False,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            **options,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise MtlError(f"trainer: {' '.join(str(error).split())}", "trainer.* are Lightning's own arguments") from error
    if launcher is None:
        check_group(config.optimizer.exchange_group, trainer.num_devices * trainer.num_nodes)
    # The type itself: launchers of other strategies are left alone.
    if type(script := trainer.strategy.launcher) is _SubprocessScriptLauncher:
        trainer.strategy._launcher = PatientLauncher(script)
    return trainer
