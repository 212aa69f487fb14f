"""Settings of a run that depend on its device, where the configuration leaves them open."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from mtl_lightning.config import Config


@dataclass(frozen=True)
class DeviceSettings:
    """Settings that a configuration leaves open unless it gives them.

    Args:
        checkpoint_steps: Optimizer steps between checkpoints within an epoch; 0 for no limit.
        checkpoint_seconds: Seconds between checkpoints within an epoch; 0 for no limit.
        checkpoint_in_background: Write checkpoints while training continues.
        tf32: Multiply matrices of float32 in TF32.

    Example:
        >>> from mtl_lightning.config import compose, validate
        >>> config = validate(compose("ads", []).plain)
        >>> DeviceSettings.of(config, gpu=False)
        DeviceSettings(checkpoint_steps=500, checkpoint_seconds=0.0, checkpoint_in_background=False, tf32=False)
        >>> DeviceSettings.of(config, gpu=True)
        DeviceSettings(checkpoint_steps=0, checkpoint_seconds=600.0, checkpoint_in_background=True, tf32=True)
    """

    checkpoint_steps: int
    checkpoint_seconds: float
    checkpoint_in_background: bool
    tf32: bool

    @classmethod
    def of(cls, config: Config, *, gpu: bool) -> Self:
        """Settings of a configuration on a GPU of CUDA, or elsewhere."""
        run = config.run
        if run.checkpoint_every is None:
            run = replace(run, checkpoint_every="10m" if gpu else 500)
        background = gpu if run.checkpoint_in_background is None else run.checkpoint_in_background
        return cls(*run.checkpoint_period, background, gpu and config.trainer.get("precision") is None)


def trains_on_gpu(trainer: Mapping[str, Any]) -> bool:
    """True if Lightning chooses a GPU of CUDA for these arguments of its Trainer.

    Example:
        >>> trains_on_gpu({"accelerator": "cpu"})
        False
    """
    return trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda") and torch.cuda.is_available()
