"""Quantiles of a stream of numbers in bounded memory."""

import numpy as np

POINTS = 1 << 16
"""Number of points of a :class:`Quantiles` sketch."""


class Quantiles:
    """Sketch of the quantiles of many blocks; the same rows in the same order give the same quantiles.

    Quantiles are exact for up to 131,072 distinct values. Beyond that, each compression adds an error of at most
    n / 65,536 ranks, where n is the number of values.

    Source: merging of weighted summaries as in Manku, Rajagopalan and Lindsay, SIGMOD 1998.

    Example:
        >>> sketch = Quantiles()
        >>> sketch.add(np.arange(100.0))
        >>> sketch.at(np.array([0.25, 0.5])).tolist()
        [24.0, 49.0]
    """

    def __init__(self) -> None:
        self._values: np.ndarray = np.zeros(0)
        self._weights: np.ndarray = np.zeros(0)
        self._pending: list[np.ndarray] = []
        self._pending_count = 0
        self._recorded: list[np.ndarray] | None = None

    def add(self, values: np.ndarray) -> None:
        """Add a block of numbers, [B] float64; NaN is ignored."""
        values = values[~np.isnan(values)]
        if self._recorded is not None:
            self._recorded.append(values)
            return
        self._pending.append(values)
        self._pending_count += len(values)
        if self._pending_count > 4 * POINTS:
            self._merge()

    def record(self) -> None:
        """Forget all values, and keep further blocks as they are."""
        self.__init__()  # type: ignore[misc]
        self._recorded = []

    def partial(self) -> list[np.ndarray]:
        """Return the values of each block since :meth:`record`."""
        return self._recorded or []

    def merge(self, partial: list[np.ndarray]) -> None:
        """Add the blocks of another sketch, in their order."""
        for values in partial:
            self.add(values)

    def _merge(self) -> None:
        """Merge the pending blocks into the summary."""
        distinct, counts = np.unique(np.concatenate([np.zeros(0), *self._pending]), return_counts=True)
        self._pending, self._pending_count = [], 0
        joined = np.concatenate([self._values, distinct])
        weights = np.concatenate([self._weights, counts])
        order = np.argsort(joined, kind="stable")  # merges two sorted runs
        joined, weights = joined[order], weights[order]
        first = np.concatenate([np.ones(min(1, len(joined)), dtype=bool), joined[1:] != joined[:-1]])
        self._values = joined[first]
        self._weights = np.add.reduceat(weights, np.flatnonzero(first)) if len(joined) else weights
        if len(self._values) > 2 * POINTS:
            self._compress()

    def _compress(self) -> None:
        """Divide the values into ranges of equal weight, and keep the middle value of each."""
        ranks = np.cumsum(self._weights)
        bounds = np.linspace(0, ranks[-1], POINTS + 1)
        middle = np.searchsorted(ranks, (bounds[1:] + bounds[:-1]) / 2)
        middles, counts = np.unique(middle, return_counts=True)
        self._values, self._weights = self._values[middles], counts * (ranks[-1] / POINTS)

    def at(self, shares: np.ndarray) -> np.ndarray:
        """Return quantiles: for each share, the smallest value such that this share of the rows is not above it.

        Args:
            shares: Shares of the rows, between 0 and 1, [Q].

        Returns:
            Quantiles, [Q] float64; empty if there are no rows.
        """
        self._merge()
        if not len(self._values):
            return np.zeros(0)
        ranks = np.cumsum(self._weights)
        places = np.searchsorted(ranks, shares * ranks[-1])
        quantiles: np.ndarray = self._values[np.minimum(places, len(ranks) - 1)]
        return quantiles
