"""Fixed weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_lightning.errors import MtlError, did_you_mean
from mtl_lightning.weighters.bases.loss_based import LossWeighter


class Constant(LossWeighter):
    """Fixed weights: ``Σ w_t L_t``. Tuned on the validation split, they are the baseline of all other methods.

    Args:
        tasks: Names of the tasks.
        weights: Weight per task, such as ``{click: 1.0, conversion: 3.0}``; other tasks have weight 1. A resumed run
            takes the weights of its recipe, not the checkpoint's.

    Raises:
        MtlError: If a weight is negative or names an unknown task.

    Example:
        >>> Constant(("a", "b"), weights={"b": 0.3}).weights(torch.ones(2)).tolist()
        [1.0, 0.3]
    """

    fixed: Tensor

    def __init__(self, tasks: tuple[str, ...], *, weights: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks)
        for name, weight in (weights or {}).items():
            if name not in self.tasks:
                raise MtlError(f"weighter.weights: no task {name!r}", did_you_mean(name, self.tasks))
            if weight < 0:
                raise MtlError(f"weighter.weights.{name}: {weight} is negative")
        fixed = [float((weights or {}).get(name, 1.0)) for name in self.tasks]
        # The recipe decides, not the checkpoint: a resumed run may change them.
        self.register_buffer("fixed", torch.tensor(fixed, dtype=torch.float64), persistent=False)

    def weights(self, values: Tensor) -> Tensor:
        """The recipe's weights."""
        return self.fixed.to(values.device)
