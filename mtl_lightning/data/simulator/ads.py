"""Advertising scenario: impression → click → conversion, and the seconds spent on the advertiser's page."""

import numpy as np
import pyarrow as pa

from mtl_lightning.data.simulator.columns import Columns, Names, raw_schema
from mtl_lightning.data.simulator.exposure import START, Exposures
from mtl_lightning.data.simulator.population import Ints
from mtl_lightning.data.simulator.preference import CHOICE, MILD, SHARP, Preference, sigmoid
from mtl_lightning.data.simulator.scenario import Scenario, as_labels, draw_durations, draw_events, draw_first
from mtl_lightning.data.simulator.selection import PeakedPreference, sharpen

CLICK_RATE, CONVERSION_RATE = 0.2, 0.15
DWELL_SHAPE, DWELL_SECONDS = 3.0, 25.0
DELAY_HOURS = 0.5, 60.0
"""Shortest and longest mean delay of a conversion over categories."""

NAMES = Names(owner="advertiser_id", group="campaign_id", appeal="bid", formats=("image", "video", "carousel", "text"))
OUTCOMES = {
    "click": pa.int8(),
    "dwell": pa.float32(),
    "conversion": pa.int8(),
    "conversion_delay": pa.float32(),
    "elapsed": pa.float32(),
    "oracle_click": pa.float32(),
    "oracle_conversion": pa.float32(),
    "oracle_cvr": pa.float32(),
    "oracle_dwell": pa.float32(),
}
TASKS = {
    "click": {"kind": "binary", "label": "click", "oracle": "oracle_click"},
    "conversion": {"kind": "binary", "label": "conversion", "parents": ["click"], "oracle": "oracle_conversion"},
    "dwell": {"kind": "regression", "label": "dwell", "observed_when": "click == 1", "oracle": "oracle_dwell"},
}


class Ads(Scenario):
    """Impressions, clicks, conversions (a purchase after a click) and dwell seconds.

    Columns:

    - ``conversion``: click ∧ conversion, over all impressions.
    - ``dwell``: seconds on the page; null without a click.
    - ``conversion_delay``: seconds from the impression to the conversion; null without a conversion.
    - ``elapsed``: seconds from the impression to the log's end. With ``delayed``, a later conversion is 0, as in a real
      log; the oracles are unchanged.
    - ``oracle_click``: P(click | x).
    - ``oracle_cvr``: P(conversion | click, x), also without a click.
    - ``oracle_conversion``: product of these two.
    - ``oracle_dwell``: E[seconds | click, x].

    With ``selection``, clicks depend more on the pair of user and item, and conversions become rarer where clicks are
    frequent (:class:`~mtl_lightning.data.simulator.selection.PeakedPreference`).
    """

    slots = 4
    categories = (
        "fashion", "travel", "games", "finance", "cars", "food", "sports", "beauty", "phones", "homes", "study", "pets",
    )  # fmt: skip
    names = NAMES
    raw, arrow = raw_schema(NAMES, OUTCOMES, TASKS)
    delays = True
    selects = True

    def prepare(self, rng: np.random.Generator, sample: Exposures) -> None:
        """Draw preferences for conversions and dwell whose tastes are correlated with the tastes for clicks."""
        scales, strength = SHARP, self.size.selection
        if strength:
            scales = sharpen(SHARP, strength)
        self.click = self.first_preference(sample, CLICK_RATE, scales)
        clicks = sigmoid(self.click.logit(sample))
        tastes = self.related_tastes(rng)
        self.convert = Preference(tastes, CHOICE, self.users, self.items)
        if strength:
            self.convert = PeakedPreference(
                tastes, CHOICE, self.users, self.items,
                click=self.tastes, click_scales=scales, bias=self.click.bias, strength=strength,
            )  # fmt: skip
        self.convert.calibrate(sample, CONVERSION_RATE, clicks)
        self.stay = self.preference(rng, sample, None, MILD, correlation=0.4)
        hours = DELAY_HOURS[0] * (DELAY_HOURS[1] / DELAY_HOURS[0]) ** rng.random(len(self.categories))
        self.delay_hours = hours[self.items.category]

    def rows(self, rng: np.random.Generator, exposures: Exposures) -> tuple[Columns, Ints]:
        """Draw clicks, dwell seconds, conversions and their delays; clicks enter histories."""
        p_click = sigmoid(self.click.logit(exposures))
        p_convert = sigmoid(self.convert.logit(exposures))
        mean_stay = np.float32(DWELL_SECONDS) * np.exp(self.stay.logit(exposures))
        click = draw_first(rng, exposures, p_click)
        convert = click & draw_events(rng, p_convert)
        dwell = draw_durations(rng, mean_stay, click, DWELL_SHAPE)
        bought = np.flatnonzero(convert)
        delay = np.full(len(exposures), np.nan, dtype=np.float32)
        delay[bought] = rng.exponential(3_600 * self.delay_hours[exposures.item[bought]])
        elapsed = START + self.size.days * 86_400 - exposures.timestamp
        if self.size.delayed:
            late = delay > elapsed
            convert &= ~late
            delay[late] = np.nan
        return {
            **self.side.columns(exposures),
            "click": as_labels(click),
            "dwell": dwell,
            "conversion": as_labels(convert),
            "conversion_delay": pa.array(delay, from_pandas=True),
            "elapsed": pa.array(elapsed.astype(np.float32)),
            "oracle_click": pa.array(p_click),
            "oracle_conversion": pa.array(p_click * p_convert),
            "oracle_cvr": pa.array(p_convert),
            "oracle_dwell": pa.array(mean_stay),
        }, np.flatnonzero(click)
