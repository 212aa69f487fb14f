"""One optimizer for sparse tables and dense weights: step cost grows with the batch, not with the vocabulary."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_lightning.training.schedule import SCHEDULES, schedule
from mtl_lightning.training.tables import TABLE_OPTIMIZERS, decay_rows

DENSE_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": lambda groups, o: torch.optim.AdamW(groups, lr=o.lr, betas=o.betas, eps=o.eps, fused=o.fused),
    "adam": lambda groups, o: torch.optim.Adam(groups, lr=o.lr, betas=o.betas, eps=o.eps, fused=o.fused),
    "sgd": lambda groups, o: torch.optim.SGD(groups, lr=o.lr, momentum=o.momentum),
    "adagrad": lambda groups, o: torch.optim.Adagrad(groups, lr=o.lr, eps=o.eps),
}


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How a run optimises; the ``optimizer`` section of a recipe.

    Args:
        name: Optimizer of the dense weights.
        lr: Its learning rate.
        weight_decay: Decay of dense matrices; vectors and the weighter's parameters have none.
        betas: Adam's decay rates, of dense weights and of ``lazy_adam``.
        eps: Adam's and Adagrad's denominator term.
        momentum: Momentum of ``sgd``.
        fused: Use torch's fused kernels for Adam and AdamW.
        compile: Run architecture and heads through ``torch.compile`` in training; it needs a C++ compiler.
        tables: Optimizer of the embedding tables; touches only the batch's rows.
        table_lr: Its learning rate.
        table_weight_decay: Strength of the tables' L2 penalty: added to the gradient of the batch's rows, as often as
            they are seen. Tables that their encoder updates itself have none.
        schedule: Course of both learning rates over the run.
        warmup_steps: Steps of linear warm-up before it.
    """

    name: Literal["adamw", "adam", "sgd", "adagrad"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.0
    fused: bool = True
    compile: bool = False
    tables: Literal["rowwise_adagrad", "adagrad", "lazy_adam", "sgd"] = "rowwise_adagrad"
    table_lr: float = 0.02
    table_weight_decay: float = 3e-5
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = 0


class CompositeOptimizer(Optimizer):
    """Several optimizers that step as one.

    Lightning's automatic optimisation takes one optimizer. ``param_groups`` are those of the inner optimizers (the
    same dictionaries), so that a scheduler moves the rates that are read; state is saved and restored per optimizer.

    Args:
        optimizers: Inner optimizers over disjoint parameters; at least one.
        row_decay: L2 penalty of the rows of sparse gradients, see :func:`mtl_lightning.training.tables.decay_rows`.

    Example:
        >>> weight = nn.Parameter(torch.ones(2))
        >>> optimizer = CompositeOptimizer([torch.optim.SGD([weight], lr=0.5)])
        >>> weight.grad = torch.ones(2)
        >>> optimizer.step()
        >>> weight.tolist()
        [0.5, 0.5]
    """

    def __init__(self, optimizers: Sequence[Optimizer], row_decay: float = 0.0) -> None:
        super().__init__([group for inner in optimizers for group in inner.param_groups], {})
        self.optimizers, self.row_decay = list(optimizers), row_decay
        self._relink()

    def _relink(self) -> None:
        self.param_groups = [group for inner in self.optimizers for group in inner.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Run the closure once, let touched rows decay, then step every inner optimizer."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.row_decay:
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None and parameter.grad.is_sparse:
                        decay_rows(parameter, self.row_decay)
        for inner in self.optimizers:
            inner.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """State of every inner optimizer, in order."""
        return {"optimizers": [inner.state_dict() for inner in self.optimizers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict` and link the new groups."""
        for inner, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            inner.load_state_dict(state)
        self._relink()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "optimizers": self.optimizers, "row_decay": self.row_decay}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._relink()


def build_optimizer(
    config: OptimizerConfig,
    dense: Iterable[nn.Parameter],
    undecayed: Iterable[nn.Parameter],
    tables: Iterable[nn.Parameter],
    shards: Optimizer | None = None,
) -> CompositeOptimizer:
    """The optimizer of a run.

    Args:
        config: The recipe's ``optimizer``.
        dense: Dense weights of the network; matrices decay.
        undecayed: Dense weights that never decay (the weighter's).
        tables: Tables with sparse gradients.
        shards: Optimizer of tables that their encoder updates itself.
    """
    parameters = list(dense)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1] + list(undecayed), "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizers = [DENSE_OPTIMIZERS[config.name](groups, config)] if groups else []
    rows = list(tables)
    if rows:
        optimizers.append(TABLE_OPTIMIZERS[config.tables](rows, config.table_lr, config.betas, config.eps))
    if shards is not None:
        optimizers.append(shards)
    return CompositeOptimizer(optimizers, config.table_weight_decay)


def build_scheduler(
    config: OptimizerConfig, optimizer: Optimizer, total_steps: Callable[[], int]
) -> torch.optim.lr_scheduler.LRScheduler | None:
    """The schedule over ``total_steps()`` optimizer steps; None where the rate never changes."""
    if config.schedule == "constant" and config.warmup_steps == 0:
        return None
    factor = schedule(SCHEDULES[config.schedule], config.warmup_steps, total_steps)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def gradients_of(optimizer: Optimizer) -> list[Tensor]:
    """Gradients of an optimizer's parameters that have one."""
    # From the optimizer's lists: walking the modules, metrics included, costs more than the norm itself.
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over dense and coalesced sparse gradients, a scalar."""
    values = [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(values))) if values else torch.zeros(())


def clip_gradients(gradients: Sequence[Tensor], norm: Tensor, limit: float, algorithm: str) -> None:
    """Clip in place, dense and sparse alike.

    Args:
        gradients: Dense or coalesced sparse gradients.
        norm: Their joint norm.
        limit: ``gradient_clip_val``.
        algorithm: ``"norm"`` or ``"value"``.
    """
    values = [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
    if algorithm == "value":
        torch._foreach_clamp_min_(values, -limit)
        torch._foreach_clamp_max_(values, limit)
    else:
        torch._foreach_mul_(values, torch.clamp(limit / (norm + 1e-6), max=1.0))
