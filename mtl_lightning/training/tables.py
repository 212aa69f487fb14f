"""Embedding tables: optimizers that update only the batch's rows."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from mtl_lightning.distributed import world_size
from mtl_lightning.training.rows import coalesce


def add_rows(table: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """Add values to rows of a table in place; several times faster than ``index_add_``.

    Args:
        table: Table [V, width].
        rows: Rows [n], which may repeat.
        values: Values [n, width].
    """
    return table.scatter_add_(0, rows.unsqueeze(1).expand_as(values), values)


def round_at_random(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round float32 numbers to one of the two nearest bfloat16 numbers, so that the mean is the number itself.

    Rounding to the nearest would lose every update below 1/512 of an embedding.

    Args:
        values: Finite numbers, float32.
        generator: Generator on their device.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> rounded = round_at_random(torch.full((1000,), 1 + 1 / 512), generator).float()
        >>> sorted({float(x) for x in rounded}), round(float(rounded.mean()), 3)
        ([1.0, 1.0078125], 1.002)
    """
    noise = torch.randint(1 << 16, values.shape, generator=generator, dtype=torch.int32, device=values.device)
    bits = values.contiguous().view(torch.int32) + noise  # bfloat16 is the upper half of float32
    return (bits & -(1 << 16)).view(torch.float32).to(torch.bfloat16)


def divide(number: float, values: Tensor) -> Tensor:
    """``number / values`` in one kernel; torch's own operator takes two, a reciprocal and a product.

    Example:
        >>> divide(3.0, torch.tensor([2.0, 4.0]))
        tensor([1.5000, 0.7500])
    """
    return torch.tensor(number, dtype=values.dtype) / values


def state_like(table: Tensor, *shape: int) -> Tensor:
    """Zeros for an optimizer's state of a table, in float32 if the table is in half precision."""
    dtype = torch.promote_types(table.dtype, torch.float32)
    return torch.zeros(shape, dtype=dtype, device=table.device)


@torch.no_grad()
def decay_rows(table: Tensor, strength: float) -> None:
    """Add an L2 penalty of a table's touched rows to its sparse gradient: g_r ← g_r + strength · e_r.

    A rare row has small gradients, so that the penalty is a larger part of them and the row stays near zero. Rows that
    are not in the batch cost nothing.

    Args:
        table: Table [V, width] with a sparse gradient, which is replaced by a coalesced one.
        strength: Factor of the row e_r.

    Example:
        >>> table = nn.Parameter(torch.tensor([[1.0], [2.0]]))
        >>> table.grad = torch.sparse_coo_tensor([[1]], [[0.5]], (2, 1), check_invariants=False)
        >>> decay_rows(table, 0.25)
        >>> table.grad.to_dense().tolist()
        [[0.0], [1.0]]
    """
    assert table.grad is not None
    gradient = coalesce(table.grad)
    gradient._values().add_(table.index_select(0, gradient._indices()[0]), alpha=strength)
    table.grad = gradient


