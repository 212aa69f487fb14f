"""Encoders with tables that are larger than a device: sharded over processes and updated in place."""

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from typing_extensions import override

from mtl_lightning.interfaces import Encoder
from mtl_lightning.training.optimizer import OptimizerConfig

SHARDS = "shards"
"""Prefix of the folders, next to a checkpoint, that hold sharded embedding tables."""


class ShardedEncoder(Encoder, ABC):
    """An encoder with tables that are sharded over processes and updated in the backward pass.

    Such tables are not parameters of the module: DDP, clipping, the check for finite gradients and ``state_dict`` do
    not include them. A checkpoint holds the name of a folder next to it, into which every process writes its part.

    Example:
        See the plugin ``mtl-lightning-torchrec``.
    """

    saved: str | None = None
    """Name or path of the folder into which the tables were last saved, or from which they were last loaded."""
    table_size: int = 0
    """Number of values in all tables, over all processes."""
    updates: Optimizer | None = None
    """Optimizer that :meth:`distribute` returned; None before it is called."""

    @abstractmethod
    def distribute(self, device: torch.device, *, optimizer: str, lr: float, eps: float) -> Optimizer:
        """Shard the tables; every process calls it once, before weights are loaded.

        Args:
            device: Device of this process.
            optimizer: Name of the optimizer, ``optimizer.tables`` of the recipe.
            lr: Learning rate, ``optimizer.table_lr``.
            eps: Denominator term, ``optimizer.eps``.

        Returns:
            An optimizer whose ``param_groups`` hold the rate of the next backward, so that schedules apply. Its
            ``state_dict`` holds no tables.

        Raises:
            MtlError: If the optimizer is not available.
        """

    @abstractmethod
    def save_shards(self, folder: Path) -> None:
        """Write this process's part of the tables and of the optimizer's state; every process calls it."""

    @abstractmethod
    def load_shards(self, folder: Path) -> None:
        """Read this process's part; every process calls it. Any number of processes may have written the folder."""

    @override
    def get_extra_state(self) -> dict[str, Any]:
        """Return the folder of the tables, for ``state_dict``."""
        return {SHARDS: self.saved}

    @override
    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Load the tables of a ``state_dict`` from their folder."""
        if state[SHARDS] is not None:
            self.load_shards(Path(state[SHARDS]))
            self.saved = state[SHARDS]


def distribute(encoder: Encoder, device: torch.device, options: OptimizerConfig) -> None:
    """Shard the tables of a sharded encoder, unless they are already; do nothing for other encoders."""
    if isinstance(encoder, ShardedEncoder) and encoder.updates is None:
        encoder.updates = encoder.distribute(device, optimizer=options.tables, lr=options.table_lr, eps=options.eps)


def updates(encoder: Encoder) -> Optimizer | None:
    """Return the optimizer of a sharded encoder's tables; None for other encoders."""
    return encoder.updates if isinstance(encoder, ShardedEncoder) else None


def table_size(encoder: Encoder) -> int:
    """Return the number of values in an encoder's tables, over all processes."""
    if isinstance(encoder, ShardedEncoder):
        return encoder.table_size
    return sum(table.numel() for table in encoder.table_parameters())


def save_tables(encoder: Encoder, directory: Path, step: int) -> None:
    """Write a sharded encoder's tables for the checkpoint of a step; do nothing for other encoders.

    Args:
        encoder: The encoder.
        directory: Directory of the checkpoints.
        step: Number of the step.
    """
    if isinstance(encoder, ShardedEncoder):
        name = f"{SHARDS}-{step}"
        if encoder.saved != name:  # the best and the last checkpoint may be of the same step
            encoder.save_shards(directory / name)
            encoder.saved = name


def prune_tables(directory: Path, steps: set[int]) -> None:
    """Remove the saved tables of all other steps; only one process calls it."""
    for folder in directory.glob(f"{SHARDS}-*"):
        if folder.name not in {f"{SHARDS}-{step}" for step in steps}:
            shutil.rmtree(folder)
