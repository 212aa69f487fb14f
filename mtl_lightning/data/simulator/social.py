"""A social feed: posts that are liked, commented and shared, and authors that are followed."""

import numpy as np
import pyarrow as pa

from mtl_lightning.data.simulator.columns import Columns, Names, raw_schema
from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.population import Ints
from mtl_lightning.data.simulator.preference import CHOICE, sigmoid
from mtl_lightning.data.simulator.scenario import Scenario, flags, happened

RATES = {"like": (0.2, 1.0), "comment": (0.06, 0.6), "share": (0.05, 0.4), "follow": (0.04, 0.3)}
"""Share of exposures and correlation with likes, per outcome."""

NAMES = Names(
    item="post_id",
    owner="author_id",
    group="community_id",
    amount="author_followers",
    appeal="post_score",
    formats=("photo", "clip", "poll", "text"),
    unit=40.0,
)
OUTCOMES = dict.fromkeys(RATES, pa.int8()) | {f"oracle_{name}": pa.float32() for name in RATES}
TASKS = {name: {"kind": "binary", "label": name, "oracle": f"oracle_{name}"} for name in ("follow", *RATES)}


class Social(Scenario):
    """Likes, comments, shares and follows of a feed, each possible at every exposure.

    ``oracle_like`` = P(like | x) and so on. Given x the outcomes are independent; over the log they go together, for
    their tastes are related, likes and comments most.
    """

    slots = 5
    categories = ("friends", "humour", "music", "sports", "cooking", "games", "news", "art", "nature", "fitness")
    names = NAMES
    raw, arrow = raw_schema(NAMES, OUTCOMES, TASKS)

    def prepare(self, rng: np.random.Generator, sample: Exposures) -> None:
        """One preference per outcome."""
        first, *others = RATES
        self.preferences = {first: self.first_preference(sample, RATES[first][0])}
        for name in others:
            rate, correlation = RATES[name]
            self.preferences[name] = self.preference(rng, sample, rate, CHOICE, correlation=correlation)

    def rows(self, rng: np.random.Generator, exposures: Exposures) -> tuple[Columns, Ints]:
        """Outcomes side by side; what is liked enters histories."""
        chances = {name: sigmoid(one.logit(exposures)) for name, one in self.preferences.items()}
        events = {name: happened(rng, chance) for name, chance in chances.items()}
        return {
            **self.side.columns(exposures),
            **{name: flags(event) for name, event in events.items()},
            **{f"oracle_{name}": pa.array(chance) for name, chance in chances.items()},
        }, np.flatnonzero(events["like"])
