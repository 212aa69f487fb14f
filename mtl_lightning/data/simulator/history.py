"""Histories of users: the last clicked items before each request."""

import numpy as np
import numpy.typing as npt

from mtl_lightning.data.simulator.population import Ints

EMPTY = -1
"""Padding of histories."""


class History:
    """The last clicks of every user, updated chunk by chunk without a loop over rows.

    Args:
        users: Number of users.
        length: Number of clicks per user.

    Example:
        >>> history = History(users=2, length=2)
        >>> history.advance(np.array([0, 1, 0]), np.array([0, 0, 1]), np.array([7, 8, 9])).tolist()
        [[-1, -1], [-1, -1], [7, 8]]
        >>> history.advance(np.array([0]), np.array([], int), np.array([], int)).tolist()
        [[7, 8]]
        >>> history.advance(np.array([1]), np.array([], int), np.array([], int)).tolist()
        [[-1, 9]]
    """

    def __init__(self, users: int, length: int) -> None:
        self.length = length
        self._last: Ints = np.full((users, length), EMPTY, dtype=np.int64)

    def advance(self, user: Ints, clicked: Ints, item: Ints) -> Ints:
        """Get the histories before each request of a chunk, then add the chunk's clicks.

        Args:
            user: User of each request, [R].
            clicked: Request (0 to R - 1) of each click, non-decreasing, [K].
            item: Item of each click, [K].

        Returns:
            Items clicked before each request, latest last, padded with :data:`EMPTY` at the beginning, [R, length].
        """
        requests = len(user)
        key = user[clicked] * requests + clicked
        order = np.argsort(key, kind="stable")
        key, item = key[order], item[order]
        start = np.searchsorted(key, user * requests)
        before = np.searchsorted(key, user * requests + np.arange(requests))
        seen = self._latest(user, start, before - start, item)
        active = np.unique(user[clicked])
        start = np.searchsorted(key, active * requests)
        end = np.searchsorted(key, (active + 1) * requests)
        self._last[active] = self._latest(active, start, end - start, item)
        return seen

    def _latest(self, user: Ints, start: Ints, count: Ints, item: Ints) -> Ints:
        """The last clicks of each user, among earlier ones and ``count`` new ones that start at ``start``."""
        place: npt.NDArray[np.int64] = count[:, None] + np.arange(-self.length, 0)
        earlier = np.take_along_axis(self._last[user], np.minimum(place + self.length, self.length - 1), axis=1)
        if not len(item):
            return earlier
        new = item[np.minimum(start[:, None] + np.maximum(place, 0), len(item) - 1)]
        return np.where(place < 0, earlier, new)
