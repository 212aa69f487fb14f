"""Row lookup in tables with a zero row, and sparse gradients with each row once, per kind of device."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

RADIX = 32_768
"""Number of integers from which on torch sorts by radix on a CPU; it is so much faster that padding pays off."""

HOST = ("cpu",)
"""Kinds of devices that share the memory of the host, so that sizes may depend on values at no cost."""


class _Lookup(torch.autograd.Function):
    """Rows of a table whose gradient is sparse and has one entry per looked-up row, padding included.

    Torch's own lookup removes the entries of the padding row. Their number is a value on the device, so the host waits.
    """

    @staticmethod
    def forward(context: Any, rows: Tensor, table: Tensor, padding: int) -> Tensor:
        context.save_for_backward(rows)
        context.padding, context.shape = padding, table.shape
        return functional.embedding(rows, table)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        (rows,) = context.saved_tensors
        values = gradient.masked_fill((rows == context.padding).unsqueeze(-1), 0).flatten(0, -2)
        sparse = torch.sparse_coo_tensor(rows.reshape(1, -1), values, context.shape, check_invariants=False)
        return None, sparse, None


def look_up(rows: Tensor, table: Tensor, padding: int) -> Tensor:
    """Rows of a table, with a sparse gradient that leaves out the padding row, which must be zero.

    Args:
        rows: Rows, [...] int64.
        table: Table [V, width].
        padding: The zero row.

    Returns:
        [..., width].

    Example:
        >>> table = torch.tensor([[0.0], [2.0]], requires_grad=True)
        >>> look_up(torch.tensor([1, 0, 1]), table, 0).sum().backward()
        >>> table.grad.to_dense().tolist()
        [[0.0], [2.0]]
    """
    if rows.device.type not in HOST:
        table.zero_row = padding  # type: ignore[attr-defined]
        looked_up: Tensor = _Lookup.apply(rows, table, padding)  # type: ignore[no-untyped-call]
        return looked_up
    # Removing the padding row's part of the gradient copies the rest, so it is skipped where no row is padding.
    absent = not bool((rows == padding).any())
    return functional.embedding(rows, table, None if absent else padding, sparse=True)


def zero_row(table: Tensor) -> int | None:
    """A row of a table that :func:`look_up` keeps at zero on a device; None if none is known."""
    row: int | None = getattr(table, "zero_row", None)
    return row


def coalesce(gradient: Tensor, zero: int | None = None) -> Tensor:
    """Return a sparse gradient with each row once.

    On a CPU the rows are in ascending order. This is up to twice as fast as torch's ``coalesce``. On other devices the
    number of entries stays the same, so that the host need not know the number of distinct rows. Entries that are left
    over are zero and belong to row ``zero``. Without such a row, torch's ``coalesce`` is used and the host waits.

    Args:
        gradient: Sparse gradient [V, width].
        zero: A row that is zero and has no gradient, or None.

    Example:
        >>> indices, values = torch.tensor([[2, 0, 2]]), torch.tensor([[1.0], [5.0], [2.0]])
        >>> coalesce(torch.sparse_coo_tensor(indices, values, (4, 1), check_invariants=False)).values().tolist()
        [[5.0], [3.0]]
    """
    on_device = gradient.device.type not in HOST
    if gradient.is_coalesced() or (on_device and zero is None) or not gradient._nnz():
        return gradient.coalesce()
    keys, values = gradient._indices()[0], gradient._values()
    if on_device:
        assert zero is not None
        rows, summed = merge(keys, values, zero)
    else:
        rows, order, starts = distinct(keys, gradient.shape[0])
        # A sum of bags reads each value once, in the order of the rows. Scattered addition takes five times as long.
        summed = functional.embedding_bag(order, values, starts, mode="sum")
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


def merge(keys: Tensor, values: Tensor, zero: int) -> tuple[Tensor, Tensor]:
    """Sum the values of equal keys, with shapes that depend on the number of keys only.

    Args:
        keys: Integers of at least 0, [n] with n > 0.
        values: Values, [n, width]; values of the key ``zero`` are 0.
        zero: Key of the places that are left over.

    Returns:
        Keys in ascending order, [n], and sums, [n, width]. Equal keys have their sum at their last place. Their other
        places have the key ``zero`` and the sum 0.

    Example:
        >>> merge(torch.tensor([5, 3, 5]), torch.tensor([[1.0], [2.0], [4.0]]), 0)
        (tensor([3, 0, 5]), tensor([[2.],
                [0.],
                [5.]]))
    """
    rows, order = keys.sort(stable=True)
    # A bag ends where the next one starts: bags of equal keys are empty, except for the last.
    starts = torch.searchsorted(rows, rows)
    rows[:-1].masked_fill_(rows[1:] == rows[:-1], zero)
    return rows, functional.embedding_bag(order, values, starts, mode="sum")
