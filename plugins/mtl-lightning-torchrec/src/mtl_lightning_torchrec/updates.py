"""Optimizer in TorchRec's backward pass, with the interface that a learning-rate schedule needs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.distributed.optim import _apply_optimizer_in_backward as optimize_in_backward
from torch.optim import Optimizer
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

from mtl_lightning.errors import MtlError

OPTIMIZERS: dict[str, tuple[type[Optimizer], tuple[str, ...]]] = {
    "adagrad": (torch.optim.Adagrad, ("lr", "eps")),
    "rowwise_adagrad": (RowWiseAdagrad, ("lr", "eps")),
    "sgd": (torch.optim.SGD, ("lr",)),
}
"""FBGEMM's exact kernels: the class that selects a kernel, and its options."""


def fuse(parameters: Any, name: str, **options: float) -> None:
    """Mark table parameters so that TorchRec updates them in the backward pass.

    Args:
        parameters: Parameters of the collection.
        name: Name of the optimizer, as in ``optimizer.tables``.
        options: Learning rate ``lr`` and denominator constant ``eps``.

    Raises:
        MtlError: If FBGEMM has no exact kernel for the optimizer.
    """
    if name not in OPTIMIZERS:
        raise MtlError(
            f"encoder torchrec has no optimizer.tables={name}", f"choose one of {', '.join(sorted(OPTIMIZERS))}"
        )
    kind, accepted = OPTIMIZERS[name]
    optimize_in_backward(kind, parameters, {key: options[key] for key in accepted})


class TableUpdates(Optimizer):
    """Optimizer with the learning rate of tables that are updated in the backward pass; its step does nothing.

    Args:
        fused: TorchRec's optimizer of the sharded tables.
        lr: Learning rate.
    """

    def __init__(self, fused: Any, lr: float) -> None:
        super().__init__([nn.Parameter(torch.zeros(0))], {"lr": lr})
        self.fused = fused
        self._current_rate = lr

    def refresh(self) -> None:
        """Pass the schedule's current rate to the engine; called before each forward pass in training."""
        rate = float(self.param_groups[0]["lr"])
        if rate != self._current_rate:
            for group in self.fused.param_groups:
                group["lr"] = rate
            self.fused.step()  # only transfers the rate; tables are updated in the backward pass
            self._current_rate = rate

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do nothing but call the closure, because the tables were updated in the backward pass."""
        return None if closure is None else closure()
