"""Values that the host gets from a device, or sends to it, without waiting."""

from typing import Protocol

import torch
from torch import Tensor

from mtl_lightning.training.rows import HOST

DELAY = 10
"""Number of steps after which the host uses a value; the same on all processes, which must stop together."""


class Event(Protocol):
    """A point in the work of a device."""

    def synchronize(self) -> None:
        """Wait for it."""


def record_event(device: torch.device) -> Event:
    """Return the present end of a device's work."""
    event = torch.Event(device)
    event.record()
    return event


class LateCopy:
    """A copy of a device's tensor in pinned memory of the host, which arrives while the host continues.

    Args:
        tensor: The tensor, on a device that is not the host.

    Example:
        ``copy = LateCopy(norm)``, and ten steps later ``float(copy.wait())``.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._event = record_event(tensor.device)

    def wait(self) -> Tensor:
        """Return the copy, after the device has made it."""
        self._event.synchronize()
        return self._host


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a small tensor of the host on a device, without waiting for the device.

    Example:
        >>> send(torch.ones(2), torch.device("cpu")).tolist()
        [1.0, 1.0]
    """
    if device.type in HOST or tensor.device == device:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
