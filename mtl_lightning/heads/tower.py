"""The tower of a head: hidden layers and a linear output."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtl_lightning.layers import MLP


class Tower(nn.Module):
    """An MLP and a linear output layer.

    Args:
        in_width: Width H of the task's representation.
        hidden: Layer sizes; empty for a linear output alone.
        outputs: Number K' of outputs.
        activation: Activation of the hidden layers.
        dropout: Dropout in the hidden layers.
        start: Initial bias of every output: where predictions start.

    Shapes: [B, H] → logit [B, K'] and hidden state [B, width].

    Example:
        >>> import torch
        >>> logit, hidden = Tower(4, [8], 1)(torch.zeros(3, 4))
        >>> logit.shape, hidden.shape
        (torch.Size([3, 1]), torch.Size([3, 8]))
    """

    def __init__(
        self,
        in_width: int,
        hidden: Sequence[int],
        outputs: int,
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        start: float = 0.0,
    ) -> None:
        super().__init__()
        self.hidden = MLP(in_width, hidden, activation=activation, dropout=dropout)
        self.output = nn.Linear(self.hidden.width, outputs)
        nn.init.constant_(self.output.bias, start)
        self.width = self.hidden.width

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Logit and last hidden state."""
        hidden: Tensor = self.hidden(h)
        return self.output(hidden), hidden
