"""Columns that all scenarios share: user, item, time and place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.simulator.exposure import Exposures
from mtl_lightning.data.simulator.population import Floats, Items, Users, standardise
from mtl_lightning.interfaces import RawSchema

SEGMENTS = ("students", "starters", "families", "professionals", "homeowners", "travellers", "savers", "retired")
DEVICES = ("phone", "desktop", "tablet")

Columns = dict[str, pa.Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """A scenario's names for the properties of an item.

    Args:
        item: Column with the item's id.
        owner: Column with the seller or author.
        group: Column with the campaign, collection or section.
        amount: Column with the price or length.
        appeal: Column with a noisy measure of quality.
        formats: Names of the formats in which items are shown.
        unit: Factor of the amount: 1 for money, more for counts.
    """

    item: str = "item_id"
    owner: str
    group: str
    amount: str = "price"
    appeal: str
    formats: tuple[str, ...]
    unit: float = 1.0

    def types(self) -> dict[str, pa.DataType]:
        """Types of the shared columns, in the log's order."""
        return {
            "request_id": pa.int64(),
            "timestamp": pa.int64(),
            "user_id": pa.int64(),
            "user_segment": pa.string(),
            "user_age": pa.float32(),
            "user_city": pa.int64(),
            "user_activity": pa.float32(),
            self.item: pa.int64(),
            self.owner: pa.int64(),
            self.group: pa.int64(),
            "category": pa.string(),
            "format": pa.string(),
            self.amount: pa.float32(),
            self.appeal: pa.float32(),
            "hour": pa.int64(),
            "weekday": pa.int64(),
            "device": pa.string(),
            "position": pa.int64(),
            "history": pa.list_(pa.int64()),
        }

    def features(self, history: int = 10) -> dict[str, Any]:
        """Suggested features of the shared columns, as in a recipe.

        Args:
            history: Length of the history.
        """
        numeric = ("user_age", "user_activity", self.amount, self.appeal)
        kinds: dict[str, Any] = {name: "numeric" if name in numeric else "categorical" for name in self.types()}
        for name in ("request_id", "timestamp"):
            del kinds[name]
        kinds["history"] = {"kind": "sequence", "of": self.item, "length": history}
        return kinds


def raw_schema(
    names: Names,
    outcomes: Mapping[str, pa.DataType],
    tasks: Mapping[str, Any],
    features: Mapping[str, Any] | None = None,
) -> tuple[RawSchema, pa.Schema]:
    """Build the source's schema and the Arrow schema of a log.

    Args:
        names: Names of the shared columns.
        outcomes: Types of the outcomes; those named ``oracle_…`` are oracles.
        tasks: Suggested tasks.
        features: Suggested features among the outcomes, known before the event.
    """
    types = {**names.types(), **outcomes}
    shown = tuple(features or ())
    raw = RawSchema(
        columns={name: str(kind) for name, kind in types.items()},
        features={**names.features(), **(features or {})},
        tasks=dict(tasks),
        time="timestamp",
        group="user_id",
        after_event=tuple(name for name in outcomes if not name.startswith("oracle_") and name not in shown),
        oracle=tuple(name for name in outcomes if name.startswith("oracle_")),
    )
    return raw, pa.schema(list(types.items()))


class SideInformation:
    """Shared columns of exposures.

    Args:
        rng: Random generator of ids and measurement noise.
        users: The users.
        items: The items.
        names: Names of the columns.
        categories: Names of the categories.
    """

    def __init__(
        self, rng: np.random.Generator, users: Users, items: Items, names: Names, categories: tuple[str, ...]
    ) -> None:
        known = np.where(users.age_known, users.age, np.nan)
        self._of_user = {
            "user_id": pa.array(rng.permutation(len(users.age)) + 1),
            "user_segment": pa.array(SEGMENTS).take(pa.array(users.segment)),
            "user_age": pa.array(known, pa.float32(), from_pandas=True),
            "user_city": pa.array(users.city),
            "user_activity": pa.array(_measure(rng, users.activity)),
        }
        self.item_id = rng.permutation(len(items.price)) + 1
        self._of_item = {
            names.item: pa.array(self.item_id),
            names.owner: pa.array(items.owner),
            names.group: pa.array(items.group),
            "category": pa.array(categories).take(pa.array(items.category)),
            "format": pa.array(names.formats).take(pa.array(items.format)),
            names.amount: pa.array(np.round(items.price * np.float32(names.unit), 2)),
            names.appeal: pa.array(_measure(rng, items.quality)),
        }
        self._devices = pa.array(DEVICES)

    def columns(self, exposures: Exposures) -> Columns:
        """Shared columns of these rows, except ``history``."""
        user, item = pa.array(exposures.user), pa.array(exposures.item)
        return {
            "request_id": pa.array(exposures.request),
            "timestamp": pa.array(exposures.timestamp),
            **{name: pc.take(values, user) for name, values in self._of_user.items()},
            **{name: pc.take(values, item) for name, values in self._of_item.items()},
            "hour": pa.array(exposures.hour),
            # 0 is Monday; the first of January 1970 was a Thursday.
            "weekday": pa.array((exposures.timestamp // 86_400 + 3) % 7),
            "device": self._devices.take(pa.array(exposures.device)),
            "position": pa.array(exposures.position + 1),
        }


def _measure(rng: np.random.Generator, latent: Floats) -> Floats:
    return standardise(latent + 0.15 * rng.normal(size=len(latent)))
