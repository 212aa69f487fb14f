"""Latent preferences: for each outcome, a logit per user, item and context."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.population import (
    DEVICES,
    FACTORS,
    FORMATS,
    SEGMENTS,
    Floats,
    Items,
    Users,
    standardise,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Weights of the terms of a preference: the standard deviation of each term's logit.

    Args:
        affinity: Interaction of segment and category.
        factors: Interaction of the user's taste and the item's trait (a bilinear form of rank FACTORS).
        user: Effect of the user.
        item: Effect of the item.
        price: Interaction of segment and price.
        rhythm: Interaction of segment and hour.
        device: Interaction of device and format.
        position: Decrease of the logit per slot.
    """

    affinity: float = 1.2
    factors: float = 0.45
    user: float = 0.5
    item: float = 0.5
    price: float = 0.2
    rhythm: float = 0.15
    device: float = 0.15
    position: float = 0.25


SHARP = Scales()
"""Scales of clicks and views, which depend on the position."""

CHOICE = Scales(position=0.0)
"""Scales of outcomes after a click, where the position has no effect."""

MILD = Scales(affinity=0.3, factors=0.25, user=0.2, item=0.2, price=0.1, rhythm=0.05, device=0.1, position=0.0)
"""Scales of logarithms of durations."""


@dataclass(frozen=True, slots=True)
class Tastes:
    """Standardised tables of a preference's terms; tables of two outcomes may be correlated."""

    affinity: Floats
    mixing: Floats
    user: Floats
    item: Floats
    price: Floats
    rhythm: Floats
    device: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator, users: Users, items: Items, categories: int) -> "Tastes":
        """Draw independent tables.

        Affinities have no main effects: segment and category are informative only together.
        """
        affinity = _interaction(rng.normal(size=(SEGMENTS, categories)))
        peak = rng.uniform(0, 24, SEGMENTS)[:, None]
        rhythm = np.sqrt(2) * np.cos(2 * np.pi * (np.arange(24) - peak) / 24)
        return cls(
            affinity=affinity,
            mixing=np.linalg.qr(rng.normal(size=(FACTORS, FACTORS)))[0].astype(np.float32),
            user=standardise(0.98 * users.activity + 0.2 * rng.normal(size=len(users.activity))),
            item=standardise(0.98 * items.quality + 0.2 * rng.normal(size=len(items.quality))),
            price=standardise(rng.normal(size=SEGMENTS)),
            rhythm=rhythm.astype(np.float32),
            device=_interaction(rng.normal(size=(DEVICES, FORMATS))),
        )

    def like(self, other: "Tastes", correlation: float) -> "Tastes":
        """Combine these independent tables with another outcome's, so that they have the given correlation."""
        own = np.float32(np.sqrt(1 - correlation**2))
        mixed = (
            np.float32(correlation) * getattr(other, part.name) + own * getattr(self, part.name)
            for part in fields(self)
        )
        return Tastes(*mixed)


class Preference:
    """Preference for an outcome, as a logit.

    logit = bias + affinity[segment, category] + ⟨taste M, trait⟩ + user + item + price[segment] · price level
    + rhythm[segment, hour] + device[device, format] − position · slot, with each term scaled by :class:`Scales`.

    Args:
        tastes: Tables of the outcome.
        scales: Weights of the terms.
        users: The users.
        items: The items.
        bias: The constant; set by :meth:`calibrate`.
    """

    def __init__(self, tastes: Tastes, scales: Scales, users: Users, items: Items, bias: float = 0.0) -> None:
        self.bias = bias
        self._segment, self._category, self._format = users.segment, items.category, items.format
        user_ones, item_ones = np.ones_like(users.activity), np.ones_like(items.quality)
        # All products of a user's and an item's quantity are one inner product.
        factors = scales.factors / np.sqrt(FACTORS) * users.taste @ tastes.mixing
        price = scales.price * tastes.price[users.segment]
        left = [factors, scales.user * tastes.user[:, None], user_ones[:, None], price[:, None]]
        right = [items.trait, item_ones[:, None], scales.item * tastes.item[:, None], items.price_level[:, None]]
        self._left = np.ascontiguousarray(np.concatenate(left, axis=1), dtype=np.float32)
        self._right = np.ascontiguousarray(np.concatenate(right, axis=1), dtype=np.float32)
        self._affinity = (scales.affinity * tastes.affinity).astype(np.float32)
        self._rhythm = (scales.rhythm * tastes.rhythm).astype(np.float32)
        self._device = (scales.device * tastes.device).astype(np.float32)
        self._position = np.float32(scales.position)

    def logit(self, exposures: Exposures) -> Floats:
        """Logit of each row, [N]."""
        user, item = exposures.user, exposures.item
        segment = self._segment[user]
        logit: Floats = np.einsum("nr,nr->n", self._left[user], self._right[item])
        logit += self._affinity[segment, self._category[item]]
        logit += self._rhythm[segment, exposures.hour]
        logit += self._device[exposures.device, self._format[item]]
        logit -= self._position * exposures.position.astype(np.float32)
        logit += np.float32(self.bias)
        return logit

    def calibrate(self, exposures: Exposures, rate: float, weight: npt.NDArray[np.floating] | None = None) -> None:
        """Set the bias so that the mean probability over these rows is ``rate``.

        Args:
            exposures: The rows.
            rate: The mean probability.
            weight: Weights of the rows in the mean, [N]; None for equal weights.
        """
        self.bias = 0.0
        logit = self.logit(exposures).astype(np.float64)
        low, high = -30.0, 30.0
        while high - low > 1e-6:
            middle = (low + high) / 2
            mean = np.average(1 / (1 + np.exp(-(logit + middle))), weights=weight)
            low, high = (middle, high) if mean < rate else (low, middle)
        self.bias = (low + high) / 2


def sigmoid(logit: Floats) -> Floats:
    """Compute 1 / (1 + exp(-logit)) in single precision, for logits whose exponential is finite.

    Example:
        >>> sigmoid(np.zeros(1, np.float32))
        array([0.5], dtype=float32)
    """
    chance: Floats = np.float32(1) / (np.float32(1) + np.exp(-logit))
    return chance


def _interaction(table: npt.NDArray[np.floating]) -> Floats:
    rows = table - table.mean(axis=0, keepdims=True)
    centred = rows - rows.mean(axis=1, keepdims=True)
    scaled: Floats = (centred / centred.std()).astype(np.float32)
    return scaled
