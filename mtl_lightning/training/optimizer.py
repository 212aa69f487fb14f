"""Optimizer of sparse tables and dense weights; the cost of a step grows with the batch, not with the vocabulary."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from mtl_lightning.bounds import Bounds
from mtl_lightning.errors import MtlError
from mtl_lightning.training.schedule import SCHEDULES, make_schedule
from mtl_lightning.training.tables import TABLE_OPTIMIZERS, RowOptimizer, decay_rows, divide

DENSE_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": lambda groups, o: torch.optim.AdamW(groups, lr=o.lr, betas=o.betas, eps=o.eps, fused=o.fused),
    "adam": lambda groups, o: torch.optim.Adam(groups, lr=o.lr, betas=o.betas, eps=o.eps, fused=o.fused),
    "sgd": lambda groups, o: torch.optim.SGD(groups, lr=o.lr, momentum=o.momentum),
    "adagrad": lambda groups, o: torch.optim.Adagrad(groups, lr=o.lr, eps=o.eps),
}
"""Constructors of dense optimizers, from parameter groups and :class:`OptimizerConfig`, by name."""


ROUNDING = ("rowwise_adagrad", "lazy_adam")
"""Optimizers of tables that round at random, as bfloat16 needs it."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Options of the optimizer; the ``optimizer`` section of a recipe.

    Args:
        name: Optimizer of the dense weights.
        lr: Learning rate of the dense weights.
        weight_decay: Weight decay of dense matrices; vectors and the weighter's parameters have none.
        betas: Adam's decay rates, of dense weights and of ``lazy_adam``.
        eps: Term that Adam and Adagrad add to the denominator.
        momentum: Momentum of ``sgd``.
        fused: Use torch's fused kernels for Adam and AdamW.
        compile: Run architecture and heads through ``torch.compile`` in training; this needs a C++ compiler.
        tables: Optimizer of the embedding tables, which updates only the batch's rows.
        table_lr: Learning rate of the tables.
        table_weight_decay: Strength of the tables' L2 penalty, which is added to the gradient of the batch's rows.
            Tables that their encoder updates itself have none.
        redraw_tables: Draw the tables anew at the start of each epoch after the first, with a fresh optimizer state, so
            that repeated rows do not overfit them. See :func:`mtl_lightning.training.redraw.redraw_tables`.
        schedule: Learning-rate schedule of dense weights and tables.
        warmup_steps: Number of steps of linear warm-up before the schedule.
        average: Decay of the exponential moving average of the dense weights, such as 0.999; 0 for none. Validation,
            checkpoints and exports use the average. ``auto`` is 0.999 with a constant rate, and 0 with another
            schedule, whose last steps are small. See :class:`~mtl_lightning.training.average.WeightAverage`.
        exchange_group: Number of processes per node, which add the gradients of table rows before nodes exchange the
            sums; 0 for one exchange of all. See :class:`~mtl_lightning.training.exchange.RowExchange`.
        exchange_values: Precision of gradients of table rows on the network, ``full`` or ``bfloat16``.
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
    redraw_tables: bool = False
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = 0
    average: Annotated[float, Bounds(ge=0, lt=1)] | Literal["auto"] = 0.0
    exchange_group: Annotated[int, Bounds(ge=0)] = 0
    exchange_values: Literal["full", "bfloat16"] = "full"

    @property
    def average_decay(self) -> float:
        """Decay of the average of the dense weights, with ``auto`` resolved; 0 for none.

        Example:
            >>> [OptimizerConfig(average="auto", schedule=name).average_decay for name in ("constant", "linear")]
            [0.999, 0.0]
        """
        if self.average == "auto":
            return 0.999 if SCHEDULES[self.schedule] is None else 0.0
        return self.average


