"""History features: what a user did before a row, built from the log itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from mtl_lightning.batch import WITHOUT_GROUP
from mtl_lightning.data.arrow.columns import WRITTEN, Block, as_written
from mtl_lightning.data.arrow.hashing import group_numbers
from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.arrow.time_formats import check_format
from mtl_lightning.data.arrow.times import Instants, instants
from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.data.features.base import Accumulator, Feature, Transform, check
from mtl_lightning.data.features.categorical import Categorical, CategoricalTransform, SharedVocabulary
from mtl_lightning.data.features.numeric import NUMERIC_TRANSFORMS, Numeric, NumericTransform
from mtl_lightning.data.features.side_tables import SideTable, join, without_lookups
from mtl_lightning.data.features.state_structure import SavedHistory
from mtl_lightning.data.features.unknown_ids import UnknownIds
from mtl_lightning.data.features.vocabulary import FIRST
from mtl_lightning.data.readers.blocks import ROW
from mtl_lightning.data.readers.frames import as_array
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.schema import Field
from mtl_lightning.steps import LONGEST, Layout

RENAMED = "columns"
"""Option of ``from`` with the names of columns in its files; the others are options of the source ``table``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History(Feature):
    """The latest events of a row's user before the row, built from the log, oldest first.

    A row of user u at time t has the latest ``length`` rows of u with a time below t − ``delay`` that satisfy
    ``where``. Rows of the same time, the row itself and later ones never enter, so that an event may carry columns that
    are known only after it, labels included. Rows without a user or a time have an empty history and enter none.

    An id shares vocabulary and embedding table of the categorical feature that reads the same column; a column that no
    such feature reads has a vocabulary of its own. What is not shared is fitted on events of the training split.

    Args:
        by: Column with the user.
        time: Column with the time: numbers, times or text.
        of: Column with the id of an event, such as the item.
        where: Condition on an event's columns, such as ``is_click == 1``; None for all rows.
        with_: Further columns of an event (``with`` in a recipe): a name for an id, ``{column: transform}`` for a
            number, with the transforms of :class:`~mtl_lightning.data.features.numeric.Numeric`. ``<table>.<column>``
            is a column of a side table of ``data.lookup``, looked up by the event's key.
        gap: Each event has the time between it and the row.
        length: Number of events at most.
        delay: An event must be more than this before a row: in seconds, or in the unit of a time column that holds
            numbers. At least as long as labels that events carry need to become known.
        format: Format of times that are text or integers like 20240531, as in ``strptime``; None for ISO 8601 and
            numbers.
        from_: Files with the events (``from`` in a recipe) instead of the log's rows: ``path`` and other options of the
            source ``table``, and ``columns``, the names of columns in these files where they differ. A row is an event,
            or, where columns hold lists of equal lengths, one event per element.

    Raises:
        DataError: If an option is wrong.

    Example:
        >>> clicks = History(by="user", time="day", of="item", where="click == 1", with_=("shop", {"price": "log"}))
        >>> clicks.event_columns("clicks")
        ('user', 'day', 'item', 'shop', 'price', 'click')
    """

    kind: ClassVar[str] = "history"
    makes: ClassVar[str] = "history"
    by: str
    time: str
    of: str
    where: str | None = None
    with_: tuple[str | dict[str, str], ...] = ()
    gap: bool = False
    length: int = 50
    delay: float = 0
    format: str | None = None
    from_: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "with_", tuple(self.with_))
        check(1 <= self.length < LONGEST, f"length is {self.length}", f"at least 1 and below {LONGEST:,}")
        check(0 <= self.delay < np.inf, f"delay is {self.delay}", "at least 0")
        for carried in self.with_:
            if isinstance(carried, Mapping):
                for transform in carried.values():
                    hint = did_you_mean(str(transform), NUMERIC_TRANSFORMS) or f"one of {', '.join(NUMERIC_TRANSFORMS)}"
                    check(transform in NUMERIC_TRANSFORMS, f"with: no transform {transform!r}", hint)
        names = [*self.ids, *self.numbers]
        twice = next((name for name in names if names.count(name) > 1), None)
        check(twice is None, f"with: {twice!r} is listed twice", "list each column once")
        if self.where is not None:
            Expression(self.where, place="where")
        if self.format is not None:
            check_format(self.format, "format", dated=True)
        if self.from_ is not None:
            self._check_renamed()

    def _check_renamed(self) -> None:
        renamed = self.renamed
        named = isinstance(renamed, Mapping) and all(isinstance(name, str) for name in (*renamed, *renamed.values()))
        check(named, f"from.{RENAMED} is {renamed!r}", "a mapping: name here to name in the files")
        unknown = next((name for name in renamed if name not in self.source_columns), None)
        hint = did_you_mean(str(unknown), self.source_columns) or "an event has " + ", ".join(self.source_columns)
        check(unknown is None, f"from.{RENAMED}: {unknown!r} is not read", hint)

    @property
    def renamed(self) -> Mapping[str, str]:
        """Names in the files of ``from`` of columns that are called differently there."""
        return (self.from_ or {}).get(RENAMED) or {}

    @property
    def ids(self) -> tuple[str, ...]:
        """Columns with the ids of an event, the main one first."""
        return (self.of, *(carried for carried in self.with_ if isinstance(carried, str)))

    @property
    def numbers(self) -> dict[str, str]:
        """Transform of each column with a number of an event."""
        return {name: kind for carried in self.with_ if isinstance(carried, Mapping) for name, kind in carried.items()}

    def columns(self, name: str) -> tuple[str, ...]:
        """User and time."""
        return (self.by, self.time)

    def event_columns(self, name: str) -> tuple[str, ...]:
        """User and time, ids and numbers, and what the condition reads; none if events come from other files."""
        return self.source_columns if self.from_ is None else ()

    def lookup_columns(self, name: str) -> tuple[str, ...]:
        """All columns of rows and of events."""
        return tuple(dict.fromkeys([*self.columns(name), *self.source_columns]))

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Raw columns of an event where it is recorded: the user and :attr:`given_columns`."""
        return tuple(dict.fromkeys([self.by, *self.given_columns]))

    @property
    def given_columns(self) -> tuple[str, ...]:
        """Raw columns of an event that a request brings: time, ids and numbers, and what the condition reads."""
        condition = () if self.where is None else Expression(self.where).columns
        return tuple(dict.fromkeys([self.time, *self.ids, *self.numbers, *condition]))

    def request_columns(self, name: str) -> tuple[str, ...]:
        """The events, under the feature's name, and the time of the row."""
        return (name, self.time)

    def tokens(self, name: str) -> tuple[str, ...]:
        """Users and ids; times where a format says how text is read. Without ids if events come from other files."""
        return (self.by, *(self.ids if self.from_ is None else ()), *self._text_times)

    @property
    def event_tokens(self) -> tuple[str, ...]:
        """Columns of :attr:`source_columns` whose values are compared as they are written."""
        return (self.by, *self.ids, *self._text_times)

    @property
    def _text_times(self) -> tuple[str, ...]:
        return () if self.format is None else (self.time,)

    def shares(self, others: Mapping[str, Feature]) -> tuple[str, ...]:
        """Names of the categorical features that read a column of its ids."""
        categorical = {name: other for name, other in others.items() if isinstance(other, Categorical)}
        return tuple(name for name, other in categorical.items() if other.columns(name)[0] in self.ids)

    def build(self, name: str, others: Mapping[str, Transform]) -> "HistoryTransform":
        """Its transform."""
        return HistoryTransform(
            name, self, [other for other in others.values() if isinstance(other, CategoricalTransform)]
        )


