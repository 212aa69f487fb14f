"""Embedding tables: optimizers that touch only the batch's rows, and their exchange between processes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_lightning.distributed import world_size

RADIX = 32_768
"""From this number on torch sorts integers on a CPU by radix, which is so much faster that it pays to fill up."""


def coalesce(gradient: Tensor) -> Tensor:
    """A sparse gradient with each row once, in ascending order.

    On a CPU, torch's own way takes up to twice as long; elsewhere it is kept, since sums there are in a fixed order.

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
    # A sum of bags reads each value once, in the rows' order; adding them where they belong takes five times as long.
    summed = nn.functional.embedding_bag(order, gradient._values(), starts, mode="sum")
    return torch.sparse_coo_tensor(rows.unsqueeze(0), summed, gradient.shape, is_coalesced=True, check_invariants=False)


def distinct(keys: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct keys, ascending; the places of all keys in that order; and where each key's places start.

    Args:
        keys: Numbers from 0 below ``size``, [n], n > 0.
        size: A bound for them.

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
    """``table[rows] += values`` in place, also for repeated rows; several times faster than ``index_add_``."""
    return table.scatter_add_(0, rows.unsqueeze(1).expand_as(values), values)


@torch.no_grad()
def decay_rows(table: Tensor, strength: float) -> None:
    """Add an L2 penalty of a table's touched rows to its sparse gradient: g_r ← g_r + strength · e_r.

    A row that is seen rarely has small gradients, of which the penalty is a larger part: it stays near zero until there
    is evidence for more. Rows that the batch doesn't touch cost nothing.

    Args:
        table: Table [V, width] with a sparse gradient, which is replaced by a coalesced one.
        strength: Factor of e_r.

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
    """Steps on the rows of coalesced sparse gradients.

    Subclasses turn rows and gradients into the update of one table (:meth:`update`).
    """

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

    Source: Duchi et al., "Adaptive Subgradient Methods", JMLR 2011; one accumulator per row as in FBGEMM's
    row-wise Adagrad, which keeps the state at 1/width of the table.

    Args:
        params: Tables [V, width] with sparse gradients.
        lr: Learning rate.
        eps: Denominator term.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 0.02, eps: float = 1e-8) -> None:
        super().__init__(params, {"lr": lr, "eps": eps})

    def update(self, table: Tensor, rows: Tensor, values: Tensor, group: dict[str, Any]) -> None:
        """Add to the accumulators of ``rows`` and step along ``values`` [R, width]."""
        state = self.state[table]
        if not state:
            state["sum"] = torch.zeros(table.shape[0], dtype=table.dtype, device=table.device)
        total = state["sum"].index_select(0, rows) + values.square().mean(1)
        state["sum"].index_copy_(0, rows, total)
        add_rows(table, rows, values * (-group["lr"] / (total.sqrt() + group["eps"])).unsqueeze(1))


class LazyAdam(_RowOptimizer):
    """Adam whose moments move only for the batch's rows, with the bias correction of each row's own step count.

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

    def update(self, table: Tensor, rows: Tensor, values: Tensor, group: dict[str, Any]) -> None:
        """Move the moments of ``rows`` and step."""
        state = self.state[table]
        if not state:
            state["steps"] = torch.zeros(table.shape[0], dtype=torch.int64, device=table.device)
            state["mean"] = torch.zeros_like(table)
            state["square"] = torch.zeros_like(table)
        first, second = group["betas"]
        steps = state["steps"].index_select(0, rows) + 1
        mean = state["mean"].index_select(0, rows) * first + values * (1 - first)
        square = state["square"].index_select(0, rows) * second + values.square() * (1 - second)
        for name, moved in (("steps", steps), ("mean", mean), ("square", square)):
            state[name].index_copy_(0, rows, moved)
        power = steps.to(values.dtype).unsqueeze(1)
        unbiased = (square / (1 - second**power)).sqrt() + group["eps"]
        add_rows(table, rows, mean / (1 - first**power) / unbiased * -group["lr"])


TABLE_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "rowwise_adagrad": lambda tables, lr, _, eps: RowwiseAdagrad(tables, lr=lr, eps=eps),
    "adagrad": lambda tables, lr, _, eps: torch.optim.Adagrad(tables, lr=lr, eps=eps),
    "lazy_adam": lambda tables, lr, betas, eps: LazyAdam(tables, lr=lr, betas=betas, eps=eps),
    "sgd": lambda tables, lr, *_: torch.optim.SGD(tables, lr=lr),
}


def exchange_rows(table: nn.Parameter) -> int:
    """Replace a table's sparse gradient by its mean over processes, coalesced and equal on all of them.

    One all-gather of row counts, one of rows and one of values, padded to the largest count: what is sent depends
    on the batch, not on the vocabulary, and works on every backend.

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
    of_a_row = rows.element_size() + values.element_size() * values.shape[1]
    return rows.element_size() + of_a_row * max(sizes)


def _gather_padded(tensor: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    padded = tensor.new_zeros((max(sizes), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    gathered = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    return [part[:size] for part, size in zip(gathered, sizes, strict=True)]


def broadcast_table(table: nn.Parameter) -> None:
    """Give all processes the first one's table; DDP doesn't, since tables are kept out of it."""
    if world_size() > 1:
        dist.broadcast(table.data, src=0)