class CompositeOptimizer(Optimizer):
    """Several optimizers that step as one.

    Lightning's automatic optimisation takes one optimizer. ``param_groups`` holds the groups of the inner optimizers
    (the same dictionaries), so that a scheduler changes their rates. State is saved and restored per inner optimizer.

    Args:
        optimizers: Inner optimizers with disjoint parameters, one or more.
        row_decay: L2 penalty of the rows of sparse gradients; see :func:`mtl_lightning.training.tables.decay_rows`.

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
        self._broken: Tensor | None = None
        self._relink()

    def _relink(self) -> None:
        self.param_groups = [group for inner in self.optimizers for group in inner.param_groups]

    def skips_on_device(self) -> bool:
        """True if :meth:`step_unless` works, so that the host need not know whether the gradients are finite.

        Torch's fused Adam and AdamW skip a step on the device, and so do optimizers of sparse gradients here. Others
        would need a copy of their weights and states.
        """
        return all(inner.defaults.get("fused") or _all_sparse(inner) for inner in self.optimizers)

    def step_unless(self, broken: Tensor) -> None:
        """Make the next step change nothing if ``broken``, a scalar on the device, is true."""
        self._broken = broken

    def _condition(self, broken: Tensor | None) -> None:
        """Tell the inner optimizers whether the step counts."""
        flag = None if broken is None else broken.float()
        for inner in self.optimizers:
            if inner.defaults.get("fused"):
                inner.found_inf = flag  # type: ignore[attr-defined]
            elif broken is not None:
                for gradient in gradients_of(inner):
                    gradient._values().masked_fill_(broken, 0)
            if isinstance(inner, RowOptimizer):
                inner.broken = broken

    @override
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Run the closure once, add the penalty of touched rows, and step every inner optimizer."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.row_decay:
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None and parameter.grad.is_sparse:
                        decay_rows(parameter, self.row_decay)
        broken, self._broken = self._broken, None
        self._condition(broken)
        for inner in self.optimizers:
            inner.step()
        return loss

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return ``optimizers``, the state of every inner optimizer in order."""
        return {"optimizers": [inner.state_dict() for inner in self.optimizers]}

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the inner optimizers, and link their new groups."""
        for inner, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            inner.load_state_dict(state)
        self._relink()

    def __getstate__(self) -> dict[str, Any]:
        own = {"optimizers": self.optimizers, "row_decay": self.row_decay, "_broken": None}
        return {**super().__getstate__(), **own}

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
    """Build the optimizer of a run.

    Args:
        config: Options.
        dense: Dense weights of the network; matrices have weight decay.
        undecayed: Dense weights without weight decay (the weighter's).
        tables: Tables with sparse gradients.
        shards: Optimizer of tables that their encoder updates itself, or None.

    Raises:
        MtlError: If tables are in bfloat16 and their optimizer cannot update them.
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
        if any(table.dtype == torch.bfloat16 for table in rows) and config.tables not in ROUNDING:
            raise MtlError(
                f"optimizer.tables: {config.tables} cannot update tables in bfloat16",
                f"choose {' or '.join(ROUNDING)}, or encoder.table_dtype=float32",
            )
        optimizers.append(TABLE_OPTIMIZERS[config.tables](rows, config.table_lr, config.betas, config.eps))
    if shards is not None:
        optimizers.append(shards)
    return CompositeOptimizer(optimizers, config.table_weight_decay)


def build_scheduler(
    config: OptimizerConfig, optimizer: Optimizer, total_steps: Callable[[], int]
) -> torch.optim.lr_scheduler.LRScheduler | None:
    """Build the scheduler of a run.

    Args:
        config: Options.
        optimizer: Optimizer whose rates change.
        total_steps: Function that returns the number of optimizer steps of the run.

    Returns:
        Scheduler, or None if the rate is constant.
    """
    if config.schedule == "constant" and config.warmup_steps == 0:
        return None
    factor = make_schedule(SCHEDULES[config.schedule], config.warmup_steps, total_steps)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def gradients_of(optimizer: Optimizer) -> list[Tensor]:
    """Return the gradients of an optimizer's parameters; parameters without one are left out."""
    # To iterate over the modules, including metrics, would take longer than the norm itself.
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def _all_sparse(optimizer: Optimizer) -> bool:
    return all(gradient.is_sparse for gradient in gradients_of(optimizer))


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Return the joint Euclidean norm of dense and coalesced sparse gradients, a scalar."""
    values = [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
    values = [value.float() if value.dtype == torch.bfloat16 else value for value in values]
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(values))) if values else torch.zeros(())


def clip_gradients(gradients: Sequence[Tensor], norm: Tensor, limit: float, algorithm: str) -> None:
    """Clip dense and sparse gradients in place.

    Args:
        gradients: Dense or coalesced sparse gradients.
        norm: Their joint norm, a scalar.
        limit: Largest norm, or largest absolute value.
        algorithm: ``"norm"`` or ``"value"``.

    Example:
        >>> gradients = [torch.tensor([3.0, 4.0])]
        >>> clip_gradients(gradients, gradient_norm(gradients), 1.0, "norm")
        >>> gradients[0].round(decimals=3).tolist()
        [0.6000000238418579, 0.800000011920929]
    """
    values = [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
    if algorithm == "value":
        torch._foreach_clamp_min_(values, -limit)
        torch._foreach_clamp_max_(values, limit)
    else:
        torch._foreach_mul_(values, divide(limit, norm + 1e-6).clamp_max(1.0))
