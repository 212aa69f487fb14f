"""Exposures: requests of users in order of time, each with a few slots for items."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtl_lightning.data.simulator.population import DEVICES, Floats, Ints, Items, Users

START = 1_704_067_200
"""First second of every log, in Unix time: Monday 2024-01-01, 00:00 UTC."""

HOURLY = np.array([3, 2, 1, 1, 1, 1, 2, 4, 5, 5, 5, 5, 6, 6, 5, 5, 5, 6, 7, 8, 9, 9, 7, 5], dtype=np.float64)
"""Relative number of requests per hour of the day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposures:
    """Rows of a log without outcomes; arrays over N rows.

    Args:
        request: Number of the request; rows of a request are adjacent.
        timestamp: Unix seconds of the request, non-decreasing.
        hour: Hour of the day, 0 to 23.
        user: Index of the user.
        item: Index of the item.
        device: Index of the device.
        position: Slot, from 0.
        intent: Intent of the user, [N, 2]; None in a log without intents.
        clicked: True where the first outcome occurs; None if it does not depend on earlier rows and is drawn later.
    """

    request: Ints
    timestamp: Ints
    hour: Ints
    user: Ints
    item: Ints
    device: Ints
    position: Ints
    intent: Floats | None = None
    clicked: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.item)


class Traffic:
    """Generator of exposures: users by their share, items by popularity and the logging policy's view of a segment.

    Args:
        users: The users.
        items: The items.
        policy: Log-weights [SEGMENTS, C] with which the policy shows categories to segments.
        requests: Number of requests in the log.
        slots: Rows per request.
        days: Length of the log in days.
    """

    def __init__(
        self, users: Users, items: Items, policy: npt.NDArray[np.floating], requests: int, slots: int, days: float
    ) -> None:
        self.users, self.items = users, items
        self.requests, self.slots, self.days = requests, slots, days
        self._user_edges = _edges(users.share)[:-1]
        shown = items.share * np.exp(policy[:, items.category])
        # A single search serves all segments: segment s covers the interval from s to s + 1.
        self._item_edges = np.concatenate([_edges(row)[:-1] + s for s, row in enumerate(shown)])
        self._day_edges = np.concatenate([[0.0], _edges(HOURLY)])

    def draw(self, rng: np.random.Generator, first: int, count: int) -> Exposures:
        """Draw the rows of some requests.

        Args:
            rng: Random generator for these requests.
            first: Number of the first request.
            count: Number of requests.
        """
        request = np.arange(first, first + count)
        days = (request + rng.random(count)) / self.requests * self.days
        hours = np.interp(days % 1.0, self._day_edges, np.arange(25.0))
        timestamp = START + (np.floor(days) * 86_400 + hours * 3_600).astype(np.int64)
        user = np.minimum(np.searchsorted(self._user_edges, rng.random(count)), len(self.users.share) - 1)
        usual = self.users.device[user]
        device = np.where(rng.random(count) < 0.8, usual, rng.integers(0, DEVICES, count))
        rows = count * self.slots
        segment = np.repeat(self.users.segment[user], self.slots)
        place = np.searchsorted(self._item_edges, segment + rng.random(rows))
        size = len(self.items.share)
        item = np.clip(place - segment * (size - 1), 0, size - 1)
        return Exposures(
            request=np.repeat(request, self.slots),
            timestamp=np.repeat(timestamp, self.slots),
            hour=np.repeat(np.minimum(hours.astype(np.int64), 23), self.slots),
            user=np.repeat(user, self.slots),
            item=item,
            device=np.repeat(device, self.slots),
            position=np.tile(np.arange(self.slots), count),
        )


def _edges(weight: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    total = np.cumsum(weight, dtype=np.float64)
    edges: npt.NDArray[np.float64] = total / total[-1]
    return edges
