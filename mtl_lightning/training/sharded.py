"""Encoders whose tables are larger than one device: spread over processes, and updated where they lie."""

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from mtl_lightning.interfaces import Encoder
from mtl_lightning.training.optimizer import OptimizerConfig

SHARDS = "shards"
"""Beginning of the folders beside checkpoints that hold tables which no process holds whole."""


class ShardedEncoder(Encoder, ABC):
    """An encoder that owns its tables: no process holds all of them, and they are updated in the backward pass.

    Such tables are no parameters of the module: DDP, clipping, the check for finite gradients and ``state_dict`` don't
    see them. A checkpoint holds the name of a folder beside it into which every process wrote its part.

    Example:
        See the plugin ``mtl-lightning-torchrec``.
    """

    saved: str | None = None
    """Name or path of the folder with the tables as they were last saved or loaded."""
    table_size: int = 0
    """Numbers in all tables, those of other processes included."""
    updates: Optimizer | None = None
    """What :meth:`distribute` returned."""

    @abstractmethod
    def distribute(self, device: torch.device, *, optimizer: str, lr: float, eps: float) -> Optimizer:
        """Spread the tables; called once, by every process, before weights are loaded.

        Args:
            device: Where this process computes.
            optimizer: ``optimizer.tables`` of the recipe.
            lr: ``optimizer.table_lr``.
            eps: ``optimizer.eps``.

        Returns:
            An optimizer that takes part in the run's own for the sake of schedules: its ``param_groups`` carry the
            rate that the next backward uses. Its ``state_dict`` holds no tables.

        Raises:
            MtlError: If the engine has no such optimizer.
        """

    @abstractmethod
    def save_shards(self, folder: Path) -> None:
        """Write this process's part of the tables and of their optimizer's state; every process calls it."""

    @abstractmethod
    def load_shards(self, folder: Path) -> None:
        """Read this process's part from what any number of processes wrote; every process calls it."""

    def get_extra_state(self) -> dict[str, Any]:
        """The folder, for ``state_dict``."""
        return {SHARDS: self.saved}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Load the tables that belong to a ``state_dict``."""
        if state[SHARDS] is not None:
            self.load_shards(Path(state[SHARDS]))
            self.saved = state[SHARDS]


def distribute(encoder: Encoder, device: torch.device, options: OptimizerConfig) -> None:
    """Spread the tables of a sharded encoder, once; for any other encoder nothing."""
    if isinstance(encoder, ShardedEncoder) and encoder.updates is None:
        encoder.updates = encoder.distribute(device, optimizer=options.tables, lr=options.table_lr, eps=options.eps)


def updates(encoder: Encoder) -> Optimizer | None:
    """The optimizer of a sharded encoder's tables; None for any other encoder."""
    return encoder.updates if isinstance(encoder, ShardedEncoder) else None


def table_size(encoder: Encoder) -> int:
    """Numbers in an encoder's tables, on whichever process they lie."""
    if isinstance(encoder, ShardedEncoder):
        return encoder.table_size
    return sum(table.numel() for table in encoder.table_parameters())


def save_beside(encoder: Encoder, directory: Path, step: int) -> None:
    """Write a sharded encoder's tables for the checkpoint of a step; for any other encoder nothing.

    Args:
        encoder: The encoder.
        directory: Where checkpoints lie.
        step: The step.
    """
    if isinstance(encoder, ShardedEncoder):
        name = f"{SHARDS}-{step}"
        if encoder.saved != name:  # the best weights and the last state may be those of one step
            encoder.save_shards(directory / name)
            encoder.saved = name


def prune(directory: Path, steps: set[int]) -> None:
    """Remove the tables of all steps but these; one process does."""
    for folder in directory.glob(f"{SHARDS}-*"):
        if folder.name not in {f"{SHARDS}-{step}" for step in steps}:
            shutil.rmtree(folder)
