"""Adapter from TorchJD's weightings of a Gramian to weighters."""

from typing import Any

import torch
from torch import Tensor

from mtl_lightning.interfaces import GramianWeighter, MtlError, Step


def construct(kind: Any, *args: Any, **options: Any) -> Any:
    """Build an object of TorchJD.

    Args:
        kind: Its class.
        args: Positional arguments.
        options: Keyword arguments.

    Raises:
        MtlError: If TorchJD refuses an option, or a required solver is not installed.
    """
    try:
        return kind(*args, **options)
    except ValueError as problem:
        raise MtlError(f"weighter: {problem}") from problem
    except ImportError as problem:
        raise MtlError(f"weighter: {problem}", "pip install 'mtl-lightning-torchjd[cvxpy]'") from problem


class TorchJDWeighter(GramianWeighter):
    """Weighter that applies a weighting of TorchJD to the Gramian of all processes' gradients.

    The Gramian is first scaled to a mean diagonal of 1. TorchJD treats a trace below 1e-4 as zero, and gradients of a
    mean over a batch are smaller than that. TorchJD draws random numbers from the process's own generator; it is seeded
    by the step, equally on all processes, and restored afterwards.

    Args:
        tasks: Names of the tasks.
        weighting: Object of TorchJD.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.
    """

    skips_absent = True

    def __init__(self, tasks: tuple[str, ...], weighting: Any, **options: Any) -> None:
        super().__init__(tasks, **options)
        # Not a submodule: its buffers appear with the first step, so a checkpoint could not be loaded before.
        self._inner = (weighting,)
        self.seed = 0

    @property
    def weighting(self) -> Any:
        """Object of TorchJD."""
        return self._inner[0]

    def begin(self, step: Step) -> None:
        """Draw the seed of this step's random choices."""
        self.seed = int(torch.randint(2**62, (1,), generator=step.generator))

    def weights(self, gramian: Tensor) -> Tensor:
        """TorchJD's weights for the Gramian, [T, T] → [T] float64."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            weights: Tensor = self.call(gramian / gramian.diagonal().mean())
        return weights.double()

    def call(self, gramian: Tensor) -> Tensor:
        """Weights for a Gramian with a mean diagonal of 1, [T, T] → [T]."""
        weights: Tensor = self.weighting(gramian)
        return weights


def factor(gramian: Tensor) -> Tensor:
    """Factor a Gramian, [T, T] → [T, T]: a matrix with this Gramian, for methods of TorchJD that expect a matrix.

    Example:
        >>> gramian = torch.tensor([[1.0, -0.5], [-0.5, 2.0]])
        >>> torch.allclose(factor(gramian) @ factor(gramian).T, gramian, atol=1e-6)
        True
    """
    values, vectors = torch.linalg.eigh(gramian)
    root: Tensor = vectors * values.clamp_min(0).sqrt()
    return root
