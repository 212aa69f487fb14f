"""The optimizer that TorchRec runs in the backward pass, as the run's optimizer and its schedule see it."""

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
"""FBGEMM's exact kernels: the class that stands for one, and the options that it takes."""


def fuse(parameters: Any, name: str, **options: float) -> None:
    """Mark table parameters so that TorchRec updates them in the backward pass.

    Args:
        parameters: The collection's parameters.
        name: ``optimizer.tables``.
        options: Rate and denominator term.

    Raises:
        MtlError: If FBGEMM has no exact kernel for it.
    """
    if name not in OPTIMIZERS:
        raise MtlError(
            f"encoder torchrec has no optimizer.tables={name}", f"choose one of {', '.join(sorted(OPTIMIZERS))}"
        )
    kind, taken = OPTIMIZERS[name]
    optimize_in_backward(kind, parameters, {key: options[key] for key in taken})


class TableUpdates(Optimizer):
    """Carries the rate of tables that are updated in backward; its step does nothing.

    Args:
        fused: TorchRec's optimizer of the sharded tables.
        lr: Learning rate.
    """

    def __init__(self, fused: Any, lr: float) -> None:
        super().__init__([nn.Parameter(torch.zeros(0))], {"lr": lr})
        self.fused = fused
        self._set = lr

    def refresh(self) -> None:
        """Give the engine the rate that a schedule has set since; called before each training forward."""
        rate = float(self.param_groups[0]["lr"])
        if rate != self._set:
            for group in self.fused.param_groups:
                group["lr"] = rate
            self.fused.step()  # hands rates over; the tables themselves move in backward
            self._set = rate

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Nothing: the tables were updated in backward."""
        return None if closure is None else closure()
