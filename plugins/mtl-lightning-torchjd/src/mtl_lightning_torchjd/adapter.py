"""From TorchJD's weightings of a Gramian to weighters."""

from typing import Any

import torch
from torch import Tensor

from mtl_lightning.interfaces import GramianWeighter, MtlError, Step


def construct(kind: Any, *args: Any, **options: Any) -> Any:
    """Build one of TorchJD's objects.

    Raises:
        MtlError: If an option has a value it refuses, or a solver that it wants is not installed.
    """
    try:
        return kind(*args, **options)
    except ValueError as problem:
        raise MtlError(f"weighter: {problem}") from problem
    except ImportError as problem:
        raise MtlError(f"weighter: {problem}", "pip install 'mtl-lightning-torchjd[cvxpy]'") from problem


class TorchJDWeighter(GramianWeighter):
    """A weighting of TorchJD on the Gramian of all processes' gradients.

    The Gramian is scaled to a mean diagonal of 1 before: TorchJD takes one with a trace below 1e-4 for zero, and the
    gradients of a mean over a batch are smaller than that. Random choices of TorchJD, which draws from the process's
    own generator, are made from numbers of the step, equal on all processes.

    Args:
        tasks: Names of the tasks.
        weighting: The TorchJD object.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.
    """

    skips_absent = True

    def __init__(self, tasks: tuple[str, ...], weighting: Any, **options: Any) -> None:
        super().__init__(tasks, **options)
        # Not a submodule: its buffers appear with the first step, and a checkpoint could not be loaded before that.
        self._inner = (weighting,)
        self.seed = 0

    @property
    def weighting(self) -> Any:
        """The TorchJD object."""
        return self._inner[0]

    def begin(self, step: Step) -> None:
        """Draw the seed of this step's random choices."""
        self.seed = int(torch.randint(2**62, (1,), generator=step.generator))

    def weights(self, gramian: Tensor) -> Tensor:
        """TorchJD's weights for the scaled Gramian."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            found: Tensor = self.call(gramian / gramian.diagonal().mean())
        return found.double()

    def call(self, gramian: Tensor) -> Tensor:
        """Weights for a Gramian of mean diagonal 1."""
        weights: Tensor = self.weighting(gramian)
        return weights


def factor(gramian: Tensor) -> Tensor:
    """A matrix [T, T] with this Gramian, for what TorchJD computes from a matrix but depends on products only."""
    values, vectors = torch.linalg.eigh(gramian)
    root: Tensor = vectors * values.clamp_min(0).sqrt()
    return root
