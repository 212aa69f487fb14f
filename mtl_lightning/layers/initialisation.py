"""He's initialisation of dense hidden layers, which keeps the size of a signal from layer to layer."""

from torch import Tensor, nn

# √2 for activations that pass about half of their input (relu, leaky_relu, silu, gelu).
GAINS = {"tanh": 5 / 3, "identity": 1.0}


def he_uniform_(weight: Tensor, bias: Tensor | None, activation: str) -> None:
    """Fill a hidden layer's weight uniformly within ±g √(3 / fan_in), and its bias with zeros, in place.

    The gain g is √2 for relu, leaky_relu, silu and gelu, 5/3 for tanh and 1 for identity. With relu the variance of a
    weight is then 2 / fan_in, and signals keep their size. :class:`torch.nn.Linear` starts with a sixth of that
    variance.

    Args:
        weight: [..., out_width, in_width]; fan_in is in_width. An empty one is left alone.
        bias: Of any shape, or None.
        activation: The name of the activation that follows.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 10.

    Example:
        >>> import torch
        >>> weight = torch.empty(4000, 50)
        >>> he_uniform_(weight, None, "relu")
        >>> round(weight.std().item(), 2)
        0.2
    """
    if weight.numel():
        bound = GAINS.get(activation, 2**0.5) * (3 / weight.shape[-1]) ** 0.5
        nn.init.uniform_(weight, -bound, bound)
    if bias is not None:
        nn.init.zeros_(bias)


def hidden_linear(in_width: int, out_width: int, activation: str) -> nn.Linear:
    """A linear layer with :func:`he_uniform_` for the activation that follows."""
    layer = nn.Linear(in_width, out_width)
    he_uniform_(layer.weight, layer.bias, activation)
    return layer
