"""Embedding tables: optimizers that update only the batch's rows, and their exchange between processes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from mtl_lightning.distributed import world_size

RADIX = 32_768
"""Number of integers from which on torch sorts by radix on a CPU; it is so much faster that padding pays off."""


def coalesce(gradient: Tensor) -> Tensor:
    """Return a sparse gradient with each row once, in ascending order.

    On a CPU this is up to twice as fast as torch's ``coalesce``, which other devices use, since its sums have a fixed
    order there.

    Example:
        >>> indices, values = torch.tensor([[2, 0, 2]]), torch.tensor([[1.0], [5.0], [2.0]])
        >>> coalesce(torch.sparse_coo_tensor(indices, values, (4, 1), check_invariants=False)).values().tolist()
        [[5.0], [3.0]]
    """
    if gradient.is_coalesced() or gradient.device.type != "cpu":
        return gradient.coalesce()
    if not gradient._nnz():
        return gradient.coalesce()
    keys = gradient._indices()[0]
    rows, order, starts = distinct(keys, gradient.shape[0])
    # A sum of bags reads each value once, in the order of the rows. Scattered addition takes five times as long.
    summed = nn.functional.embedding_bag(order, gradient._values(), starts, mode="sum")
    return torch.sparse_coo_tensor(rows.unsqueeze(0), summed, gradient.shape, is_coalesced=True, check_invariants=False)


def distinct(keys: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distinct keys, the order that sorts all keys, and the start of each distinct key in that order.

    Args:
        keys: Integers from 0 below ``size``, [n] with n > 0.
        size: Exclusive upper bound of the keys.

    Returns:
        Distinct keys in ascending order, [k]; places of all keys, sorted by key, [n]; starts, [k].

    Example:
        >>> distinct(torch.tensor([5, 3, 5]), 6)
        (tensor([3, 5]), tensor([1, 0, 2]), tensor([0, 1]))
    """
    count = len(keys)
    narrow = keys.to(torch.int32) if size < 1 << 31 else keys
    if RADIX // 8 < count < RADIX:
        narrow = torch.cat([narrow, narrow.new_full((RADIX - count,), size)])
    ordered, order = (part[:count] for part in narrow.sort(stable=True))
    new = torch.ones(count, dtype=torch.bool, device=keys.device)
    torch.ne(ordered[1:], ordered[:-1], out=new[1:])
    starts = new.nonzero()[:, 0]
    return ordered.index_select(0, starts).to(torch.int64), order, starts


def add_rows(table: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """Add values to rows of a table in place; several times faster than ``index_add_``.

    Args:
        table: Table [V, width].
        rows: Rows [n], which may repeat.
        values: Values [n, width].
    """
    return table.scatter_add_(0, rows.unsqueeze(1).expand_as(values), values)


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


class _RowOptimizer(Optimizer):
    """Optimizer that steps on the rows of coalesced sparse gradients; subclasses update a table by :meth:`update`."""

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
                    self.update(table, gradient._indices()[0], gradient._values(), group)
        return loss

    def update(self, table: Tensor, rows: Tensor, values: Tensor, group: dict[str, Any]) -> None:
        raise NotImplementedError


class RowwiseAdagrad(_RowOptimizer):
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
            state["sum"] = torch.zeros(table.shape[0], dtype=table.dtype, device=table.device)
        total = state["sum"].index_select(0, rows) + values.square().mean(1)
        state["sum"].index_copy_(0, rows, total)
        add_rows(table, rows, values * (-group["lr"] / (total.sqrt() + group["eps"])).unsqueeze(1))


class LazyAdam(_RowOptimizer):
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
            state["mean"] = torch.zeros_like(table)
            state["square"] = torch.zeros_like(table)
        first, second = group["betas"]
        steps = state["steps"].index_select(0, rows) + 1
        mean = state["mean"].index_select(0, rows) * first + values * (1 - first)
        square = state["square"].index_select(0, rows) * second + values.square() * (1 - second)
        for name, updated in (("steps", steps), ("mean", mean), ("square", square)):
            state[name].index_copy_(0, rows, updated)
        power = steps.to(values.dtype).unsqueeze(1)
        unbiased = (square / (1 - second**power)).sqrt() + group["eps"]
        add_rows(table, rows, mean / (1 - first**power) / unbiased * -group["lr"])


TABLE_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "rowwise_adagrad": lambda tables, lr, _, eps: RowwiseAdagrad(tables, lr=lr, eps=eps),
    "adagrad": lambda tables, lr, _, eps: torch.optim.Adagrad(tables, lr=lr, eps=eps),
    "lazy_adam": lambda tables, lr, betas, eps: LazyAdam(tables, lr=lr, betas=betas, eps=eps),
    "sgd": lambda tables, lr, *_: torch.optim.SGD(tables, lr=lr),
}
"""Constructors of table optimizers, from tables, rate, betas and eps, by name."""


def exchange_rows(table: nn.Parameter) -> int:
    """Replace a table's sparse gradient by its mean over processes, coalesced and equal on all of them.

    Row counts, rows and values are gathered in one collective each, padded to the largest count. The size of the
    exchange depends on the batch, not on the vocabulary, and every backend supports it.

    Returns:
        Bytes that this process contributed; a ring of N processes passes them on N − 1 times.
    """
    gradient = table.grad
    if gradient is None:
        gradient = torch.sparse_coo_tensor(
            torch.zeros(1, 0, dtype=torch.int64, device=table.device),
            torch.zeros(0, table.shape[1], dtype=table.dtype, device=table.device),
            size=table.shape,
            check_invariants=False,
        )
    gradient = coalesce(gradient)
    world = world_size()
    if world == 1:
        table.grad = gradient
        return 0
    rows, values = gradient._indices()[0], gradient._values()
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world)]
    dist.all_gather(counts, rows.new_tensor([len(rows)]))
    sizes = [int(count) for count in counts]
    all_rows = _gather_padded(rows, sizes)
    all_values = _gather_padded(values, sizes)
    merged = torch.sparse_coo_tensor(
        torch.cat(all_rows).unsqueeze(0), torch.cat(all_values) / world, table.shape, check_invariants=False
    )
    table.grad = coalesce(merged)
    row_bytes = rows.element_size() + values.element_size() * values.shape[1]
    return rows.element_size() + row_bytes * max(sizes)


def _gather_padded(tensor: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    padded = tensor.new_zeros((max(sizes), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    gathered = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    return [part[:size] for part, size in zip(gathered, sizes, strict=True)]


def broadcast_table(table: nn.Parameter) -> None:
    """Copy the first process's table to all processes; DDP does not, since it ignores tables."""
    if world_size() > 1:
        dist.broadcast(table.data, src=0)
