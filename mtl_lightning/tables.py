"""Embedding tables: optimizers that touch only the batch's rows, and their exchange between processes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_lightning.step import world_size


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
                    gradient = table.grad.coalesce()
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
        total = state["sum"][rows] + values.square().mean(1)
        state["sum"][rows] = total
        table.index_add_(0, rows, values / (total.sqrt() + group["eps"]).unsqueeze(1), alpha=-group["lr"])


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
        steps = state["steps"][rows] + 1
        mean = state["mean"][rows] * first + values * (1 - first)
        square = state["square"][rows] * second + values.square() * (1 - second)
        state["steps"][rows], state["mean"][rows], state["square"][rows] = steps, mean, square
        power = steps.to(values.dtype).unsqueeze(1)
        unbiased = (square / (1 - second**power)).sqrt() + group["eps"]
        table.index_add_(0, rows, mean / (1 - first**power) / unbiased, alpha=-group["lr"])


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
        Bytes that this process sent.
    """
    gradient = table.grad
    if gradient is None:
        gradient = torch.sparse_coo_tensor(
            torch.zeros(1, 0, dtype=torch.int64, device=table.device),
            torch.zeros(0, table.shape[1], dtype=table.dtype, device=table.device),
            size=table.shape,
            check_invariants=False,
        )
    gradient = gradient.coalesce()
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
    table.grad = merged.coalesce()
    return rows.element_size() * max(sizes) + values.element_size() * values.shape[1] * max(sizes)


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
