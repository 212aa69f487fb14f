"""Pareto-efficient multi-objective ranking (Lin et al. 2019)."""

from collections.abc import Mapping
from typing import Unpack

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.bounds import NonNegativeFloat
from mtl_lightning.errors import MtlError
from mtl_lightning.training.late import send
from mtl_lightning.weighters.bases.enumeration import MOST_TASKS, minimize_on_simplex, scaled
from mtl_lightning.weighters.bases.gramian import GramianWeighter, Scope, SeamOptions
from mtl_lightning.weighters.bases.quadratic import minimize, normalized


class Pareto(GramianWeighter):
    """The smallest convex combination of the gradients with a floor per task: ``w_t ≥ c_t, Σ w = 1``.

    The paper drops ``w ≥ c``, solves the linear system and projects. Here the quadratic programme is solved exactly, on
    the gradients of all processes together. As in the paper the weights multiply the losses, for the whole model.

    Args:
        tasks: Names of the tasks.
        floor: Floor c of every task that ``floors`` does not name. The default is 0.05, or half of an equal share with
            more than ten tasks.
        floors: Floor per task.
        eps: Ridge on the Gramian of trace 1, which makes the weights of parallel gradients unique.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Raises:
        MtlError: If a floor is negative or names an unknown task, or if the floors sum to more than 1.

    Source:
        Lin et al., "A Pareto-Efficient Algorithm for Multiple Objective Optimization in E-Commerce Recommendation",
        RecSys 2019, problem 3, algorithms 1 and 2.

    Example:
        >>> weighter = Pareto(("a", "b"), floors={"b": 0.4})
        >>> [round(x, 3) for x in weighter.weights(torch.diag(torch.tensor([1.0, 3.0])).double()).tolist()]
        [0.6, 0.4]
    """

    skips_absent = True
    most_on_device = MOST_TASKS

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        floor: NonNegativeFloat | None = None,
        floors: Mapping[str, float] | None = None,
        eps: NonNegativeFloat = 1e-8,
        scope: Scope = "model",
        rescale: bool = True,
        **options: Unpack[SeamOptions],
    ) -> None:
        super().__init__(tasks, scope=scope, rescale=rescale, **options)
        named, floor = dict(floors or {}), min(0.05, 0.5 / len(self.tasks)) if floor is None else floor
        self.floors = torch.tensor([float(named.pop(name, floor)) for name in self.tasks], dtype=torch.float64)
        self.eps = eps
        if named:
            raise MtlError(f"weighter.floors: no task {next(iter(named))!r}", f"tasks are {', '.join(self.tasks)}")
        if float(self.floors.min()) < 0 or float(self.floors.sum()) > 1 + 1e-9:
            raise MtlError("weighter.floors: floors must be at least 0 and sum to at most 1")

    def weights(self, gramian: Tensor) -> Tensor:
        """The weights, which sum to one."""
        floors = self._sent_floors(gramian.device)[self.present]
        rest = float(1 - floors.sum())
        products = normalized(gramian, self.eps)
        if rest <= 0:
            return floors
        start = torch.full_like(floors, 1 / len(floors))
        return floors + rest * minimize(rest * products, products @ floors, total=1.0, start=start)

    @override
    def weights_of_present(self, gramian: Tensor, present: Tensor) -> Tensor:
        floors = torch.where(present, self._sent_floors(gramian.device), 0.0)
        rest, products = 1 - floors.sum(), scaled(gramian, self.eps)
        weights = floors + rest * minimize_on_simplex(rest * products, products @ floors, present)
        return torch.where(rest > 0, weights, floors)

    def _sent_floors(self, device: torch.device) -> Tensor:
        if self.floors.device != device:
            self.floors = send(self.floors, device)
        return self.floors
