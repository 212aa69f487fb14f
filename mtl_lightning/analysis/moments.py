"""Correlation and covariance of columns of which not every row is known, exact over batches and processes."""

import math
from typing import Any

import torch
from torch import Tensor

from mtl_lightning.distributed import reduce_sum, world_size


class PairMoments:
    """Centred moments of every pair of columns, over the rows on which both are known.

    Batches are merged by the sums of their deviations, not by sums of squares, so that a large mean costs no digits
    (Chan et al., "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979).

    Args:
        names: One per column.

    Example:
        >>> moments = PairMoments(("click", "dwell"))
        >>> values, known = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 4.0]]), torch.ones(3, 2, dtype=torch.bool)
        >>> known[0, 1] = False
        >>> moments.update(values, known)
        >>> found = moments.summary()
        >>> found["rows"], found["covariance"][0][1], round(found["correlation"][0][1], 6)
        ([[3, 2], [2, 2]], 0.75, 1.0)
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        size = len(names)
        self.rows = torch.zeros(size, size, dtype=torch.float64)
        self.means = torch.zeros(size, size, dtype=torch.float64)
        """Mean of column i over the rows on which i and j are known, at [i, j]; so are the squares."""
        self.squares = torch.zeros(size, size, dtype=torch.float64)
        self.products = torch.zeros(size, size, dtype=torch.float64)

    def update(self, values: Tensor, known: Tensor) -> None:
        """Add rows.

        Args:
            values: [B, C]; values that are unknown or not finite may be anything.
            known: [B, C] bool.
        """
        values = values.detach().double().cpu()
        known = known.cpu() & torch.isfinite(values)
        mask = known.double()
        values = torch.where(known, values, 0.0)
        shift = values.sum(0) / mask.sum(0).clamp(min=1)
        values = torch.where(known, values - shift, 0.0)
        rows = mask.T @ mask
        sums = values.T @ mask
        means = sums / rows.clamp(min=1)
        squares = values.square().T @ mask - sums * means
        products = values.T @ values - sums * means.T
        self._merge(rows, means + shift.unsqueeze(1), squares, products)

    def _merge(self, rows: Tensor, means: Tensor, squares: Tensor, products: Tensor) -> None:
        both = self.rows + rows
        gap = means - self.means
        weight = self.rows * rows / both.clamp(min=1)
        self.squares += squares + gap.square() * weight
        self.products += products + gap * gap.T * weight
        self.means += gap * rows / both.clamp(min=1)
        self.rows = both

    def reduced(self, device: torch.device) -> "PairMoments":
        """The moments of all processes' rows, summed on a device that their backend reaches; a collective."""
        if world_size() == 1:
            return self

        def summed(values: Tensor) -> Tensor:
            return reduce_sum(values.to(device)).cpu()

        found = PairMoments(self.names)
        found.rows = summed(self.rows)
        found.means = summed(self.means * self.rows) / found.rows.clamp(min=1)
        gap = self.means - found.means
        found.squares = summed(self.squares + gap.square() * self.rows)
        found.products = summed(self.products + gap * gap.T * self.rows)
        return found

    def summary(self) -> dict[str, Any]:
        """Rows, covariance (of the population of rows) and correlation per pair, None where there is none."""
        products = (self.products + self.products.T) / 2
        none = torch.full_like(self.rows, torch.nan)
        # What rounding leaves of a column that is constant on the rows of a pair is no spread.
        least = torch.maximum(1e-12 * self.squares.diagonal().unsqueeze(1), 1e-24 * self.rows * self.means.square())
        spread = torch.where(self.squares > least, self.squares, 0.0)
        scale = (spread * spread.T).sqrt()
        covariance = torch.where(self.rows > 0, products / self.rows.clamp(min=1), none)
        correlation = torch.where(scale > 0, (products / scale.clamp(min=1e-300)).clamp(-1, 1), none)
        return {
            "tasks": list(self.names),
            "rows": self.rows.long().tolist(),
            "correlation": matrix(correlation),
            "covariance": matrix(torch.where((scale > 0) | (self.rows == 0), covariance, 0.0)),
        }


def matrix(values: Tensor) -> list[list[float | None]]:
    """A matrix for JSON, which has no NaN.

    Example:
        >>> matrix(torch.tensor([[1.0, torch.nan]]))
        [[1.0, None]]
    """
    return [[None if math.isnan(each) else each for each in row] for row in values.tolist()]
