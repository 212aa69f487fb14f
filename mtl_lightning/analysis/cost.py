"""Cost of a model in arithmetic and memory: floating-point operations of a batch, bytes of its state."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mtl_lightning.batch import Batch


@contextmanager
def without_trace(network: Any, batch: Batch) -> Iterator[None]:
    """Evaluation mode, without dropout; a compiled network runs uncompiled. Modes and random states are restored."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        with torch.random.fork_rng([batch.ids.device] if batch.ids.device.type == "cuda" else []):
            yield
    finally:
        for part, training in modes:
            part.training = training


def batch_flops(module: Any, batch: Batch) -> int:
    """Floating-point operations of the forward pass and one backward pass of a training batch, as counted by torch.

    Matrix products, convolutions and attention are counted. Element-wise operations, table look-ups and the additional
    gradients of a weighter are not. Weights, gradients and random states are unchanged.

    Args:
        module: A :class:`~mtl_lightning.training.module.MultiTaskModule`.
        batch: B rows, on the module's device.
    """
    network = module.network
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with without_trace(network, batch), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        losses, _ = network.losses(batch)
        torch.autograd.grad(torch.stack(losses).sum(), parameters, allow_unused=True)
    return int(counter.get_total_flops())


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the values of tensors.

    Example:
        >>> tensor_bytes([torch.zeros(2, 3), torch.zeros(1, dtype=torch.int64)])
        32
    """
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def tensors_in(value: Any) -> Iterable[Tensor]:
    """Distinct tensors in nested mappings and sequences."""
    seen: dict[int, Tensor] = {}
    remaining = [value]
    while remaining:
        item = remaining.pop()
        if isinstance(item, Tensor):
            seen[item.data_ptr() or id(item)] = item
        elif isinstance(item, Mapping):
            remaining.extend(item.values())
        elif isinstance(item, list | tuple):
            remaining.extend(item)
    return seen.values()


def state_bytes(module: Any, optimizers: Iterable[Any], data: Any) -> dict[str, int]:
    """Bytes of the process's model (including tables), tables and optimizer state, and of all Stores on disk.

    Args:
        module: A :class:`~mtl_lightning.training.module.MultiTaskModule`.
        optimizers: The Trainer's optimizers.
        data: The :class:`~mtl_lightning.data.datamodule.DataModule`, or None for other data, whose size is unknown.
    """
    sizes = {
        "model": tensor_bytes([*module.network.parameters(), *module.network.buffers(), *module.weighter.parameters()]),
        "tables": tensor_bytes(module.network.encoder.table_parameters()),
        "optimizer_state": tensor_bytes(tensors_in([optimizer.state_dict() for optimizer in optimizers])),
    }
    prepared = getattr(data, "prepared", None)
    if prepared is not None:
        sizes["store"] = sum(store.bytes for store in prepared.stores.values())
    return sizes
