"""Exchange of the touched rows of embedding tables between processes, all at once or node by node."""

from datetime import timedelta
from functools import lru_cache
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtl_lightning.distributed import world_size
from mtl_lightning.errors import MtlError
from mtl_lightning.training.rows import HOST, coalesce, zero_row

Values = Literal["full", "bfloat16"]
"""Precision of gradients that are sent: the type of the table, or bfloat16."""


class RowExchange:
    """Replaces a table's sparse gradient by its mean over processes, coalesced and equal on all of them.

    All processes send equally many entries, rows and values together, in one collective. The hosts agree on the
    number; it is a shape, so that no host waits for its device. The size depends on the batch, not on the vocabulary.

    With ``group`` processes per node, the sum has three gathers. The processes of a node first add their rows. Each
    then sends its share of these sums to its peers on the other nodes, and the processes of a node exchange what they
    received. Between nodes, each sum is sent once, where several processes of a node touched the row. The order of
    additions is fixed, so that all processes have the same bits. A single gather differs from them by rounding only.

    Args:
        group: Number of processes per node, which divides the number of processes; 0 for a single gather.
        values: Precision of the values that are sent, with ``group`` only between nodes. ``bfloat16`` changes
            each value by at most 2⁻⁸ of itself, and the mean by at most 2⁻⁸ of the mean of absolute values.

    Raises:
        MtlError: If ``group`` does not divide the number of processes.

    Example:
        >>> table = nn.Parameter(torch.zeros(3, 1))
        >>> table.grad = torch.sparse_coo_tensor([[2, 2]], [[1.0], [2.0]], (3, 1), check_invariants=False)
        >>> RowExchange()(table), table.grad.to_dense().tolist()
        (0, [[0.0], [0.0], [3.0]])
    """

    def __init__(self, group: int = 0, values: Values = "full") -> None:
        self.group, self.half = group, values == "bfloat16"

    def __call__(self, table: nn.Parameter) -> int:
        """Exchange the gradient of a table; a collective.

        Returns:
            Bytes that this process contributed; a ring of N processes passes them on N − 1 times.
        """
        gradient = table.grad
        if gradient is None:
            rows = torch.zeros(1, 0, dtype=torch.int64, device=table.device)
            values = torch.zeros(0, table.shape[1], dtype=table.dtype, device=table.device)
            gradient = torch.sparse_coo_tensor(rows, values, table.shape, check_invariants=False)
        gradient = coalesce(gradient, zero_row(table))
        world = world_size()
        if world == 1:
            table.grad = gradient
            return 0
        if self.group in (0, 1, world):
            gradient, sent = _gather(table, gradient, _agree(gradient._nnz()), dist.group.WORLD, half=self.half)
        else:
            gradient, sent = self._by_node(table, gradient)
        gradient = coalesce(gradient, zero_row(table))
        gradient._values().div_(world)
        table.grad = gradient
        return sent

    def _by_node(self, table: nn.Parameter, gradient: Tensor) -> tuple[Tensor, int]:
        node, peers = _groups(dist.group.WORLD, self.group)
        gradient, inner = _gather(table, gradient, _agree(gradient._nnz()), node)
        gradient = coalesce(gradient, zero_row(table))
        share = -(-_agree(gradient._nnz()) // self.group)
        first = share * (dist.get_rank() % self.group)
        rows, values = gradient._indices()[:, first : first + share], gradient._values()[first : first + share]
        part = torch.sparse_coo_tensor(rows, values, table.shape, check_invariants=False)
        part, across = _gather(table, part, share, peers, half=self.half)
        whole, back = _gather(table, part, _agree(part._nnz()), node, half=self.half)
        return whole, inner + across + back


def exchange_rows(table: nn.Parameter) -> int:
    """Exchange a table's gradient in a single gather, in full precision; see :class:`RowExchange`."""
    return RowExchange()(table)


def check_group(size: int, processes: int) -> None:
    """Check that all nodes have equally many processes; a single process exchanges nothing.

    Args:
        size: Number of processes per node; 0 for a single gather.
        processes: Number of all processes.

    Raises:
        MtlError: If they do not.

    Example:
        >>> check_group(2, 4)
        >>> check_group(8, 1)
    """
    if processes > 1 and size and processes % size:
        raise MtlError(
            f"optimizer.exchange_group: {size} processes per node do not divide {processes} processes",
            "set the number of processes that each node starts",
        )


@lru_cache(maxsize=2)
def _groups(world: dist.ProcessGroup, size: int) -> tuple[dist.ProcessGroup, dist.ProcessGroup]:
    """Return the processes of this node, and those of the same place on every node; a collective at the first call."""
    count = dist.get_world_size(world)
    check_group(size, count)
    ranks = torch.arange(count).view(-1, size)
    node, _ = dist.new_subgroups_by_enumeration(ranks.tolist(), timeout=_timeout(world))
    peers, _ = dist.new_subgroups_by_enumeration(ranks.T.tolist(), timeout=_timeout(world))
    return node, peers


@lru_cache(maxsize=2)
def _host_group(world: dist.ProcessGroup) -> dist.ProcessGroup:
    """Return a group of all processes whose collectives work on the host; a collective at the first call."""
    if dist.get_backend(world) == "gloo":
        return world
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=_timeout(world))
    return group


def _timeout(world: dist.ProcessGroup) -> timedelta:
    """Return how long processes wait for each other, which new groups do not take over by themselves."""
    timeout: timedelta = world._get_backend(world._device_types[0]).options._timeout
    return timeout


def _agree(size: int) -> int:
    """Return the largest size of all processes, at least 1; hosts exchange it, and no device takes part."""
    largest = torch.tensor(size)
    dist.all_reduce(largest, dist.ReduceOp.MAX, group=_host_group(dist.group.WORLD))
    return max(int(largest), 1)


def _gather(
    table: Tensor, gradient: Tensor, size: int, group: dist.ProcessGroup | None, *, half: bool = False
) -> tuple[Tensor, int]:
    """Gather ``size`` entries of each process of a group, in the order of ranks.

    Returns:
        Sparse gradient with the entries of all processes, not coalesced; bytes that this process contributed.
    """
    rows, values = gradient._indices()[0], gradient._values()
    kind = torch.int32 if table.shape[0] <= torch.iinfo(torch.int32).max else torch.int64
    zero = zero_row(table)
    padded = rows.new_full((size,), -1 if zero is None else zero, dtype=kind)
    padded[: len(rows)] = rows
    sent = values.new_zeros(size, values.shape[1], dtype=torch.bfloat16 if half else values.dtype)
    sent[: len(values)] = values
    # Bytes, so that rows and values are one collective.
    packed = torch.cat([part.view(torch.uint8).view(size, -1) for part in (padded, sent)], 1)
    gathered = packed.new_empty(dist.get_world_size(group) * size, packed.shape[1])
    # The older name is deprecated, and the only one of older versions of torch.
    getattr(dist, "all_gather_single", dist.all_gather_into_tensor)(gathered, packed, group=group)
    keys = gathered[:, : kind.itemsize].contiguous().view(kind)[:, 0].to(torch.int64)
    received = gathered[:, kind.itemsize :].contiguous().view(sent.dtype).to(values.dtype)
    if zero is None or table.device.type in HOST:  # here the host knows how many entries are padding
        known = keys != (-1 if zero is None else zero)
        keys, received = keys[known], received[known]
    return torch.sparse_coo_tensor(keys.unsqueeze(0), received, table.shape, check_invariants=False), packed.numel()
