"""Selection bias that can be seen in the features: what attracts clicks is not what makes purchases."""

from dataclasses import asdict, replace

import numpy as np

from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.population import Floats, Items, Users
from mtl_lightning.data.simulator.preference import Preference, Scales, Tastes

TURN = -1.0
"""The interest (a click's logit) at which conversions turn from rising to falling."""


def sharpened(scales: Scales, strength: float) -> Scales:
    """Scales of clicks that depend more on who sees what.

    Example:
        >>> sharpened(Scales(), 1.0).affinity == 1.5 * Scales().affinity
        True
    """
    return Scales(**{name: (1 + strength / 2) * value for name, value in asdict(scales).items()})


class Turned(Preference):
    """The logit of a conversion that rises with interest where there is little, and falls where there is much.

    logit = Preference's − strength · |interest − TURN|, where the interest is the click's logit in the first slot:
    curiosity clicks and doesn't buy. Most clicks lie where conversions fall, most impressions where they rise.

    Args:
        tastes: The outcome's tables.
        scales: The size of each part.
        users: The users.
        items: The items.
        click: Tables of the click.
        click_scales: The size of its parts.
        bias: Its bias, once calibrated.
        strength: How steep the turn is.
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
        """The logit of every row, [N]."""
        turned: Floats = np.abs(self._interest.logit(exposures) - np.float32(TURN))
        return super().logit(exposures) - self._strength * turned
