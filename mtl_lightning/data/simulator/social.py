"""Social feed scenario: likes, comments and shares of posts, and follows of authors."""

import numpy as np
import pyarrow as pa

from mtl_lightning.data.simulator.columns import Columns, Names, raw_schema
from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.population import Ints
from mtl_lightning.data.simulator.preference import CHOICE, sigmoid
from mtl_lightning.data.simulator.scenario import Scenario, as_labels, draw_events, draw_first

RATES = {"like": (0.2, 1.0), "comment": (0.06, 0.6), "share": (0.05, 0.4), "follow": (0.04, 0.3)}
"""Rate over exposures, and correlation with likes, per outcome."""

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

    ``oracle_like`` is P(like | x), and likewise for the other outcomes. Given x, the outcomes are independent. Over the
    log they are correlated, because their tastes are; likes and comments most of all.
    """

    slots = 5
    categories = ("friends", "humour", "music", "sports", "cooking", "games", "news", "art", "nature", "fitness")
    names = NAMES
    raw, arrow = raw_schema(NAMES, OUTCOMES, TASKS)

    def prepare(self, rng: np.random.Generator, sample: Exposures) -> None:
        """Draw a preference per outcome."""
        first, *others = RATES
        self.preferences = {first: self.first_preference(sample, RATES[first][0])}
        for name in others:
            rate, correlation = RATES[name]
            self.preferences[name] = self.preference(rng, sample, rate, CHOICE, correlation=correlation)

    def rows(self, rng: np.random.Generator, exposures: Exposures) -> tuple[Columns, Ints]:
        """Draw independent outcomes; likes enter histories. Shuffled outcomes have their means as oracles."""
        chances = {name: sigmoid(preference.logit(exposures)) for name, preference in self.preferences.items()}
        first, *others = chances
        events = {first: draw_first(rng, exposures, chances[first])}
        events |= {name: draw_events(rng, chances[name]) for name in others}
        likes = np.flatnonzero(events["like"])
        if self.size.shuffled:
            order = rng.permutation(len(exposures))
            events = {name: event[order] for name, event in events.items()}
            chances = {name: np.full_like(chance, chance.mean()) for name, chance in chances.items()}
        return {
            **self.side.columns(exposures),
            **{name: as_labels(event) for name, event in events.items()},
            **{f"oracle_{name}": pa.array(chance) for name, chance in chances.items()},
        }, likes
