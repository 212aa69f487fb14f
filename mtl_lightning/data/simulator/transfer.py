"""Worlds in which it is known whether tasks help each other: one where they do, one where a task is opposed."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from mtl_lightning.data.simulator.columns import Columns, Names, raw_schema
from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.population import Ints, standardised
from mtl_lightning.data.simulator.preference import Preference, Scales, Tastes, sigmoid
from mtl_lightning.data.simulator.scenario import Scenario, flags, happened
from mtl_lightning.interfaces import RawSchema

NAMES = Names(
    item="post_id",
    owner="author_id",
    group="community_id",
    amount="author_followers",
    appeal="post_score",
    formats=("photo", "clip", "poll", "text"),
    unit=40.0,
)

PLAIN = Scales(affinity=0.0, factors=0.0, user=1.3, item=1.3, price=0.0, rhythm=0.0, device=0.0, position=0.0)
"""Only who looks and what is seen count, so that what two tasks may share is the tables of users and items."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One outcome of such a world.

    Args:
        rate: Share of exposures at which it happens.
        correlation: Of its tastes with those of the first outcome: near 1 they agree, below 0 they are opposed.
    """

    rate: float
    correlation: float


def _declared(outcomes: dict[str, Outcome]) -> tuple[RawSchema, pa.Schema]:
    types = dict.fromkeys(outcomes, pa.int8()) | {f"oracle_{name}": pa.float32() for name in outcomes}
    tasks: dict[str, Any] = {name: {"kind": "binary", "label": name, "oracle": f"oracle_{name}"} for name in outcomes}
    return raw_schema(NAMES, types, tasks)


class Transfer(Scenario):
    """Independent events given user and post, whose tastes are related as ``outcomes`` says.

    With ``shuffled``, the outcomes of a chunk are dealt to its rows at random (all of a row's together): nothing can be
    learned, and every oracle is the mean. What is claimed of such a log is claimed of chance.
    """

    slots = 5
    categories = ("friends", "humour", "music", "sports", "cooking", "games", "news", "art", "nature", "fitness")
    names = NAMES
    policy = 0.0
    shuffles = True
    outcomes: ClassVar[dict[str, Outcome]]

    def prepare(self, rng: np.random.Generator, sample: Exposures) -> None:
        """One preference per outcome."""
        first, *others = self.outcomes
        self.preferences: dict[str, Preference] = {
            first: self.first_preference(sample, self.outcomes[first].rate, PLAIN)
        }
        for name in others:
            outcome = self.outcomes[name]
            # What activity and quality explain would agree in any two outcomes.
            own = replace(
                Tastes.draw(rng, self.users, self.items, len(self.categories)),
                user=standardised(rng.normal(size=self.size.users)),
                item=standardised(rng.normal(size=self.size.items)),
            )
            one = Preference(own.like(self.tastes, outcome.correlation), PLAIN, self.users, self.items)
            one.calibrate(sample, outcome.rate)
            self.preferences[name] = one

    def rows(self, rng: np.random.Generator, exposures: Exposures) -> tuple[Columns, Ints]:
        """Outcomes side by side; the first enters histories."""
        chances = {name: sigmoid(one.logit(exposures)) for name, one in self.preferences.items()}
        events = {name: happened(rng, chance) for name, chance in chances.items()}
        first = np.flatnonzero(events[next(iter(events))])
        if self.size.shuffled:
            order = rng.permutation(len(exposures))
            events = {name: event[order] for name, event in events.items()}
            chances = {name: np.full_like(chance, chance.mean()) for name, chance in chances.items()}
        return {
            **self.side.columns(exposures),
            **{name: flags(event) for name, event in events.items()},
            **{f"oracle_{name}": pa.array(chance) for name, chance in chances.items()},
        }, first


class Conflict(Transfer):
    """Likes and saves agree; hides are opposed: whom and what they depend on runs the other way, or is their own.

    Given one number per user and post, and rows enough to learn it, a shared table serves two tasks of three: the third
    is outvoted, and better off with tables of its own.
    """

    outcomes = {"like": Outcome(0.3, 1.0), "save": Outcome(0.15, 0.97), "hide": Outcome(0.1, -0.8)}
    raw, arrow = _declared(outcomes)


class Agreement(Transfer):
    """Likes, saves and shares follow the same tastes; shares are rare, so that likes know users and posts better."""

    outcomes = {"like": Outcome(0.3, 1.0), "save": Outcome(0.15, 0.97), "share": Outcome(0.02, 0.97)}
    raw, arrow = _declared(outcomes)
