"""Scenarios with a known effect of tasks on each other: they agree, or one of them is opposed."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from mtl_lightning.data.simulator.columns import raw_schema
from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.population import standardise
from mtl_lightning.data.simulator.preference import Preference, Scales, Tastes
from mtl_lightning.data.simulator.social import NAMES, Social
from mtl_lightning.interfaces import RawSchema

PLAIN = Scales(affinity=0.0, factors=0.0, user=1.3, item=1.3, price=0.0, rhythm=0.0, device=0.0, position=0.0)
"""Scales with effects of user and item only, so that tasks can share nothing but the tables of users and items."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An outcome of a scenario with known transfer.

    Args:
        rate: Share of exposures with this outcome.
        correlation: Correlation of its tastes with the first outcome's: near 1 they agree, below 0 they are opposed.
    """

    rate: float
    correlation: float


def _declare(outcomes: dict[str, Outcome]) -> tuple[RawSchema, pa.Schema]:
    types = dict.fromkeys(outcomes, pa.int8()) | {f"oracle_{name}": pa.float32() for name in outcomes}
    tasks: dict[str, Any] = {name: {"kind": "binary", "label": name, "oracle": f"oracle_{name}"} for name in outcomes}
    return raw_schema(NAMES, types, tasks)


class Transfer(Social):
    """Base class of scenarios with independent events given user and post, and correlated tastes.

    With ``shuffled``, the outcomes of a chunk are assigned to its rows at random, all outcomes of a row together.
    Nothing can be learned from such a log, and every oracle is the mean: any effect measured on it is due to chance.
    """

    policy = 0.0
    shuffles = True
    intends = False
    outcomes: ClassVar[dict[str, Outcome]]
    """Outcomes by name; the first one is the reference of correlations."""

    def prepare(self, rng: np.random.Generator, sample: Exposures) -> None:
        """Draw a preference per outcome."""
        first, *others = self.outcomes
        self.preferences = {first: self.first_preference(sample, self.outcomes[first].rate, PLAIN)}
        for name in others:
            outcome = self.outcomes[name]
            # Replace the effects of activity and quality, on which any two outcomes agree.
            own = replace(
                Tastes.draw(rng, self.users, self.items, len(self.categories)),
                user=standardise(rng.normal(size=self.size.users)),
                item=standardise(rng.normal(size=self.size.items)),
            )
            preference = Preference(own.like(self.tastes, outcome.correlation), PLAIN, self.users, self.items)
            preference.calibrate(sample, outcome.rate)
            self.preferences[name] = preference


class Conflict(Transfer):
    """Likes and saves agree; hides depend on users and posts in the opposite way.

    With a table of one number per user and post, and enough rows to learn it, sharing serves two of the three tasks.
    The third task is better with tables of its own.
    """

    outcomes = {"like": Outcome(0.3, 1.0), "save": Outcome(0.15, 0.97), "hide": Outcome(0.1, -0.8)}
    raw, arrow = _declare(outcomes)


class Agreement(Transfer):
    """Likes, saves and shares follow the same tastes; shares are rare, so they gain from the frequent likes."""

    outcomes = {"like": Outcome(0.3, 1.0), "save": Outcome(0.15, 0.97), "share": Outcome(0.02, 0.97)}
    raw, arrow = _declare(outcomes)


class Rare(Transfer):
    """Seven tasks, three of them with fewer than 1% positives.

    Follows and subscriptions have the tastes of the frequent tasks and gain from them. Reports are opposed, and
    have little weight in what shared tables learn.
    """

    outcomes = {
        "like": Outcome(0.3, 1.0),
        "save": Outcome(0.15, 0.97),
        "comment": Outcome(0.1, 0.95),
        "share": Outcome(0.05, 0.97),
        "follow": Outcome(0.009, 0.97),
        "subscribe": Outcome(0.006, 0.95),
        "report": Outcome(0.008, -0.5),
    }
    raw, arrow = _declare(outcomes)
