"""Effect of a step on one task on the losses of the others, sampled during training."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from mtl_lightning.analysis.cost import without_trace
from mtl_lightning.analysis.moments import matrix
from mtl_lightning.batch import Batch
from mtl_lightning.distributed import reduce_sum, world_size
from mtl_lightning.errors import MtlError
from mtl_lightning.training.exchange import exchange_rows
from mtl_lightning.training.sharded import updates
from mtl_lightning.training.step import global_counts

OWN_FALL = 1e-3
"""Share by which a look-ahead step lowers the loss of its own task, to first order."""
EVERY = 300
"""Default number of batches between two samples, per task, so that the relative cost does not grow with the tasks."""


def affinity(module: Any, batch: Batch, own_fall: float = OWN_FALL) -> Tensor:
    """Z[i, j] = 1 − L_j(θ − η_i ∇L_i) / L_j(θ): the share by which a step on task i lowers the loss of task j.

    θ are the parameters of the encoder (including its tables) and of the architecture that at least two tasks reach.
    The step size is chosen so that the own loss of task i falls by ``own_fall`` to first order:
    η_i = own_fall · L_i / ‖∇L_i‖². Results therefore do not depend on the units and weights of losses, as they would
    with one learning rate for all tasks. The step is also small enough to be a step of any gradient-based optimizer.

    Losses are computed on the global batch, without dropout; all processes take part. Afterwards, parameters,
    gradients and random states are restored bit for bit.

    Source: Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS 2021, equation 1.
    There, η is the learning rate of the optimizer.

    Args:
        module: A :class:`~mtl_lightning.training.module.MultiTaskModule`.
        batch: This process's rows, on the module's device.
        own_fall: Relative fall of the own loss, to first order.

    Returns:
        [T, T] float64, equal on all processes; NaN where task i has no gradient or a loss is not positive.
    """
    with without_trace(module.network, batch):
        return _affinity(module.network, batch, own_fall)


def _affinity(network: Any, batch: Batch, own_fall: float) -> Tensor:
    counts = global_counts(batch)
    tables = {id(table) for table in network.encoder.table_parameters()}
    with torch.enable_grad():
        losses, _ = network.losses(batch, counts)
        shared, gradients = _shared_gradients(losses, _candidates(network))
    before = _global(losses)
    steps = [
        [
            _mean_gradient(parameter, gradient, id(parameter) in tables)
            for parameter, gradient in zip(shared, row, strict=True)
        ]
        for row in gradients
    ]
    affinities = torch.full((len(losses), len(losses)), torch.nan, dtype=torch.float64)
    for i, step in enumerate(steps):
        squares = sum((float(values.double().square().sum()) for _, values in step), start=0.0)
        rate = own_fall * float(before[i]) / squares if squares > 0 else 0.0
        if 0 < rate < float("inf"):  # equal on all processes
            with torch.no_grad():
                after = _after(network, batch, counts, shared, step, rate)
            affinities[i] = torch.where(before > 0, 1 - after / before, torch.nan)
    return affinities


def _candidates(network: Any) -> list[nn.Parameter]:
    parameters = [*network.encoder.parameters(), *network.architecture.parameters()]
    return list({id(parameter): parameter for parameter in parameters if parameter.requires_grad}.values())


def _shared_gradients(
    losses: Sequence[Tensor], candidates: Sequence[nn.Parameter]
) -> tuple[list[nn.Parameter], list[list[Tensor | None]]]:
    """Parameters that at least two losses reach, and the gradient of each loss at them."""
    rows = [torch.autograd.grad(loss, candidates, retain_graph=True, allow_unused=True) for loss in losses]
    shared = [i for i, parts in enumerate(zip(*rows, strict=True)) if sum(part is not None for part in parts) > 1]
    return [candidates[i] for i in shared], [[row[i] for i in shared] for row in rows]


def _mean_gradient(parameter: nn.Parameter, gradient: Tensor | None, table: bool) -> tuple[Tensor | None, Tensor]:
    """Rows (None for dense parameters) and values of the gradient's mean over processes; a collective."""
    if not table:
        return None, reduce_sum(torch.zeros_like(parameter) if gradient is None else gradient) / world_size()
    own_gradient, parameter.grad = parameter.grad, gradient
    try:
        exchange_rows(parameter)
        exchanged = parameter.grad
    finally:
        parameter.grad = own_gradient
    assert exchanged is not None
    return exchanged._indices()[0], exchanged._values()


