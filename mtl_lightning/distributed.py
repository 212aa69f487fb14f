"""Sums and exchanges of tensors across processes."""

import torch
import torch.distributed as dist
from torch import Tensor


def no_sync() -> bool:
    """``distributed_available_fn`` of metrics that exchange their rows in ``compute``.

    The sync of torchmetrics would bring all rows to all processes, and mixes dtypes when a process has no row.
    """
    return False


def gather(rows: Tensor) -> Tensor:
    """Gather the rows of all processes on every process, in the order of ranks.

    Args:
        rows: [n, c]. n may differ between processes and be 0; c and the dtype must be equal.
    """
    if world_size() == 1:
        return rows
    count = torch.tensor([rows.shape[0]], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(world_size())]
    dist.all_gather(counts, count)
    longest = max(map(int, counts))
    padded = rows.new_zeros(longest, rows.shape[1])
    padded[: rows.shape[0]] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(size)] for part, size in zip(parts, counts, strict=True)])


def route(rows: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Send every row to the process that owns its group, so that the rows of a group end up together.

    Args:
        rows: [n, c], n may differ between processes and be 0.
        group: Group of each row, [n] int64.

    Returns:
        The rows and groups that this process owns; a group's rows are in the order of ranks, then of ``rows``.
    """
    world = world_size()
    if world == 1:
        return rows, group
    owner = group % world
    order = torch.argsort(owner, stable=True)
    sent = torch.bincount(owner, minlength=world)
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent)
    sizes_in, sizes_out = sent.tolist(), received.tolist()
    total = sum(sizes_out)
    rows_out, group_out = rows.new_empty(total, rows.shape[1]), group.new_empty(total)
    dist.all_to_all_single(rows_out, rows[order].contiguous(), sizes_out, sizes_in)
    dist.all_to_all_single(group_out, group[order].contiguous(), sizes_out, sizes_in)
    return rows_out, group_out


def world_size() -> int:
    """Number of processes of the default group, 1 outside distributed runs."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def reduce_mean(tensor: Tensor) -> Tensor:
    """Mean of a detached tensor over processes; the tensor itself in one process."""
    return tensor if world_size() == 1 else reduce_sum(tensor) / world_size()


def reduce_sum(tensor: Tensor) -> Tensor:
    """Sum of a detached tensor over processes; the tensor itself in one process."""
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone().contiguous()
    dist.all_reduce(total)
    return total
