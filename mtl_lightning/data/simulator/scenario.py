"""What a scenario is, and how its log is drawn chunk by chunk."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mtl_lightning.data.simulator.columns import Columns, Names, SideInformation
from mtl_lightning.data.simulator.exposure import Exposures, Traffic
from mtl_lightning.data.simulator.history import EMPTY, History
from mtl_lightning.data.simulator.population import Floats, Ints, Items, Users, draw_items, draw_users
from mtl_lightning.data.simulator.preference import SHARP, Preference, Scales, Tastes
from mtl_lightning.interfaces import RawSchema

CHUNK = 16_384
"""Requests that share one random generator; the log depends on the seed and this number, on nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a log is.

    Args:
        rows: Exposures.
        users: Users.
        items: Items.
        days: Length in days.
        history: Longest history of clicked items.
        delayed: Leave out what comes after the log's end, as a real log would.
        shuffled: Deal the outcomes to the rows at random.
        selection: How strongly clicks select, and what attracts them goes against conversions.
        seed: Seed of everything.
    """

    rows: int
    users: int
    items: int
    days: int
    history: int
    delayed: bool
    shuffled: bool = False
    selection: float = 0.0
    seed: int


class Scenario(ABC):
    """A world with its users, items and outcomes. Construction draws the world, :meth:`batches` the log.

    A scenario sets the class attributes below, prepares its preferences in :meth:`prepare`, and tells in :meth:`rows`
    what happens to exposures, with the true probabilities.

    Args:
        size: How large the log is.
    """

    slots: ClassVar[int]
    """Rows per request."""
    categories: ClassVar[tuple[str, ...]]
    names: ClassVar[Names]
    raw: ClassVar[RawSchema]
    arrow: ClassVar[pa.Schema]
    delays: ClassVar[bool] = False
    """Whether an outcome can come after the log's end."""
    shuffles: ClassVar[bool] = False
    """Whether outcomes can be dealt to the rows at random."""
    selects: ClassVar[bool] = False
    """Whether selection by clicks can be made stronger."""
    policy: ClassVar[float] = 0.4
    """How strongly the logging policy prefers what a segment likes."""

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
        """One more outcome of this world.

        Args:
            rng: Draws its tables.
            sample: Exposures over which it is calibrated.
            rate: Mean of its probability; None leaves the mean logit near 0, for outcomes that are no events.
            scales: The size of its parts.
            correlation: Of its tables with those of the first outcome (clicks, views).
            among: Weight of each exposure of the sample: the chance that the outcome can happen at all.
        """
        return self._calibrated(self.related_tastes(rng, correlation), scales, sample, rate, among)

    def related_tastes(self, rng: np.random.Generator, correlation: float = 0.5) -> Tastes:
        """Tables of one more outcome, correlated with those of the first."""
        return Tastes.draw(rng, self.users, self.items, len(self.categories)).like(self.tastes, correlation)

    def first_preference(self, sample: Exposures, rate: float, scales: Scales = SHARP) -> Preference:
        """The outcome that the logging policy looks at."""
        return self._calibrated(self.tastes, scales, sample, rate, None)

    def _calibrated(
        self,
        tastes: Tastes,
        scales: Scales,
        sample: Exposures,
        rate: float | None,
        among: npt.NDArray[np.floating] | None,
    ) -> Preference:
        preference = Preference(tastes, scales, self.users, self.items)
        if rate is not None:
            preference.calibrate(sample, rate, among)
        return preference

    @abstractmethod
    def prepare(self, rng: np.random.Generator, sample: Exposures) -> None:
        """Draw and calibrate the preferences; ``sample`` holds exposures as the log has them."""

    @abstractmethod
    def rows(self, rng: np.random.Generator, exposures: Exposures) -> tuple[Columns, Ints]:
        """Columns of these rows (all but ``history``), and which rows (their numbers, rising) enter histories."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The log in order of time, about CHUNK · slots rows at a time."""
        history = History(self.size.users, self.size.history)
        for number, first in enumerate(range(0, self.requests, CHUNK)):
            rng = np.random.default_rng([self.size.seed, 2, number])
            count = min(CHUNK, self.requests - first)
            exposures = self.traffic.draw(rng, first, count)
            columns, clicked = self.rows(rng, exposures)
            user = exposures.user[:: self.slots]
            seen = history.advance(user, clicked // self.slots, self.side.item_id[exposures.item[clicked]])
            columns["history"] = as_lists(np.repeat(seen, self.slots, axis=0), seen != EMPTY, self.slots)
            batch = pa.RecordBatch.from_pydict(columns, schema=self.arrow)
            # The last request may have more slots than rows are left.
            yield batch.slice(0, min(batch.num_rows, self.size.rows - first * self.slots))


def happened(rng: np.random.Generator, chance: Floats) -> npt.NDArray[np.bool_]:
    """Whether each of several independent events takes place, [N]."""
    return rng.random(len(chance), dtype=np.float32) < chance


def flags(events: npt.NDArray[np.bool_]) -> pa.Array:
    """Events as a label column of 0 and 1."""
    return pa.array(events.astype(np.int8))


def seconds(rng: np.random.Generator, mean: Floats, known: npt.NDArray[np.bool_], shape: float) -> pa.Array:
    """Gamma-distributed durations with these means, null where not known.

    Example:
        >>> rng, mean = np.random.default_rng(0), np.full(2, 9, np.float32)
        >>> seconds(rng, mean, np.array([False, True]), 3.0).is_valid().to_pylist()
        [False, True]
    """
    row = np.flatnonzero(known)
    drawn = np.full(len(mean), np.nan, dtype=np.float32)
    drawn[row] = mean[row] / shape * rng.standard_gamma(shape, len(row))
    return pa.array(drawn, from_pandas=True)


def as_lists(values: Ints, present: npt.NDArray[np.bool_], repeats: int) -> pa.Array:
    """A list column from padded rows [N, L]; ``present`` [N / repeats, L] tells what is no padding."""
    mask = np.repeat(present, repeats, axis=0)
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(mask.sum(axis=1), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values[mask]))
