"""Which Lightning strategies work with sparse tables and gradients at the seam, and why others don't."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from lightning.pytorch.strategies import DDPStrategy, Strategy

from mtl_lightning.errors import MtlError


def _ddp(start_method: str) -> Callable[[timedelta], Strategy]:
    def build(timeout: timedelta) -> Strategy:
        return DDPStrategy(start_method=start_method, timeout=timeout)  # type: ignore[arg-type]

    return build


STRATEGIES: dict[str, Callable[[timedelta], Strategy | str]] = {
    "auto": lambda _: "auto",
    "single_device": lambda _: "auto",
    "ddp": _ddp("popen"),
    "ddp_spawn": _ddp("spawn"),
    "ddp_fork": _ddp("fork"),
    "ddp_notebook": _ddp("fork"),
}

REFUSED: dict[str, str] = {
    "fsdp": "FSDP shards and flattens parameters, so sparse table gradients and gradients at z are lost",
    "deepspeed": "DeepSpeed owns the optimizer and the backward, and accepts neither sparse tables nor several losses",
    "model_parallel": "it wants DTensor parameters, whose embedding gradients are replicated at full size",
    "ddp_find_unused_parameters_true": "every head takes part in every step, so there is nothing to find; use ddp",
    "ddp_find_unused_parameters_false": "it is what ddp does here",
}


def refusal(name: str) -> str | None:
    """Why a strategy is not offered, or None if it is.

    Example:
        >>> refusal("ddp") is None, refusal("deepspeed_stage_2").startswith("DeepSpeed")
        (True, True)
    """
    if name in STRATEGIES:
        return None
    reasons = (reason for refused, reason in REFUSED.items() if name == refused or name.startswith(f"{refused}_"))
    return next(reasons, "it is not known to work here")


def build_strategy(name: str, devices: Any, timeout_seconds: float) -> Strategy | str:
    """The strategy of a run.

    Args:
        name: ``trainer.strategy``.
        devices: ``trainer.devices``; with ``auto`` and a number above 1 it means ``ddp``.
        timeout_seconds: After which a process that waits for a dead one gives up.

    Raises:
        MtlError: If the strategy is not known to work, with the reason.
    """
    reason = refusal(name)
    if reason is not None:
        raise MtlError(f"trainer.strategy: {name} is refused: {reason}", f"choose one of {', '.join(STRATEGIES)}")
    several = str(devices).isdigit() and int(devices) > 1
    chosen = "ddp" if name == "auto" and several else name
    return STRATEGIES[chosen](timedelta(seconds=timeout_seconds))
