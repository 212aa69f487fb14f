"""What each user clicked last, as it was known before each request."""

import numpy as np
import numpy.typing as npt

from mtl_lightning.data.simulator.population import Ints

EMPTY = -1


class History:
    """The last clicks of every user, moved forward chunk by chunk without a loop over rows.

    Args:
        users: Number of users.
        length: Clicks kept per user.

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
        """Histories before each request of a chunk, then the chunk's clicks are taken in.

        Args:
            user: User of each request, [R].
            clicked: Request (0 to R - 1) of each click, not decreasing, [K].
            item: Item of each click, [K].

        Returns:
            Items clicked before each request, latest last, :data:`EMPTY` where there are fewer, [R, length].
        """
        requests = len(user)
        key = user[clicked] * requests + clicked
        order = np.argsort(key, kind="stable")
        key, item = key[order], item[order]
        start = np.searchsorted(key, user * requests)
        before = np.searchsorted(key, user * requests + np.arange(requests))
        seen = self._latest(user, start, before - start, item)
        someone = np.unique(user[clicked])
        start = np.searchsorted(key, someone * requests)
        end = np.searchsorted(key, (someone + 1) * requests)
        self._last[someone] = self._latest(someone, start, end - start, item)
        return seen

    def _latest(self, user: Ints, start: Ints, count: Ints, item: Ints) -> Ints:
        """The last clicks of each user among those kept and the ``count`` new ones from ``start`` on."""
        place: npt.NDArray[np.int64] = count[:, None] + np.arange(-self.length, 0)
        kept = np.take_along_axis(self._last[user], np.minimum(place + self.length, self.length - 1), axis=1)
        if not len(item):
            return kept
        new = item[np.minimum(start[:, None] + np.maximum(place, 0), len(item) - 1)]
        return np.where(place < 0, kept, new)
