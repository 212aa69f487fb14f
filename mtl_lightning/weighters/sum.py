"""The plain sum of the losses."""

from torch import Tensor

from mtl_lightning.interfaces import Step, Weighter


class Sum(Weighter):
    """The plain sum of the losses, ``Σ L_t``, the baseline of every comparison.

    Args:
        tasks: Names of the tasks.

    Source:
        Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task Learning", NeurIPS 2022. It is as
        good as the methods that replace it when it is tuned as carefully.

    Example:
        >>> import torch
        >>> from mtl_lightning.training.step import Step
        >>> z = torch.ones(2, 1, requires_grad=True)
        >>> step = Step(torch.stack([z.sum(), 3 * z.sum()]), z, tasks=("a", "b"), index=0, seed=0)
        >>> float(Sum(("a", "b"))(step))
        8.0
    """

    def forward(self, step: Step) -> Tensor:
        """The sum, a scalar."""
        return step.losses.sum()

    def report(self) -> dict[str, float]:
        """A weight of 1 for each task."""
        return dict.fromkeys(self.tasks, 1.0)
