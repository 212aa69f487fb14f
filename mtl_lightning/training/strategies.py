"""Lightning strategies that work with sparse tables and gradients at the seam, and reasons against others."""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, Strategy

from mtl_lightning.errors import MtlError


def _ddp(start_method: str) -> Callable[[timedelta], Strategy]:
    def build(timeout: timedelta) -> Strategy:
        # Gradients are views of the buckets that are reduced: no copy of them, and half of their memory.
        return DDPStrategy(start_method=start_method, timeout=timeout, gradient_as_bucket_view=True)  # type: ignore[arg-type]

    return build


STRATEGIES: dict[str, Callable[[timedelta], Strategy | str]] = {
    "auto": lambda _: "auto",
    "single_device": lambda _: "auto",
    "ddp": _ddp("popen"),
    "ddp_spawn": _ddp("spawn"),
    "ddp_fork": _ddp("fork"),
    "ddp_notebook": _ddp("fork"),
}
"""Constructors of supported strategies, from the timeout of collectives, by name."""

REFUSED: dict[str, str] = {
    "fsdp": "FSDP shards and flattens parameters, so sparse table gradients and gradients at z are lost",
    "deepspeed": "DeepSpeed owns the optimizer and the backward, and accepts neither sparse tables nor several losses",
    "model_parallel": "it needs DTensor parameters, whose embedding gradients are replicated at full size",
    "ddp_find_unused_parameters_true": "every head takes part in every step, so that no parameter is unused; use ddp",
    "ddp_find_unused_parameters_false": "it is what ddp does here",
}
"""Reasons against strategies, by name or prefix."""


def refusal(name: str) -> str | None:
    """Return the reason why a strategy is not supported, or None if it is.

    Example:
        >>> refusal("ddp") is None, refusal("deepspeed_stage_2").startswith("DeepSpeed")
        (True, True)
    """
    if name in STRATEGIES:
        return None
    reasons = (reason for refused, reason in REFUSED.items() if name == refused or name.startswith(f"{refused}_"))
    return next(reasons, "it has not been shown to work here")


def add_torchrun_options(options: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the Trainer's options with the numbers of devices and nodes that torchrun started, unless they are given.

    Without them, Lightning would start a separate training in every process on a machine without GPUs.

    Args:
        options: The recipe's ``trainer`` section.
        environment: Environment variables.

    Raises:
        MtlError: If the options have other numbers.

    Example:
        >>> add_torchrun_options({}, {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4"})
        {'devices': 2, 'num_nodes': 2}
    """
    if "TORCHELASTIC_RUN_ID" not in environment or "LOCAL_WORLD_SIZE" not in environment:
        return dict(options)
    here, all_processes = int(environment["LOCAL_WORLD_SIZE"]), int(environment["WORLD_SIZE"])
    chosen = {**options}
    for name, started in (("devices", here), ("num_nodes", all_processes // here)):
        if chosen.get(name) in (None, "auto", -1, "-1"):
            chosen[name] = started
        elif count_devices(chosen[name]) != started:
            raise MtlError(
                f"torchrun started {name}={started}, and trainer.{name} is {chosen[name]}",
                f"leave trainer.{name} out: torchrun sets it",
            )
    return chosen


def count_devices(devices: Any, accelerator: str = "auto") -> int:
    """Return the number of devices of a ``trainer.devices``; ``auto`` and -1 mean all GPUs, or one CPU.

    Example:
        >>> count_devices(2), count_devices("0,1"), count_devices([3])
        (2, 2, 1)
    """
    if isinstance(devices, list | tuple):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        return 1 if accelerator == "cpu" else max(torch.cuda.device_count(), 1)
    return len(devices.split(",")) if isinstance(devices, str) and "," in devices else int(devices)


def build_strategy(
    name: str, devices: Any, timeout_seconds: float, *, nodes: int = 1, accelerator: str = "auto"
) -> Strategy | str:
    """Build the strategy of a run.

    Args:
        name: ``trainer.strategy``; ``auto`` means ``ddp`` for several devices or nodes.
        devices: ``trainer.devices``.
        timeout_seconds: Seconds after which a process stops waiting for another.
        nodes: ``trainer.num_nodes``.
        accelerator: ``trainer.accelerator``, which decides on the devices of ``auto``.

    Raises:
        MtlError: If the strategy is not supported, with the reason.
    """
    reason = refusal(name)
    if reason is not None:
        raise MtlError(f"trainer.strategy: {name} is refused: {reason}", f"choose one of {', '.join(STRATEGIES)}")
    several = nodes > 1 or count_devices(devices, accelerator) > 1
    chosen = "ddp" if name == "auto" and several else name
    return STRATEGIES[chosen](timedelta(seconds=timeout_seconds))
