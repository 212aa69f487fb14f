"""Dense layers that architectures, heads and encoders share: MLP, batched experts, gates.

Shapes: B rows, E experts, T mixtures (tasks), H width of an expert's output.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from mtl_lightning.bounds import DropRate
from mtl_lightning.errors import MtlError
from mtl_lightning.layers.batched import BatchedLinear, BatchedNorm
from mtl_lightning.layers.initialisation import hidden_linear

Activation = Literal["relu", "silu", "gelu", "leaky_relu", "tanh", "identity"]
Norm = Literal["none", "layer"]


class ActivationOptions(TypedDict, total=False):
    """Options of hidden layers without normalisation."""

    activation: Activation
    dropout: DropRate


class LayerOptions(ActivationOptions, total=False):
    """Options of hidden layers, as :class:`MLP` and :class:`Experts` take them."""

    norm: Norm


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}


def make_activation(name: str) -> nn.Module:
    """The activation of this name; MtlError if there is none."""
    if name not in ACTIVATIONS:
        raise MtlError(f"no activation {name!r}", f"one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def stack(
    sizes: Sequence[int],
    linear: Callable[[int, int], nn.Module],
    normalise: Callable[[int], nn.Module],
    activation: str,
    dropout: float,
    norm: str,
) -> nn.Sequential:
    """Hidden layers for every two neighbouring sizes: linear, normalisation if any, activation, dropout if any."""
    layers: list[nn.Module] = []
    for before, size in pairwise(sizes):
        layers += [linear(before, size), *([normalise(size)] if norm == "layer" else [])]
        layers += [make_activation(activation), *([nn.Dropout(dropout)] if dropout > 0 else [])]
    return nn.Sequential(*layers)


class MLP(nn.Module):
    """Linear layers, each followed by normalisation (if any), activation and dropout (if any).

    There is no batch normalisation: results would depend on the number of processes, and a single row would fail.

    Args:
        in_width: Width of the input.
        hidden: Output widths of the layers; empty makes the identity.
        activation: A name of :data:`ACTIVATIONS`.
        dropout: Probability of dropping a hidden unit.
        norm: ``none`` or ``layer``.

    Shapes: [..., in_width] → [..., width], ``width`` being the last of ``hidden``.

    Example:
        >>> mlp = MLP(4, [8, 2])
        >>> mlp(torch.zeros(3, 4)).shape, mlp.width
        (torch.Size([3, 2]), 2)
    """

    def __init__(
        self,
        in_width: int,
        hidden: Sequence[int],
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str = "none",
    ) -> None:
        super().__init__()
        linear = partial(hidden_linear, activation=activation)
        self.layers = stack([in_width, *hidden], linear, nn.LayerNorm, activation, dropout, norm)
        self.width = [in_width, *hidden][-1]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        result: Tensor = self.layers(x)
        return result


class Experts(nn.Module):
    """E equal MLPs as batched matrix products.

    Equal to E instances of :class:`MLP`, but faster: the first layers are one product with the concatenated weights,
    the others are batched products.

    Args:
        count: Number E of experts.
        in_width: Width of the input.
        hidden: Output widths of the layers of each expert; at least one.
        activation: A name of :data:`ACTIVATIONS`.
        dropout: Probability of dropping a hidden unit.
        norm: ``none`` or ``layer``.

    Shapes: [B, in_width] (shared) or [E, B, in_width] (an input per expert) → [B, E, width].

    Example:
        >>> experts = Experts(3, 4, [8, 2])
        >>> experts(torch.zeros(5, 4)).shape
        torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        count: int,
        in_width: int,
        hidden: Sequence[int],
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str = "none",
    ) -> None:
        super().__init__()
        if count < 1 or not hidden:
            raise MtlError("experts need at least one expert and one layer", "set experts >= 1 and hidden: [64]")
        linear = partial(BatchedLinear, count, activation=activation)
        self.layers = stack([in_width, *hidden], linear, partial(BatchedNorm, count), activation, dropout, norm)
        self.count, self.width = count, hidden[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of all experts."""
        result: Tensor = self.layers(x)
        return result.transpose(0, 1)


class Gates(nn.Module):
    """T softmax gates over E experts from one input, as one matrix product.

    Args:
        in_width: Width of the gates' input.
        count: Number T of gates.
        experts: Number E of experts.
        dropout: Probability of leaving an expert out of a row's gate in training; the other gate values are rescaled to
            sum to one. It keeps single experts from dominating (Zhao et al., RecSys 2019, section 4.2).

    Shapes: [B, in_width] → [B, T, E], each [B, t] summing to one.

    Example:
        >>> Gates(4, 2, 3)(torch.zeros(5, 4)).sum(-1).shape
        torch.Size([5, 2])
    """

    def __init__(self, in_width: int, count: int, experts: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.count, self.experts, self.dropout = count, experts, dropout
        self.linear = nn.Linear(in_width, count * experts)

    def forward(self, x: Tensor) -> Tensor:
        """Gate values."""
        score: Tensor = self.linear(x).view(-1, self.count, self.experts)
        if self.training and self.dropout > 0:
            drop = torch.rand_like(score) < self.dropout
            # A row that would lose all its experts keeps them.
            drop = drop & ~drop.all(-1, keepdim=True)
            score = score.masked_fill(drop, -torch.inf)
        return score.softmax(-1)


class Mixtures(torch.autograd.Function):
    """T mixtures of the same experts, with a backward pass that computes only what a loss depends on.

    A gradient of one task's loss then costs one T-th. The backward of a batched product would fill the gradients of the
    other tasks' mixtures with zeros and multiply them.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, experts: Tensor) -> tuple[Tensor, ...]:
        """Mixtures, T tensors [B, H], of weights [B, T, E] and experts [B, E, H]."""
        ctx.set_materialize_grads(False)  # the backward gets None for mixtures that a loss does not depend on
        ctx.save_for_backward(weights, experts)
        return torch.bmm(weights, experts).unbind(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Gradients by weights and experts."""
        weights, experts = ctx.saved_tensors
        tasks = [i for i, gradient in enumerate(gradients) if gradient is not None]
        if not tasks:
            return None, None
        used = [gradient for gradient in gradients if gradient is not None]
        kind = used[0].dtype  # with mixed precision the product is in half precision
        values = experts.to(kind)
        # Columns are taken one by one: a list of them would be an index that is sent to the device.
        columns = [weights[:, i : i + 1] for i in tasks]
        chosen = columns[0] if len(columns) == 1 else weights
        if 1 < len(columns) < len(gradients):
            chosen = torch.cat(columns, dim=1)
        chosen = chosen.to(kind)
        toward = used[0].unsqueeze(1) if len(used) == 1 else torch.stack(used, dim=1)
        by_weights, maps = torch.bmm(toward, values.transpose(1, 2)), chosen.transpose(1, 2)
        # With one task this is a product of two vectors per row, which a batched product computes slowly.
        by_experts = maps * toward if len(used) == 1 else torch.bmm(maps, toward)
        if len(tasks) < len(gradients):
            of_used, by_weights = by_weights, torch.zeros_like(weights, dtype=kind)
            for place, i in enumerate(tasks):
                by_weights[:, i] = of_used[:, place]
        return by_weights.to(weights.dtype), by_experts.to(experts.dtype)


def mixture(weights: Tensor, experts: Tensor) -> Tensor:
    """Σ_e weights_e · experts_e: [B, E] and [B, E, H] → [B, H].

    A batched product, which never stores the weighted experts.

    Example:
        >>> mixture(torch.tensor([[0.25, 0.75]]), torch.tensor([[[4.0], [8.0]]])).tolist()
        [[7.0]]
    """
    return mixtures(weights.unsqueeze(1), experts)[0]


def mixtures(weights: Tensor, experts: Tensor) -> tuple[Tensor, ...]:
    """Each task's mixture of the same experts: [B, T, E] and [B, E, H] → T tensors [B, H].

    One batched product for all tasks takes a third of the time of one product per task.

    Example:
        >>> first, second = mixtures(torch.tensor([[[0.25, 0.75], [1.0, 0.0]]]), torch.tensor([[[4.0], [8.0]]]))
        >>> first.tolist(), second.tolist()
        ([[7.0]], [[4.0]])
    """
    differentiated = torch.is_grad_enabled() and (weights.requires_grad or experts.requires_grad)
    if differentiated and not torch.compiler.is_compiling():
        outputs: tuple[Tensor, ...] = Mixtures.apply(weights, experts)  # type: ignore[no-untyped-call]
        return outputs
    return torch.bmm(weights, experts).unbind(1)
