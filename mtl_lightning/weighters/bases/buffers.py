"""Buffers of a weighter that a step may have to leave as they were, decided on the device."""

import torch
from torch import Tensor, nn


class Buffers:
    """Copies of a module's buffers.

    Args:
        module: The module; its buffers may be changed or replaced afterwards. A buffer that was empty becomes zero when
            it is restored.

    Example:
        >>> module = nn.BatchNorm1d(1)
        >>> before = Buffers(module)
        >>> module.running_mean += 5
        >>> before.restore_unless(torch.tensor(False))
        >>> module.running_mean
        tensor([0.])
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._copies = {name: buffer.clone() for name, buffer in module.named_buffers()}

    def restore_unless(self, condition: Tensor) -> None:
        """Restore the buffers where ``condition``, a scalar on their device, is false."""
        for name, buffer in self._module.named_buffers():
            before = self._copies[name]
            restored = before if before.shape == buffer.shape else torch.zeros_like(buffer)
            buffer.copy_(torch.where(condition, buffer, restored))
