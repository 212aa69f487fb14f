"""Linear maps and normalisations side by side, as few large products."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_lightning.layers.initialisation import he_uniform_
from mtl_lightning.layers.padding import linear


class _Stacked(torch.autograd.Function):
    """Parameters of T equal modules stacked in one kernel; gradients of the stacks are split without a copy."""

    @staticmethod
    def forward(_: Any, count: int, *parameters: Tensor) -> tuple[Tensor, ...]:
        kinds = [(count, *parameter.shape) for parameter in parameters[::count]]
        flat = torch.cat([parameter.reshape(-1) for parameter in parameters])
        parts = flat.split([count * parameter.numel() for parameter in parameters[::count]])
        return tuple(part.view(kind) for part, kind in zip(parts, kinds, strict=True))

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # A gradient of another layout than its parameter's would be copied once per parameter.
        return None, *(part for gradient in gradients for part in gradient.contiguous().unbind())


def apply_maps(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """E linear maps, each of its own input: x [E, B, in], weight [E, out, in] and bias [E, 1, out] → [E, B, out].

    Example:
        >>> apply_maps(torch.ones(2, 1, 3), torch.ones(2, 1, 3), torch.ones(2, 1, 1)).tolist()
        [[[4.0]], [[4.0]]]
    """
    maps = weight.transpose(1, 2)
    return torch.bmm(x, maps) if bias is None else torch.baddbmm(bias, x, maps)


def is_watched(module: nn.Module) -> bool:
    """True if a module has hooks, which need calls and gradients of this module alone."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def stack_parameters(modules: Sequence[nn.Module]) -> list[Tensor]:
    """Parameters of T equal modules, each kind stacked: [T, …] in the order of ``parameters()``.

    Example:
        >>> [tuple(part.shape) for part in stack_parameters([nn.Linear(3, 2), nn.Linear(3, 2)])]
        [(2, 2, 3), (2, 2)]
    """
    parameters = [kind for kinds in zip(*(m.parameters() for m in modules), strict=True) for kind in kinds]
    stacked: tuple[Tensor, ...] = _Stacked.apply(len(modules), *parameters)  # type: ignore[no-untyped-call]
    return list(stacked)


class BatchedLinear(nn.Module):
    """E linear maps side by side: one matrix product for a shared input, otherwise a batched product.

    Args:
        count: Number E of maps.
        in_width: Width of the input.
        out_width: Width of the output.
        bias: Whether to add a bias.
        activation: Name of the activation that follows, for the initialisation
            (:func:`mtl_lightning.layers.initialisation.he_uniform_`). Without it each map starts as nn.Linear does.

    Shapes: [B, in_width] or [E, B, in_width] → [E, B, out_width].

    Example:
        >>> linear = BatchedLinear(3, 4, 2)
        >>> shared = linear(torch.ones(5, 4))
        >>> shared.shape, torch.allclose(shared, linear(torch.ones(3, 5, 4)))
        (torch.Size([3, 5, 2]), True)
    """

    def __init__(
        self, count: int, in_width: int, out_width: int, *, bias: bool = True, activation: str | None = None
    ) -> None:
        super().__init__()
        self.count, self.in_width, self.out_width = count, in_width, out_width
        bound = in_width**-0.5 if in_width else 0.0
        # Biases are flat because the optimizer decays matrices only.
        self.weight = nn.Parameter(torch.empty(count, out_width, in_width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count * out_width).uniform_(-bound, bound)) if bias else None
        if activation is not None:
            he_uniform_(self.weight, self.bias, activation)

    def forward(self, x: Tensor) -> Tensor:
        """Apply every map to the shared input or to its own."""
        if x.ndim == 2:
            return linear(x, self.weight.flatten(0, 1), self.bias).view(-1, self.count, self.out_width).transpose(0, 1)
        return apply_maps(x, self.weight, None if self.bias is None else self.bias.view(self.count, 1, -1))

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"count={self.count}, in_width={self.in_width}, out_width={self.out_width}"


class BatchedNorm(nn.Module):
    """Layer normalisation with its own scale and shift for each of E experts, [E, B, width] → [E, B, width]."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.count, self.width = count, width
        self.weight = nn.Parameter(torch.ones(count * width))
        self.bias = nn.Parameter(torch.zeros(count * width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the last dimension."""
        normal = functional.layer_norm(x, (self.width,))
        return normal * self.weight.view(self.count, 1, -1) + self.bias.view(self.count, 1, -1)
