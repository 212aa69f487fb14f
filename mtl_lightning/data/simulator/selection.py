"""Selection bias by observed features: what attracts clicks differs from what leads to purchases."""

from dataclasses import asdict, replace

import numpy as np

from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.population import Floats, Items, Users
from mtl_lightning.data.simulator.preference import Preference, Scales, Tastes

TURN = -1.0
"""Interest (a click's logit) at which conversions are most frequent."""


def sharpen(scales: Scales, strength: float) -> Scales:
    """Multiply the scales of clicks, so that clicks depend more on user and item.

    Example:
        >>> sharpen(Scales(), 1.0).affinity == 1.5 * Scales().affinity
        True
    """
    return Scales(**{name: (1 + strength / 2) * value for name, value in asdict(scales).items()})


class PeakedPreference(Preference):
    """Preference for a conversion that peaks at medium interest: curious users click and don't buy.

    logit = logit of :class:`~mtl_lightning.data.simulator.preference.Preference` − strength · |interest − TURN|, where
    the interest is the click's logit in the first slot. It falls with interest for most clicks and rises with interest
    for most impressions.

    Args:
        tastes: Tables of the conversion.
        scales: Weights of the terms.
        users: The users.
        items: The items.
        click: Tables of the click.
        click_scales: Weights of the click's terms.
        bias: Calibrated bias of the click.
        strength: Slope on both sides of the peak.
    """

    def __init__(
        self,
        tastes: Tastes,
        scales: Scales,
        users: Users,
        items: Items,
        *,
        click: Tastes,
        click_scales: Scales,
        bias: float,
        strength: float,
    ) -> None:
        super().__init__(tastes, scales, users, items)
        self._interest = Preference(click, replace(click_scales, position=0.0), users, items, bias)
        self._strength = np.float32(strength)

    def logit(self, exposures: Exposures) -> Floats:
        """Logit of each row, [N]."""
        distance: Floats = np.abs(self._interest.logit(exposures) - np.float32(TURN))
        return super().logit(exposures) - self._strength * distance