class Moments(NamedTuple):
    """Users and times of rows.

    Args:
        user: Number of the user, [N] int64.
        time: Time, [N] int64 or float64.
        known: False where user or time is missing, [N].
    """

    user: np.ndarray
    time: np.ndarray
    known: np.ndarray


class EncodedEvents(NamedTuple):
    """Events of a block, in its order.

    Args:
        user: Number of the user, [E] int64.
        time: Time, [E] int64 or float64.
        records: What an event carries, [E, W] int32; see :attr:`HistoryTransform.layout`.
    """

    user: np.ndarray
    time: np.ndarray
    records: np.ndarray


@contextmanager
def _errors_of(rows: np.ndarray) -> Iterator[None]:
    """Let errors of some rows of a block name their places in the block."""
    try:
        yield
    except RowError as error:
        further = {int(rows[index]): message for index, message in error.further.items()}
        raise RowError(error.message, int(rows[error.index]), error.hint, further) from error


class HistoryTransform:
    """Fitted vocabularies and scales of what an event carries.

    Args:
        name: The feature's name.
        feature: Its options.
        others: Categorical features, whose vocabularies it shares where they read the same column.
    """

    saved: ClassVar[Any] = SavedHistory

    def __init__(self, name: str, feature: History, others: Sequence[CategoricalTransform]) -> None:
        self.name = name
        self.feature = feature
        shared = {other.column: other.table for other in reversed(others)}
        self.own = {
            column: SharedVocabulary(f"{name}.{column}", 1, None) for column in feature.ids if column not in shared
        }
        self.tables = {column: shared.get(column) or self.own[column] for column in feature.ids}
        leaving = [table.name for table in self.tables.values() if table.lifetime is not None]
        if leaving and feature.from_ is not None:
            reason = f"has files of its own, whose events count for {leaving[0]!r} again in each run"
            raise DataError(f"features.{name}: {reason}", f"features.{leaving[0]} can't have admit, expire or evict")
        self.scales = {
            column: NumericTransform(column, Numeric(column=column, transform=transform))
            for column, transform in feature.numbers.items()
        }
        self.condition = None if feature.where is None else Expression(feature.where, place=f"features.{name}.where")
        self.per_second: int | None = None
        self.earlier: Mapping[str, Any] | None = None
        self.lookups: Sequence[SideTable] = ()
        """Side tables whose columns events carry."""
        self.unknown: UnknownIds | None = None
        """Codes of unknown ids while events are prepared; None where unknown ids are equal, as in requests."""

    @property
    def units(self) -> int:
        """Units of stored times per unit of ``delay`` and of gaps."""
        return self.per_second or 1

    @property
    def delay(self) -> float:
        """The delay in the unit of stored times."""
        return round(self.feature.delay * self.units) if self.per_second else self.feature.delay

    @property
    def layout(self) -> Layout:
        """Words of an event's record."""
        return Layout(len(self.tables), len(self.scales), self.feature.gap, float(self.units))

    @property
    def given_columns(self) -> tuple[str, ...]:
        """Raw columns of an event that a request brings, with keys of side tables in place of their columns."""
        return without_lookups(self.lookups, self.feature.given_columns)

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The user and :attr:`given_columns`."""
        return without_lookups(self.lookups, self.feature.source_columns)

    def moments(self, block: Block) -> Moments:
        """Users and times of a block's rows."""
        times = self.instants(block)
        user = group_numbers(as_written(block, self.feature.by), self.feature.by)
        return Moments(user, times.values, times.known & (user != WITHOUT_GROUP))

    def instants(self, block: Block) -> Instants:
        """Times of a block's rows.

        Raises:
            DataError: If they are not times, or numbers where earlier blocks had times.
        """
        start = block[ROW][0].as_py() if ROW in block.schema.names and block.num_rows else 0
        place = f"features.{self.name}"
        times = instants(block, self.feature.time, start, self.feature.format, place)
        self.merge(times.per_second)
        return times

    def happened(self, block: Block, known: np.ndarray) -> np.ndarray:
        """Rows of a block that are events: they satisfy the condition and have user and time; ascending indices."""
        if self.condition is not None:
            known = known & self.condition.holds(block).to_numpy(zero_copy_only=False)
        return np.flatnonzero(known)

    def observe(self, block: Block) -> None:
        """Count ids and measure numbers of the block's events, unless events come from other files."""
        if self.feature.from_ is None and (self.own or self.scales):
            # Features of their own count the ids of shared vocabularies.
            self._observe(block, self.moments(block).known, self.own)

    def observe_events(self, block: Block, visible: Callable[[Moments], np.ndarray]) -> None:
        """Count ids and measure numbers of events from other files.

        Args:
            block: Events.
            visible: Function from users and times to the events that training rows may see, [E] bool.
        """
        block, moments = join(self.lookups, block), self.moments(block)
        self._observe(block, moments.known & visible(moments), self.tables)

    def _observe(self, block: Block, chosen: np.ndarray, tables: Mapping[str, SharedVocabulary]) -> None:
        rows = self.happened(block, chosen)
        events = self._carried(block, rows)
        with _errors_of(rows):
            for name, table in tables.items():
                table.add(as_written(events, name), name)
            for scale in self.scales.values():
                scale.observe(events)

    def accumulators(self) -> list[Accumulator]:
        """Return its own vocabularies, the moments and quantiles of numbers, and itself for the unit of times."""
        return [self, *self.own.values(), *(part for scale in self.scales.values() for part in scale.accumulators())]

    def record(self) -> None:
        """Keep the unit of times."""

    def partial(self) -> int | None:
        """Return the unit of times."""
        return self.per_second

    def merge(self, partial: int | None) -> None:
        """Take over the unit of times of later blocks, if earlier ones had none.

        Raises:
            DataError: If earlier ones had times where later ones have numbers, or the other way round.
        """
        if partial is None:
            return
        if self.per_second is None:
            self.per_second = partial
        if partial != self.per_second:
            words = ["times", "numbers"] if self.per_second else ["numbers", "times"]
            column = f"features.{self.name}: the time column {self.feature.time!r}"
            raise DataError(f"{column} holds {words[1]} where it held {words[0]}", "write all times in one form")

    def grow(self, state: Mapping[str, Any]) -> None:
        """Keep the ids, scales and times of an earlier fit's state; new values get ids after the known ones."""
        for name, table in self.own.items():
            table.grow(state["vocabularies"][name])
        self.per_second, self.earlier = state["per_second"], state

    def _carried(self, block: Block, rows: np.ndarray) -> Block:
        """Columns of some rows of a block that events carry, without the others."""
        names = {*self.tables, *self.scales}
        events = block.select([name for name in block.schema.names if name.removeprefix(WRITTEN) in names])
        return events.take(pa.array(rows)) if len(rows) < block.num_rows else events

    def finish(self) -> None:
        """Fix the scales; vocabularies are fitted on first use."""
        for name, scale in self.scales.items():
            if self.earlier is None:
                scale.finish()
            else:
                scale.restore(self.earlier["numbers"][name])

    def field(self) -> Field:
        """A history field."""
        ids = [
            Field(name=name, kind="categorical", size=table.vocabulary.size, table=table.name)
            for name, table in self.tables.items()
        ]
        steps = (*ids, *(scale.field() for scale in self.scales.values()))
        return Field(name=self.name, kind="history", length=self.feature.length, steps=steps, gap=self.feature.gap)

    def encode(self, block: Block) -> np.ndarray:
        """Times of the rows, from which gaps are counted, [B] float64."""
        return self.instants(block).values.astype(np.float64)

    def encode_events(
        self, block: Block, moments: Moments | None = None, unknown: UnknownIds | None = None
    ) -> EncodedEvents:
        """The block's events.

        Args:
            block: Rows of the log.
            moments: Their users and times, if they are known already.
            unknown: Codes of unknown ids; None for :attr:`unknown`.

        Raises:
            RowError: At a number that can't be read, with its row in the block.
        """
        block = join(self.lookups, block)
        user, time, known = self.moments(block) if moments is None else moments
        rows = self.happened(block, known)
        happened = time[rows]
        return EncodedEvents(user[rows], happened, self.layout.pack(*self.encode_steps(block, rows, unknown), happened))

    def encode_steps(
        self, block: Block, rows: np.ndarray, unknown: UnknownIds | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode what some rows carry as events: ids [E, K] int32 and numbers [E, F] float32.

        Args:
            block: Rows of the log.
            rows: Ascending indices of rows.
            unknown: Codes of unknown ids; None for :attr:`unknown`.

        Raises:
            RowError: At a number that can't be read, with its row in the block.
        """
        events = self._carried(block, rows)
        ids = [self._ids(table, as_written(events, name), name, unknown) for name, table in self.tables.items()]
        with _errors_of(rows):
            numbers = [scale.encode(events) for scale in self.scales.values()]
        nothing = np.zeros((len(rows), 0), dtype=np.float32)
        return np.stack(ids, axis=1), np.stack(numbers, axis=1) if numbers else nothing

    def look_up(self, records: np.ndarray, unknown: Mapping[str, Mapping[int, Any]]) -> np.ndarray:
        """Give events of an earlier run the ids that their values have now.

        Args:
            records: Events, [E, W] int32, whose negative ids are codes of unknown values.
            unknown: The values by column and code.
        """
        earlier, records = records, records.copy()
        for place, (name, table) in enumerate(self.tables.items()):
            if table.known is not None and table.lifetime is not None and table.lifetime.leaves:
                held = np.flatnonzero(earlier[:, place] >= FIRST)
                values = table.known.keys.take(pa.array(earlier[held, place] - FIRST))
                records[held, place] = self._ids(table, values, name)
            coded = np.flatnonzero(earlier[:, place] < 0)
            if len(coded):
                values = as_array([unknown[name][code] for code in records[coded, place].tolist()], name)
                records[coded, place] = self._ids(table, values, name)
        return records

    def _ids(
        self, table: SharedVocabulary, values: pa.Array, name: str, unknown: UnknownIds | None = None
    ) -> np.ndarray:
        ids = table.ids(values, name)
        unknown = self.unknown if unknown is None else unknown
        return ids if unknown is None else unknown.mark(name, values, ids)

    def adopt(self, events: EncodedEvents, unknown: UnknownIds) -> EncodedEvents:
        """Give events with codes of their own the codes of :attr:`unknown`.

        Args:
            events: Events of a part of the log.
            unknown: The codes that its worker gave.
        """
        assert self.unknown is not None
        records = events.records.copy()
        for place, name in enumerate(self.tables):
            ids = records[:, place]
            coded = np.flatnonzero(ids < 0)
            if len(coded):
                ids[coded] = self.unknown.adopt(name, unknown.values(name))[-1 - ids[coded]]
        return events._replace(records=records)

    def state(self) -> dict[str, Any]:
        """Own vocabularies, scales, and the unit of times."""
        return {
            "vocabularies": {name: table.state() for name, table in self.own.items()},
            "numbers": {name: scale.state() for name, scale in self.scales.items()},
            "per_second": self.per_second,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`."""
        for name, table in self.own.items():
            table.restore(state["vocabularies"][name])
        for name, scale in self.scales.items():
            scale.restore(state["numbers"][name])
        self.per_second = state["per_second"]