class RowOptimizer(Optimizer):
    """Optimizer that steps on the rows of coalesced sparse gradients; subclasses update a table by :meth:`update`."""

    broken: Tensor | None = None
    """True, on the device, if this step must change nothing. Its gradients are zero then. None for no step."""

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    gradient = coalesce(table.grad)
                    values = gradient._values()
                    values = values.to(torch.promote_types(values.dtype, torch.float32))
                    self.update(table, gradient._indices()[0], values, group)
        return loss

    def move(self, table: Tensor, rows: Tensor, change: Tensor, group: dict[str, Any]) -> None:
        """Add ``change`` [R, width] to ``rows`` [R] of a table; in bfloat16 the sum is rounded at random.

        The random numbers depend only on the number of roundings, which is saved with the group. Processes agree.
        """
        if table.dtype != torch.bfloat16:
            add_rows(table, rows, change)
            return
        group["roundings"] = group.get("roundings", 0) + 1
        generator = torch.Generator(table.device).manual_seed(group["roundings"])
        table.index_copy_(0, rows, round_at_random(table.index_select(0, rows).float() + change, generator))

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state in its own type, where torch would convert it to the type of the table."""
        super().load_state_dict(state_dict)
        tables = [table for group in self.param_groups for table in group["params"]]
        for index, values in state_dict["state"].items():
            table = tables[index]
            self.state[table] |= {
                name: value.to(table.device, copy=True)
                for name, value in values.items()
                if isinstance(value, Tensor) and value.dtype != self.state[table][name].dtype
            }

    def update(self, table: Tensor, rows: Tensor, values: Tensor, group: dict[str, Any]) -> None:
        """Update ``rows`` [R] of a table by their gradients ``values`` [R, width]; a row may repeat if it is zero."""
        raise NotImplementedError


class RowwiseAdagrad(RowOptimizer):
    """Adagrad with one accumulator per row: s_r ← s_r + mean(g_r²), e_r ← e_r − lr · g_r / (√s_r + eps).

    The state has 1/width of the size of the table.

    Source: Duchi et al., "Adaptive Subgradient Methods", JMLR 2011. The accumulator per row is from FBGEMM's row-wise
    Adagrad.

    Args:
        params: Tables [V, width] with sparse gradients.
        lr: Learning rate.
        eps: Denominator term.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 0.02, eps: float = 1e-8) -> None:
        super().__init__(params, {"lr": lr, "eps": eps})

    @override
    def update(self, table: Tensor, rows: Tensor, values: Tensor, group: dict[str, Any]) -> None:
        """Add to the accumulators of ``rows`` [R], and step along ``values`` [R, width]."""
        state = self.state[table]
        if not state:
            state["sum"] = state_like(table, table.shape[0])
        # A step of zero gradients changes nothing, so that `broken` is not needed.
        total = state["sum"].index_add_(0, rows, values.square().mean(1)).index_select(0, rows)
        factor = divide(-group["lr"], total.sqrt() + group["eps"])
        self.move(table, rows, values * factor.unsqueeze(1), group)


class LazyAdam(RowOptimizer):
    """Adam that updates the moments of the batch's rows only, with a bias correction by each row's own step count.

    Source: Kingma & Ba, "Adam", ICLR 2015, algorithm 1, applied per touched row.

    Args:
        params: Tables [V, width] with sparse gradients.
        lr: Learning rate.
        betas: Decay rates of the moments.
        eps: Denominator term.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @override
    def update(self, table: Tensor, rows: Tensor, values: Tensor, group: dict[str, Any]) -> None:
        """Update the moments of ``rows`` [R] by ``values`` [R, width], and step."""
        state = self.state[table]
        if not state:
            state["steps"] = torch.zeros(table.shape[0], dtype=torch.int64, device=table.device)
            state["mean"], state["square"] = state_like(table, *table.shape), state_like(table, *table.shape)
        first, second = group["betas"]
        steps = state["steps"].index_select(0, rows) + 1
        mean = state["mean"].index_select(0, rows) * first + values * (1 - first)
        square = state["square"].index_select(0, rows) * second + values.square() * (1 - second)
        power = steps.to(values.dtype).unsqueeze(1)
        unbiased = (square / (1 - second**power)).sqrt() + group["eps"]
        change = mean / (1 - first**power) / unbiased * -group["lr"]
        if self.broken is not None:
            steps, change = steps - self.broken.to(steps.dtype), change.masked_fill(self.broken, 0)
            mean = torch.where(self.broken, state["mean"].index_select(0, rows), mean)
            square = torch.where(self.broken, state["square"].index_select(0, rows), square)
        for name, updated in (("steps", steps), ("mean", mean), ("square", square)):
            state[name].index_copy_(0, rows, updated)
        self.move(table, rows, change, group)


TABLE_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "rowwise_adagrad": lambda tables, lr, _, eps: RowwiseAdagrad(tables, lr=lr, eps=eps),
    "adagrad": lambda tables, lr, _, eps: torch.optim.Adagrad(tables, lr=lr, eps=eps),
    "lazy_adam": lambda tables, lr, betas, eps: LazyAdam(tables, lr=lr, betas=betas, eps=eps),
    "sgd": lambda tables, lr, *_: torch.optim.SGD(tables, lr=lr),
}
"""Constructors of table optimizers, from tables, rate, betas and eps, by name."""


def broadcast_table(table: nn.Parameter) -> None:
    """Copy the first process's table to all processes; DDP does not, since it ignores tables."""
    if world_size() > 1:
        dist.broadcast(table.data, src=0)
