"""What a model costs in arithmetic and memory: floating-point operations of a batch, bytes of what is kept."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mtl_lightning.batch import Batch


def batch_flops(module: Any, batch: Batch) -> int:
    """Floating-point operations of the forward and one backward pass of a training batch, by torch's own count.

    Matrix products, convolutions and attention are counted, element-wise work and table look-ups are not; nor are the
    further gradients that a weighter may ask for. Weights, gradients and random states stay as they are.

    Args:
        module: A :class:`~mtl_lightning.training.module.MultiTaskModule`.
        batch: B rows, on the module's device.
    """
    network = module.network
    parameters = [each for each in network.parameters() if each.requires_grad]
    modes = [(each, each.training) for each in network.modules()]
    network.eval()  # no dropout, no running means; a compiled network runs as it is written
    devices = [batch.ids.device] if batch.ids.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.enable_grad(), FlopCounterMode(display=False) as counter:
            losses, _ = network.losses(batch)
            torch.autograd.grad(torch.stack(losses).sum(), parameters, allow_unused=True)
    finally:
        for each, training in modes:
            each.training = training
    return int(counter.get_total_flops())


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the values of some tensors.

    Example:
        >>> tensor_bytes([torch.zeros(2, 3), torch.zeros(1, dtype=torch.int64)])
        32
    """
    return sum(each.numel() * each.element_size() for each in tensors)


def tensors_in(value: Any) -> Iterable[Tensor]:
    """All tensors in nested mappings and sequences, each once."""
    seen: dict[int, Tensor] = {}
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, Tensor):
            seen[one.data_ptr() or id(one)] = one
        elif isinstance(one, Mapping):
            left.extend(one.values())
        elif isinstance(one, list | tuple):
            left.extend(one)
    return seen.values()


def kept_bytes(module: Any, optimizers: Iterable[Any], data: Any) -> dict[str, int]:
    """Bytes of the process's model (tables among them), tables, optimizer state, and of all Stores on disk.

    Args:
        module: A :class:`~mtl_lightning.training.module.MultiTaskModule`.
        optimizers: The Trainer's.
        data: The :class:`~mtl_lightning.data.datamodule.DataModule`, or None for other data, whose size isn't known.
    """
    found = {
        "model": tensor_bytes([*module.network.parameters(), *module.network.buffers(), *module.weighter.parameters()]),
        "tables": tensor_bytes(module.network.encoder.table_parameters()),
        "optimizer_state": tensor_bytes(tensors_in([each.state_dict() for each in optimizers])),
    }
    prepared = getattr(data, "prepared", None)
    if prepared is not None:
        found["store"] = sum(store.bytes for store in prepared.stores.values())
    return found
