"""Correlation and covariance of columns with unknown values, exact over batches and processes."""

import math
from typing import Any

import torch
from torch import Tensor

from mtl_lightning.distributed import reduce_sum, world_size


class PairMoments:
    """Centred moments of every pair of columns, over the rows on which both are known, on the columns' device.

    Batches are merged by sums of deviations, not sums of squares, so a large mean does not reduce the precision
    (Chan et al., "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979).

    Args:
        names: Names of the columns.

    Example:
        >>> moments = PairMoments(("click", "dwell"))
        >>> values, known = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 4.0]]), torch.ones(3, 2, dtype=torch.bool)
        >>> known[0, 1] = False
        >>> moments.update(values, known)
        >>> summary = moments.summary()
        >>> summary["rows"], summary["covariance"][0][1], round(summary["correlation"][0][1], 6)
        ([[3, 2], [2, 2]], 0.75, 1.0)
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        size = len(names)
        self.rows = torch.zeros(size, size, dtype=torch.float64)
        self.means = torch.zeros(size, size, dtype=torch.float64)
        """At [i, j]: mean of column i over the rows on which i and j are known. ``squares`` has the same layout."""
        self.squares = torch.zeros(size, size, dtype=torch.float64)
        self.products = torch.zeros(size, size, dtype=torch.float64)

    def update(self, values: Tensor, known: Tensor) -> None:
        """Add rows.

        Args:
            values: [B, C]; values that are unknown or not finite are ignored.
            known: [B, C] bool.
        """
        values = values.detach().double()
        self._to(values.device)
        known = known & torch.isfinite(values)
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

    def _to(self, device: torch.device) -> None:
        for name in ("rows", "means", "squares", "products"):
            setattr(self, name, getattr(self, name).to(device))

    def _merge(self, rows: Tensor, means: Tensor, squares: Tensor, products: Tensor) -> None:
        both = self.rows + rows
        gap = means - self.means
        weight = self.rows * rows / both.clamp(min=1)
        self.squares += squares + gap.square() * weight
        self.products += products + gap * gap.T * weight
        self.means += gap * rows / both.clamp(min=1)
        self.rows = both

    def reduced(self, device: torch.device) -> "PairMoments":
        """Moments over the rows of all processes, summed on a device that their backend supports; a collective."""
        self._to(device)
        if world_size() == 1:
            return self
        summed = reduce_sum
        total = PairMoments(self.names)
        total.rows = summed(self.rows)
        total.means = summed(self.means * self.rows) / total.rows.clamp(min=1)
        gap = self.means - total.means
        total.squares = summed(self.squares + gap.square() * self.rows)
        total.products = summed(self.products + gap * gap.T * self.rows)
        return total

    def summary(self) -> dict[str, Any]:
        """Rows, population covariance and correlation per pair; None where undefined."""
        self._to(torch.device("cpu"))
        products = (self.products + self.products.T) / 2
        none = torch.full_like(self.rows, torch.nan)
        # Deviations of a column that is constant on the rows of a pair may be rounding errors.
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
    """Matrix as nested lists for JSON, with None for NaN.

    Example:
        >>> matrix(torch.tensor([[1.0, torch.nan]]))
        [[1.0, None]]
    """
    return [[None if math.isnan(value) else value for value in row] for row in values.tolist()]
