"""Coupon scenario: a treatment that changes purchases, with its true effect on every row."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from mtl_lightning.data.simulator.ads import NAMES, Ads
from mtl_lightning.data.simulator.columns import Columns, raw_schema
from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.population import Ints
from mtl_lightning.data.simulator.preference import CHOICE, Preference, Scales, Tastes, sigmoid
from mtl_lightning.data.simulator.scenario import Scenario, as_labels, draw_events, draw_first

PURCHASE_RATE, MEAN_EFFECT = 0.15, 0.3
"""Rate of purchases without a coupon, and mean effect of a coupon on their logit."""

EFFECT = Scales(affinity=0.6, factors=0.2, user=0.3, item=0.3, price=0.2, rhythm=0.0, device=0.0, position=0.0)
"""Scales of the effect on the logit."""

RAREST = 0.05
"""Smallest probability of a coupon, and of none."""

OUTCOMES = {
    "treatment": pa.int8(),
    "purchase": pa.int8(),
    "oracle_purchase": pa.float32(),
    "oracle_effect": pa.float32(),
    "oracle_propensity": pa.float32(),
}
TASKS = {
    "purchase": {"kind": "binary", "label": "purchase", "oracle": "oracle_purchase"},
    "effect": {"kind": "uplift", "label": "purchase", "oracle": "oracle_effect"},
}


class Coupons(Scenario):
    """Purchases with and without a coupon.

    Columns:

    - ``treatment``: 1 with a coupon. Half of the rows have one at random.
    - ``oracle_purchase``: P(purchase | x, treatment).
    - ``oracle_effect``: P(purchase | x, 1) − P(purchase | x, 0), which is negative for some rows.
    - ``oracle_propensity``: P(treatment = 1 | x).

    With ``selection`` s, the logit of a coupon is s times the logit of a purchase without one, centred: likely buyers
    get coupons, and a comparison of the two arms overrates them.
    """

    slots = Ads.slots
    categories = Ads.categories
    names = NAMES
    raw, arrow = raw_schema(NAMES, OUTCOMES, TASKS)
    selects = True
    intends = False

    def prepare(self, rng: np.random.Generator, sample: Exposures) -> None:
        """Draw the preference for purchases, and independent tastes for the effect."""
        self.purchase = self.first_preference(sample, PURCHASE_RATE, CHOICE)
        self.middle = float(self.purchase.logit(sample).mean())
        tastes = Tastes.draw(rng, self.users, self.items, len(self.categories))
        own = {name: rng.normal(size=len(getattr(tastes, name))).astype(np.float32) for name in ("user", "item")}
        self.effect = Preference(replace(tastes, **own), EFFECT, self.users, self.items, MEAN_EFFECT)

    def rows(self, rng: np.random.Generator, exposures: Exposures) -> tuple[Columns, Ints]:
        """Draw coupons and purchases; purchases enter histories."""
        logit = self.purchase.logit(exposures)
        chances = np.stack([sigmoid(logit), sigmoid(logit + self.effect.logit(exposures))])
        propensity = sigmoid(np.float32(self.size.selection) * (logit - np.float32(self.middle)))
        propensity = propensity.clip(RAREST, 1 - RAREST)
        treated = draw_events(rng, propensity)
        chance = np.where(treated, chances[1], chances[0])
        purchase = draw_first(rng, exposures, chance)
        return {
            **self.side.columns(exposures),
            "treatment": as_labels(treated),
            "purchase": as_labels(purchase),
            "oracle_purchase": pa.array(chance),
            "oracle_effect": pa.array(chances[1] - chances[0]),
            "oracle_propensity": pa.array(propensity),
        }, np.flatnonzero(purchase)
