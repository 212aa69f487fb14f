"""Worlds with a single, known difficulty: logs in which one ability of an encoder decides, and oracles that have it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mtl_lightning.data.simulator.exposure import START
from mtl_lightning.data.simulator.population import Ints
from mtl_lightning.data.simulator.scenario import Size
from mtl_lightning.interfaces import RawSchema

Steps = Iterator[tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.floating]]]

SECONDS = 600
"""Time between two steps of a user."""

HABIT = 0.9
"""Probability that a user repeats the decision about an item, in :class:`LongInterest`."""

CATEGORIES, FOLLOWED = 12, 0.5
"""Number of categories, and share of rows whose category follows the pattern, in :class:`NextAction`."""

MATCH, MISMATCH = 0.85, 0.15
"""Probability of a click on a row that follows the pattern, and on others, in :class:`NextAction`."""

FIELDS, VALUES, CROSSES, ORDER, STRENGTH = 16, 6, 6, 3, 0.9
"""Number of fields, values of a field, products, fields of a product, and its weight, in :class:`Crosses`."""


def _declare(columns: dict[str, pa.DataType], features: dict[str, Any], **task: str) -> tuple[RawSchema, pa.Schema]:
    types = {
        "timestamp": pa.int64(),
        "user_id": pa.int64(),
        **columns,
        "click": pa.int8(),
        "oracle_click": pa.float32(),
    }
    raw = RawSchema(
        columns={name: str(kind) for name, kind in types.items()},
        features=features,
        tasks={"click": {"kind": "binary", "label": "click", "oracle": "oracle_click", **task}},
        time="timestamp",
        group="user_id",
        after_event=("click",),
        oracle=("oracle_click",),
    )
    return raw, pa.schema(list(types.items()))


class World(ABC):
    """A log in order of time. All users act at the same times, one row each.

    Args:
        size: Size of the log; ``history``, ``days`` and the options of single scenarios have no effect.
    """

    raw: ClassVar[RawSchema]
    """Schema of the source."""
    arrow: ClassVar[pa.Schema]
    """Arrow schema of the log."""
    delays: ClassVar[bool] = False
    shuffles: ClassVar[bool] = False
    selects: ClassVar[bool] = False
    intends: ClassVar[bool] = False

    def __init__(self, size: Size) -> None:
        self.size = size

    @abstractmethod
    def steps(self, rng: np.random.Generator, count: int) -> Steps:
        """Draw the log in blocks of steps.

        Args:
            rng: Random generator.
            count: Number of steps.

        Returns:
            Columns and probabilities of a click per block, each [steps, users]. ``click`` may be among the columns;
            otherwise it is drawn.
        """

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Draw the log in order of time."""
        rng, users = np.random.default_rng([self.size.seed, 3]), self.size.users
        first = 0
        for columns, chance in self.steps(rng, -(-self.size.rows // users)):
            count = len(chance)
            clicked = columns.pop("click") if "click" in columns else rng.random(chance.shape) < chance
            table = {
                "timestamp": np.repeat(START + SECONDS * (first + np.arange(count)), users),
                "user_id": np.tile(np.arange(users), count),
                **{name: values.reshape(-1) for name, values in columns.items()},
                "click": clicked.reshape(-1).astype(np.int8),
                "oracle_click": chance.reshape(-1).astype(np.float32),
            }
            batch = pa.RecordBatch.from_pydict(table, schema=self.arrow)
            # The last step may have more users than there are remaining rows.
            yield batch.slice(0, min(batch.num_rows, self.size.rows - first * users))
            first += count


class LongInterest(World):
    """Clicks that depend on one event as many steps back as there are items.

    Every user meets all items in an order of their own, again and again. Meetings come in pairs: at the first the
    decision is drawn, at the second (``repeat`` is 1) it is repeated with probability :data:`HABIT`. Only second
    meetings have a label, and only the first meeting of the pair decides it. The events between say nothing, and as
    decisions are drawn anew for each pair, users and items can't be learned by heart. A log needs more than twice
    ``users`` × ``items`` rows.
    """

    raw, arrow = _declare(
        {"item_id": pa.int64(), "category": pa.int64(), "repeat": pa.int8()},
        {
            "item_id": "categorical",
            "category": "categorical",
            "history": {
                "kind": "history",
                "by": "user_id",
                "time": "timestamp",
                "of": "item_id",
                "with": ["category", "click"],
                "length": 2_500,
            },
        },
        observed_when="repeat == 1",
    )
    per_category: ClassVar[int] = 8
    """Number of items of a category."""

    def steps(self, rng: np.random.Generator, count: int) -> Steps:
        """Draw one meeting of all items per block."""
        users, items = self.size.users, self.size.items
        order = np.stack([rng.permutation(items) for _ in range(users)], axis=1)
        chance = np.full((items, users), 0.5)  # by item and user; rows are in the order of each user
        for meeting, start in enumerate(range(0, count, items)):
            clicked = rng.random((items, users)) < chance
            shown = order[: count - start]
            yield (
                {
                    "item_id": shown,
                    "category": shown // self.per_category,
                    "repeat": np.full(shown.shape, meeting % 2, dtype=np.int8),
                    "click": np.take_along_axis(clicked, shown, axis=0),
                },
                np.take_along_axis(chance, shown, axis=0),
            )
            chance = np.full((items, users), 0.5) if meeting % 2 else np.where(clicked, HABIT, 1 - HABIT)


class NextAction(World):
    """Clicks that depend on the category of the row before: every category has one that follows it.

    Half of the rows show the category that follows the user's previous row, the others any category. The former are
    clicked with probability :data:`MATCH`, the latter with :data:`MISMATCH` unless they happen to follow as well. The
    bag of a user's past categories says little: only the latest counts.
    """

    raw, arrow = _declare(
        {"item_id": pa.int64(), "category": pa.int64()},
        {
            "item_id": "categorical",
            "category": "categorical",
            "history": {
                "kind": "history",
                "by": "user_id",
                "time": "timestamp",
                "of": "item_id",
                "with": ["category"],
                "length": 20,
            },
        },
    )

    def steps(self, rng: np.random.Generator, count: int) -> Steps:
        """Draw steps one after the other, a thousand per block."""
        users, per_category = self.size.users, max(self.size.items // CATEGORIES, 1)
        follower: Ints = np.roll(np.arange(CATEGORIES), 1)[rng.permutation(CATEGORIES)]
        previous = rng.integers(0, CATEGORIES, users)
        for start in range(0, count, 1000):
            categories = np.empty((min(1000, count - start), users), dtype=np.int64)
            follows = np.empty(categories.shape, dtype=bool)
            for step in range(len(categories)):
                drawn = rng.integers(0, CATEGORIES, users)
                expected = follower[previous]
                categories[step] = np.where(rng.random(users) < FOLLOWED, expected, drawn)
                follows[step] = categories[step] == expected
                previous = categories[step]
            item = categories * per_category + rng.integers(0, per_category, categories.shape)
            yield {"item_id": item, "category": categories}, np.where(follows, MATCH, MISMATCH)


class Crosses(World):
    """Clicks that depend on products of three fields each, and on nothing of lower order.

    Each value of a field has a hidden sign, half of them positive. A click's logit is the sum of :data:`CROSSES`
    products of the signs of :data:`ORDER` fields, times :data:`STRENGTH`. No field, and no pair of fields, says
    anything by itself.
    """

    raw, arrow = _declare(
        {f"field_{i}": pa.int64() for i in range(FIELDS)}, {f"field_{i}": "categorical" for i in range(FIELDS)}
    )

    def steps(self, rng: np.random.Generator, count: int) -> Steps:
        """Draw rows that don't depend on each other."""
        signs = np.stack([rng.permutation(np.resize([-1.0, 1.0], VALUES)) for _ in range(FIELDS)])
        products = np.stack([rng.choice(FIELDS, ORDER, replace=False) for _ in range(CROSSES)])
        for start in range(0, count, 1000):
            values = rng.integers(0, VALUES, (FIELDS, min(1000, count - start), self.size.users))
            chosen = np.stack([signs[i][values[i]] for i in range(FIELDS)])
            logit = STRENGTH * chosen[products].prod(axis=1).sum(axis=0)
            yield {f"field_{i}": values[i] for i in range(FIELDS)}, 1 / (1 + np.exp(-logit))