def _after(
    network: Any,
    batch: Batch,
    counts: Tensor,
    shared: Sequence[nn.Parameter],
    step: Sequence[tuple[Tensor | None, Tensor]],
    rate: float,
) -> Tensor:
    """Global losses after a step; the step is undone."""
    originals = [
        parameter.clone() if rows is None else parameter.index_select(0, rows)
        for parameter, (rows, _) in zip(shared, step, strict=True)
    ]
    try:
        for parameter, old, (rows, values) in zip(shared, originals, step, strict=True):
            _put(parameter, rows, old - rate * values)
        losses, _ = network.losses(batch, counts)
        return _global(losses)
    finally:
        for parameter, old, (rows, _) in zip(shared, originals, step, strict=True):
            _put(parameter, rows, old)


def _put(parameter: nn.Parameter, rows: Tensor | None, values: Tensor) -> None:
    if rows is None:
        parameter.copy_(values)
    else:
        parameter.index_copy_(0, rows, values)


def _global(losses: Sequence[Tensor]) -> Tensor:
    return (reduce_sum(torch.stack(list(losses)).detach()) / world_size()).double().cpu()


class AffinityCallback(Callback):
    """Samples :func:`affinity` during training, on the batch of the next step.

    A sample costs T backward and T + 1 forward passes for T tasks, which is about T steps.

    Args:
        every: Batches between samples; the first sample is in the middle of the first interval. None means
            :data:`EVERY` times the number of tasks, and takes no samples if look-ahead steps are not possible.

    Raises:
        MtlError: At the start of training, if ``every`` is given and look-ahead steps are not possible. This is so if
            the encoder shards its tables, or if the precision of weights is too low for small steps.

    Example:
        ``Trainer(callbacks=[AffinityCallback(every=500)])``; the result is in ``callback.summary()``.
    """

    def __init__(self, every: int | None = None) -> None:
        self.every = every
        self.tasks: tuple[str, ...] = ()
        self.sums = torch.zeros(0, 0, dtype=torch.float64)
        self.samples = torch.zeros(0, 0, dtype=torch.float64)
        self._off = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check whether look-ahead steps are possible."""
        module: Any = pl_module
        reason = _impossible(module.network)
        if reason is not None and self.every is not None:
            raise MtlError(f"run.affinity: {reason}", "run.affinity=0 takes no samples")
        names = tuple(module.schema.task_index)
        self._off = reason is not None or len(names) < 2
        if self.tasks != names:
            self.tasks = names
            self.sums = torch.zeros(len(names), len(names), dtype=torch.float64)
            self.samples = torch.zeros_like(self.sums)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take a sample if it is due, on all processes at the same batch."""
        every = EVERY * len(self.tasks) if self.every is None else self.every
        if self._off or pl_module.batches % every != every // 2:  # type: ignore[operator]
            return
        sample = affinity(pl_module, batch)
        known = torch.isfinite(sample)
        self.sums += torch.where(known, sample, 0.0)
        self.samples += known.double()

    def summary(self) -> dict[str, Any] | None:
        """Mean Z (row i: steps on task i) and Z relative to the fall of the own task; None without a sample."""
        if not float(self.samples.sum()):
            return None
        mean = self.sums / self.samples  # 0 / 0 is NaN for pairs without a sample
        return {
            "tasks": list(self.tasks),
            "mean": matrix(mean),
            "relative": matrix(torch.where(mean.diagonal() > 0, mean.T / mean.diagonal(), torch.nan).T),
            "samples": int(self.samples.max()),
            "own_fall": OWN_FALL,
        }

    def state_dict(self) -> dict[str, Any]:
        """Sums so far, so that a resumed run reports all its samples."""
        return {"tasks": list(self.tasks), "sums": self.sums, "samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.tasks = tuple(state_dict["tasks"])
        self.sums, self.samples = state_dict["sums"], state_dict["samples"]


def _impossible(network: Any) -> str | None:
    if updates(network.encoder) is not None:
        return "this encoder shards its tables, so steps on them cannot be tried and undone"
    if any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in _candidates(network)):
        return "the precision of 16-bit weights is too low for its small steps"
    return None
