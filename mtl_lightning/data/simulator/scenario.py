"""Base class of scenarios, which draws the log chunk by chunk."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mtl_lightning.data.simulator.columns import Columns, Names, SideInformation
from mtl_lightning.data.simulator.exposure import Exposures, Traffic
from mtl_lightning.data.simulator.history import EMPTY, History
from mtl_lightning.data.simulator.intent import TYPICAL, IntentPreference, Intents, points
from mtl_lightning.data.simulator.population import Floats, Ints, Items, Users, draw_items, draw_users
from mtl_lightning.data.simulator.preference import SHARP, Preference, Scales, Tastes
from mtl_lightning.interfaces import RawSchema

CHUNK = 16_384
"""Number of requests with a common random generator; the log depends on the seed and this number only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Size and options of a log.

    Args:
        rows: Number of exposures.
        users: Number of users.
        items: Number of items.
        days: Length in days.
        history: Length of the longest history of clicked items.
        delayed: Leave out outcomes after the log's end, as in a real log.
        shuffled: Assign the outcomes to the rows at random.
        selection: Strength of the selection by clicks, and of its opposition to conversions.
        intent: Weight of the users' short-term intents in the first outcome.
        seed: Random seed.
    """

    rows: int
    users: int
    items: int
    days: int
    history: int
    delayed: bool
    shuffled: bool = False
    selection: float = 0.0
    intent: float = 0.0
    seed: int


class Scenario(ABC):
    """Base class of scenarios: users, items, and outcomes of exposures.

    The constructor draws users and items, :meth:`batches` draws the log. A subclass sets the class attributes below,
    draws its preferences in :meth:`prepare`, and draws outcomes with their true probabilities in :meth:`rows`.

    Args:
        size: Size and options of the log.
    """

    slots: ClassVar[int]
    """Number of rows per request."""
    categories: ClassVar[tuple[str, ...]]
    """Names of the item categories."""
    names: ClassVar[Names]
    """Names of the shared columns."""
    raw: ClassVar[RawSchema]
    """Schema of the source."""
    arrow: ClassVar[pa.Schema]
    """Arrow schema of the log."""
    delays: ClassVar[bool] = False
    """True if outcomes can come after the log's end."""
    shuffles: ClassVar[bool] = False
    """True if outcomes can be assigned to the rows at random."""
    selects: ClassVar[bool] = False
    """True if the selection by clicks can be strengthened."""
    intends: ClassVar[bool] = True
    """True if users can have short-term intents."""
    policy: ClassVar[float] = 0.4
    """Strength of the logging policy's preference for what a segment likes."""

    def __init__(self, size: Size) -> None:
        self.size = size
        world = np.random.default_rng([size.seed, 0])
        self.users: Users = draw_users(world, size.users)
        self.items: Items = draw_items(world, size.items, len(self.categories))
        self.side = SideInformation(world, self.users, self.items, self.names, self.categories)
        self.tastes = Tastes.draw(world, self.users, self.items, len(self.categories))
        self.requests = -(-size.rows // self.slots)
        shown = self.policy * self.tastes.affinity
        self.traffic = Traffic(self.users, self.items, shown, max(self.requests, 1), self.slots, size.days)
        trial = np.random.default_rng([size.seed, 1])
        sample = Traffic(self.users, self.items, shown, 20_000, self.slots, size.days).draw(trial, 0, 20_000)
        if size.intent:
            circle = np.linspace(0, 2 * np.pi, len(self.categories), endpoint=False)
            self.angles = np.random.default_rng([size.seed, 4]).permutation(circle)
            sample = replace(sample, intent=TYPICAL * points(trial.uniform(0, 2 * np.pi, len(sample))))
        self.prepare(world, sample)

    def preference(
        self,
        rng: np.random.Generator,
        sample: Exposures,
        rate: float | None,
        scales: Scales = SHARP,
        *,
        correlation: float = 0.5,
        among: npt.NDArray[np.floating] | None = None,
    ) -> Preference:
        """Draw and calibrate the preference for another outcome.

        Args:
            rng: Random generator.
            sample: Exposures for the calibration.
            rate: Mean probability; None leaves the mean logit near 0, for outcomes that are not events.
            scales: Weights of the terms.
            correlation: Correlation of its tables with the tables of the first outcome (clicks, views).
            among: Weight of each exposure of the sample, [N]: the probability that the outcome is possible.
        """
        return self._calibrated(
            Preference(self.related_tastes(rng, correlation), scales, self.users, self.items), sample, rate, among
        )

    def related_tastes(self, rng: np.random.Generator, correlation: float = 0.5) -> Tastes:
        """Draw the tables of another outcome, correlated with the tables of the first."""
        return Tastes.draw(rng, self.users, self.items, len(self.categories)).like(self.tastes, correlation)

    def first_preference(self, sample: Exposures, rate: float, scales: Scales = SHARP) -> Preference:
        """Calibrate the preference for the first outcome, which the logging policy uses."""
        if not self.size.intent:
            return self._calibrated(Preference(self.tastes, scales, self.users, self.items), sample, rate, None)
        self.intended = IntentPreference(
            self.tastes, scales, self.users, self.items, angles=self.angles, strength=self.size.intent
        )
        return self._calibrated(self.intended, sample, rate, None)

    def _calibrated(
        self,
        preference: Preference,
        sample: Exposures,
        rate: float | None,
        among: npt.NDArray[np.floating] | None,
    ) -> Preference:
        if rate is not None:
            preference.calibrate(sample, rate, among)
        return preference

    @abstractmethod
    def prepare(self, rng: np.random.Generator, sample: Exposures) -> None:
        """Draw and calibrate the preferences.

        Args:
            rng: Random generator.
            sample: Exposures like those in the log.
        """

    @abstractmethod
    def rows(self, rng: np.random.Generator, exposures: Exposures) -> tuple[Columns, Ints]:
        """Draw the outcomes of exposures.

        Args:
            rng: Random generator.
            exposures: The rows.

        Returns:
            All columns except ``history``, and the numbers of the rows that enter histories, ascending.
        """

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Draw the log in order of time, in batches of about CHUNK · slots rows."""
        history = History(self.size.users, self.size.history)
        intents = Intents(self.intended, self.size.users, self.slots) if self.size.intent else None
        for number, first in enumerate(range(0, self.requests, CHUNK)):
            rng = np.random.default_rng([self.size.seed, 2, number])
            count = min(CHUNK, self.requests - first)
            exposures = self.traffic.draw(rng, first, count)
            if intents is not None:
                exposures = intents.draw(np.random.default_rng([self.size.seed, 5, number]), exposures)
            columns, clicked = self.rows(rng, exposures)
            user = exposures.user[:: self.slots]
            seen = history.advance(user, clicked // self.slots, self.side.item_id[exposures.item[clicked]])
            columns["history"] = as_lists(np.repeat(seen, self.slots, axis=0), seen != EMPTY, self.slots)
            batch = pa.RecordBatch.from_pydict(columns, schema=self.arrow)
            # The last request may have more slots than there are remaining rows.
            yield batch.slice(0, min(batch.num_rows, self.size.rows - first * self.slots))


def draw_first(rng: np.random.Generator, exposures: Exposures, chance: Floats) -> npt.NDArray[np.bool_]:
    """Draw the events of the first outcome, [N] → [N], unless the exposures already have them."""
    return draw_events(rng, chance) if exposures.clicked is None else exposures.clicked


def draw_events(rng: np.random.Generator, chance: Floats) -> npt.NDArray[np.bool_]:
    """Draw independent events with these probabilities, [N] → [N]."""
    return rng.random(len(chance), dtype=np.float32) < chance


def as_labels(events: npt.NDArray[np.bool_]) -> pa.Array:
    """Convert events to a label column of 0 and 1, [N] → [N]."""
    return pa.array(events.astype(np.int8))


def draw_durations(rng: np.random.Generator, mean: Floats, known: npt.NDArray[np.bool_], shape: float) -> pa.Array:
    """Draw gamma-distributed durations, null where unknown.

    Args:
        rng: Random generator.
        mean: Mean of each duration, [N].
        known: True for durations that are known, [N].
        shape: Shape parameter of the gamma distribution.

    Example:
        >>> rng, mean = np.random.default_rng(0), np.full(2, 9, np.float32)
        >>> draw_durations(rng, mean, np.array([False, True]), 3.0).is_valid().to_pylist()
        [False, True]
    """
    row = np.flatnonzero(known)
    drawn = np.full(len(mean), np.nan, dtype=np.float32)
    drawn[row] = mean[row] / shape * rng.standard_gamma(shape, len(row))
    return pa.array(drawn, from_pandas=True)


def as_lists(values: Ints, present: npt.NDArray[np.bool_], repeats: int) -> pa.Array:
    """Convert padded rows to a list column, [N, L] → [N].

    Args:
        values: Padded rows.
        present: False for padding, [N / repeats, L].
        repeats: Number of consecutive rows with the same padding.

    Example:
        >>> as_lists(np.array([[7, 8], [9, -1]]), np.array([[True, True], [True, False]]), 1).to_pylist()
        [[7, 8], [9]]
    """
    mask = np.repeat(present, repeats, axis=0)
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(mask.sum(axis=1), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values[mask]))
