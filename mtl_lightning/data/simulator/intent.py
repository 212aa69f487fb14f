"""Short-term intents: a user's latest clicks decide which categories attract the next ones, so that intents drift."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.history import EMPTY
from mtl_lightning.data.simulator.population import Floats, Ints, Items, Users
from mtl_lightning.data.simulator.preference import Preference, Scales, Tastes, sigmoid

CLICKS = 5
"""Number of the latest clicks that are a user's intent."""

TURN = np.pi / 4
"""Angle from the place of a category to the place of the intent that a click on it leaves."""

TYPICAL = 0.6
"""Length of an intent in the rows that calibrate a preference; the longest has length 1."""


class IntentPreference(Preference):
    """Preference that also depends on whether an item's category fits the user's intent.

    logit = logit of :class:`~mtl_lightning.data.simulator.preference.Preference` + strength · √2 · ⟨intent, place⟩.
    Categories have places on a circle. The intent is the mean place of the user's latest :data:`CLICKS` clicks,
    moved on by :data:`TURN`: a click leads on to other categories, as from flights to hotels, and the intent drifts.

    Args:
        tastes: Tables of the outcome.
        scales: Weights of the terms.
        users: The users.
        items: The items.
        angles: Place of each category as an angle, [C].
        strength: Weight of the intent.
    """

    def __init__(
        self,
        tastes: Tastes,
        scales: Scales,
        users: Users,
        items: Items,
        *,
        angles: npt.NDArray[np.floating],
        strength: float,
    ) -> None:
        super().__init__(tastes, scales, users, items)
        self.of_item = points(angles)[items.category]
        self.after_item = points(angles + TURN)[items.category]
        self.strength = np.float32(np.sqrt(2) * strength)

    def logit(self, exposures: Exposures) -> Floats:
        """Logit of each row, [N]; without an intent, the logit of the other terms."""
        others = super().logit(exposures)
        if exposures.intent is None:
            return others
        fits: Floats = np.einsum("nd,nd->n", exposures.intent, self.of_item[exposures.item])
        return others + self.strength * fits


class Intents:
    """Latest clicks of all users, which are drawn request by request because each depends on the ones before.

    Args:
        preference: Preference for clicks.
        users: Number of users.
        slots: Rows per request.
    """

    def __init__(self, preference: IntentPreference, users: int, slots: int) -> None:
        self.preference, self.slots = preference, slots
        self._latest: Ints = np.full((users, CLICKS), EMPTY, dtype=np.int64)

    def draw(self, rng: np.random.Generator, exposures: Exposures) -> Exposures:
        """Draw the clicks of a chunk, and return its exposures with clicks and intents.

        Args:
            rng: Random generator.
            exposures: Rows of whole requests, in order of time.
        """
        others = self.preference.logit(exposures).reshape(-1, self.slots)
        item = exposures.item.reshape(-1, self.slots)
        drawn = rng.random(others.shape, dtype=np.float32)
        intent = np.empty((len(others), 2), dtype=np.float32)
        clicked = np.empty(others.shape, dtype=bool)
        for request in _rounds(exposures.user[:: self.slots]):
            user = exposures.user[request * self.slots]
            intent[request] = self._intent(user)
            fits = np.einsum("rd,rsd->rs", intent[request], self.preference.of_item[item[request]])
            chance = sigmoid(others[request] + self.preference.strength * fits)
            clicked[request] = drawn[request] < chance
            self._add(user, item[request], clicked[request])
        return replace(exposures, intent=np.repeat(intent, self.slots, axis=0), clicked=clicked.reshape(-1))

    def _intent(self, user: Ints) -> Floats:
        latest = self._latest[user]
        known = latest != EMPTY
        total = (self.preference.after_item[latest] * known[:, :, None]).sum(axis=1)
        mean: Floats = (total / np.maximum(known.sum(axis=1), 1)[:, None]).astype(np.float32)
        return mean

    def _add(self, user: Ints, item: Ints, clicked: npt.NDArray[np.bool_]) -> None:
        for slot in range(self.slots):
            acting = user[clicked[:, slot]]
            self._latest[acting, :-1] = self._latest[acting, 1:]
            self._latest[acting, -1] = item[clicked[:, slot], slot]


def points(angle: npt.NDArray[np.floating]) -> Floats:
    """Points of the unit circle, [N] → [N, 2]."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def _rounds(user: Ints) -> list[Ints]:
    """Divide requests into rounds with at most one request per user, the ones of a user in order.

    Example:
        >>> [part.tolist() for part in _rounds(np.array([4, 7, 4, 4, 7]))]
        [[0, 1], [2, 4], [3]]
    """
    order = np.argsort(user, kind="stable")
    _, first, count = np.unique(user[order], return_index=True, return_counts=True)
    rank = np.empty(len(user), dtype=np.int64)
    rank[order] = np.arange(len(user)) - np.repeat(first, count)
    by_rank = np.argsort(rank, kind="stable")
    return np.split(by_rank, np.cumsum(np.bincount(rank))[:-1])
