"""Transfer of a batch to a device in one copy, for which the host does not wait."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.training.rows import HOST

ALIGNMENT = 8
"""Bytes to which the start of each tensor is aligned in the buffer, so that any type can be viewed there."""


def send_batch(batch: Batch, device: torch.device, *, training: bool) -> Batch:
    """Return a batch on a device.

    All tensors are packed into one pinned buffer. Ids travel as int32 and are widened on the device, which halves their
    bytes. Histories travel as they are stored, and are padded and widened on the device. In training, true expectations
    of labels stay behind: only metrics read them. A batch that is on the device already is returned as it is.

    Args:
        batch: The batch, on the host.
        device: Its new device.
        training: True for batches of training.

    Example:
        >>> from mtl_lightning.schema import Schema
        >>> batch = Batch(schema=Schema((), ()), ids=torch.ones(2, 1, dtype=torch.int64), dense=torch.zeros(2, 0),
        ...               labels=torch.zeros(2, 0), mask=torch.zeros(2, 0, dtype=torch.bool))
        >>> send_batch(batch, torch.device("cpu"), training=True) is batch
        True
    """
    return pack_batch(batch, device, training=training)()


def pack_batch(batch: Batch, device: torch.device, *, training: bool) -> Callable[[], Batch]:
    """Pack a batch as :func:`send_batch` does, and return a function that sends it.

    Packing needs the host only, so that another thread can do it. Torch uses the memory of a buffer again when its copy
    has ended.

    Args:
        batch: The batch, on the host.
        device: Its new device.
        training: True for batches of training.

    Example:
        ``pack_batch(batch, torch.device("cuda"), training=True)()``
    """
    if batch.ids.device == device:
        return lambda: batch
    if device.type in HOST:
        return lambda: batch.to(device)
    if training:
        oracles = {name for task in batch.schema.tasks for name in task.oracles}
        batch = replace(batch, raw={name: values for name, values in batch.raw.items() if name not in oracles})
    # Windows of histories are copied once and padded on the device.
    batch = batch.moved(_same)
    narrowed = max(batch.schema.table_sizes.values(), default=0) < 1 << 31
    ids, others = _tensors(batch, narrowed)
    places, size = _places([tensor.numel() * 4 for tensor in ids] + [_bytes(tensor) for tensor in others])
    # In a thread, torch would otherwise open the first GPU to pin memory.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        buffer = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    kinds = [torch.int32] * len(ids) + [tensor.dtype for tensor in others]
    for tensor, place, kind in zip((*ids, *others), places, kinds, strict=True):
        _view(buffer, place, tensor, kind).copy_(tensor)

    def send() -> Batch:
        sent = buffer.to(device, non_blocking=True)
        wide = sent[: places[len(ids)] if others else size].view(torch.int32).to(torch.int64)
        views = {
            id(tensor): wide[place // 4 : place // 4 + tensor.numel()].view(tensor.shape)
            for tensor, place in zip(ids, places, strict=False)
        }
        for tensor, place in zip(others, places[len(ids) :], strict=True):
            views[id(tensor)] = _view(sent, place, tensor, tensor.dtype)
        return batch.moved(lambda tensor: views[id(tensor)])

    return send


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _tensors(batch: Batch, narrowed: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Distinct tensors of a batch: integers that fit int32, and all others."""
    distinct: dict[int, Tensor] = {}
    batch.moved(lambda tensor: distinct.setdefault(id(tensor), tensor))
    fits = {key: narrowed and tensor.dtype == torch.int64 for key, tensor in distinct.items()}
    fits[id(batch.group)] = False  # the groups of a batch are numbers of 64 bits
    return (
        [tensor for key, tensor in distinct.items() if fits[key]],
        [tensor for key, tensor in distinct.items() if not fits[key]],
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _places(sizes: list[int]) -> tuple[list[int], int]:
    """Starts of parts with these sizes in bytes, one after the other, and their end."""
    starts, end = [], 0
    for size in sizes:
        starts.append(end)
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return starts, end


def _view(buffer: Tensor, place: int, tensor: Tensor, kind: torch.dtype) -> Tensor:
    size = tensor.numel() * kind.itemsize
    return buffer[place : place + size].view(kind).view(tensor.shape)
