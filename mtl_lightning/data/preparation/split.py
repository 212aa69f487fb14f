"""Splits of rows into train, validation and test."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.columns import Block, as_written, first_row
from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.data.arrow.time_formats import check_format
from mtl_lightning.data.arrow.times import times_of
from mtl_lightning.data.arrow.types import is_number
from mtl_lightning.data.preparation.time_bounds import boundaries
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.validation.review import Review

SPLITS = ("train", "validation", "test")
"""Names of the splits; rows are assigned to them by index."""

SYNONYMS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
}
"""Names that data sets give to splits, and the splits that they mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSpec:
    """Specification of how rows are divided.

    Args:
        by: One of

            - ``random``: rows are assigned at random, in exact shares;
            - ``time``: the earliest rows are for training, the latest for the test. Rows of the same time stay
              together, and each split has at least one time;
            - ``user``: users are assigned at random, with all their rows;
            - ``last``: each user's latest row is for the test, the one before it for validation, and the others are for
              training. A user with one row is in the training split;
            - ``given``: the source's own splits, or a column that names the split.
        validation: Share of the rows, or of the users for ``user``. For ``given`` it is taken at random from training
            rows if the source has no validation split. Not used by ``last``.
        test: Share of the test split, as for ``validation``.
        column: Column with the time for ``time``, the user for ``user`` and ``last``, the split's name for ``given``.
        time: Column with the time for ``last``.
        format: Format of times that are text or integers like 20240531, as in ``strptime``
            (``%Y-%m-%d %H:%M:%S UTC``). It may hold ``%f`` for a fraction of a second and ``%z`` for an offset from
            UTC. None for ISO 8601 and numbers.
        seed: Seed of random assignments.
        cold: Columns (the user, the item) whose values may be new to the training split. Each gets a raw column
            ``new_<column>``, which is 1 where the value is new, so that cold starts can be evaluated separately.

    Raises:
        DataError: If an option is unknown, out of range or missing.

    Example:
        >>> spec = SplitSpec(by="time", column="day", validation=0.25, test=0.25)
        >>> assign(spec, [pa.table({"day": [3, 1, 2, 4]})]).tolist()
        [1, 0, 0, 2]
    """

    by: str = "random"
    validation: float = 0.1
    test: float = 0.1
    column: str | None = None
    time: str | None = None
    format: str | None = None
    seed: int = 0
    cold: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "cold", tuple(self.cold))
        if self.by not in ASSIGN and self.by != "given":
            kinds = (*ASSIGN, "given")
            hint = did_you_mean(self.by, kinds)
            raise DataError(f"split.by: unknown kind of split {self.by!r}", hint)
        for name in ("validation", "test"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise DataError(f"split.{name}: {share} is not a share", "at least 0 and below 1")
        if self.validation + self.test >= 1:
            raise DataError("split: validation and test leave nothing to train on", "their sum must be below 1")
        for name in ("column", "time"):
            if self.by in NEEDS[name] and getattr(self, name) is None:
                raise DataError(f"split.{name}: a split by {self.by} needs a column", NEEDS[name][self.by])
        if self.format is not None:
            check_format(self.format, "split.format", dated=True)

    @property
    def columns(self) -> tuple[str, ...]:
        """Raw columns that decide on the split of a row."""
        return tuple(dict.fromkeys(name for name in (self.column, self.time if self.by == "last" else None) if name))

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, for JSON."""
        return asdict(self)


def read_split(options: Mapping[str, Any], review: Review) -> SplitSpec | None:
    """Build the split of a recipe.

    Args:
        options: Options of :class:`SplitSpec`.
        review: Receives everything that is wrong; the result is None then.
    """
    split: SplitSpec | None = review.record("split", SplitSpec, options)
    return split


def split_name(name: str) -> str | None:
    """Return the split that a data set's own name means, or None.

    Example:
        >>> split_name("Dev"), split_name("holdout")
        ('validation', None)
    """
    return SYNONYMS.get(name.lower())


def assign(
    spec: SplitSpec, blocks: list[Block], rows: int | None = None, requests: np.ndarray | None = None
) -> np.ndarray:
    """Assign each row to a split.

    Args:
        spec: How rows are divided; not ``given``.
        blocks: Blocks of all rows with the columns ``spec.columns``; empty for a random split.
        rows: Number of rows, N, if there are no blocks.
        requests: Number of each row's request, [N]; requests are then assigned as a whole, by their latest row.

    Returns:
        Index into :data:`SPLITS` of each row, [N] int8.

    Raises:
        DataError: If a column is missing, has nulls or a wrong type.
    """
    table = pa.concat_tables([_as_table(block) for block in blocks]) if blocks else pa.table({})
    if requests is None:
        return ASSIGN[spec.by](spec, table, table.num_rows if rows is None else rows)
    if spec.by in ("user", "last"):
        _users(table, str(spec.column))  # errors name the row of the log
    time = {"time": spec.column, "last": spec.time}.get(spec.by)
    places = np.arange(len(requests))
    order = np.lexsort((places if time is None else times_of(table, time, text_format=spec.format), requests))
    latest = order[np.flatnonzero(np.append(requests[order][1:] != requests[order][:-1], len(requests) > 0))]
    assigned: np.ndarray = ASSIGN[spec.by](spec, table.take(pa.array(latest)) if blocks else table, len(latest))[
        requests
    ]
    return assigned


def _as_table(block: Block) -> pa.Table:
    return pa.Table.from_batches([block]) if isinstance(block, pa.RecordBatch) else block


def _shares(spec: SplitSpec, count: int, order: np.ndarray) -> np.ndarray:
    """Assign ``count`` rows or users by their place in an order: train first, then validation, then test."""
    test = round(spec.test * count)
    validation = min(round(spec.validation * count), count - test)
    result = np.zeros(count, dtype=np.int8)
    result[order[count - test - validation :]] = 1
    result[order[count - test :]] = 2
    return result


def _permutation(spec: SplitSpec, count: int) -> np.ndarray:
    narrow = np.arange(count, dtype=np.int32 if count < 1 << 31 else np.int64)  # the same order in less memory
    return np.random.default_rng(spec.seed).permutation(narrow)


def _random(spec: SplitSpec, _: pa.Table, rows: int) -> np.ndarray:
    return _shares(spec, rows, _permutation(spec, rows))


def _time(spec: SplitSpec, table: pa.Table, rows: int) -> np.ndarray:
    name = str(spec.column)
    test = round(spec.test * rows)
    validation = min(round(spec.validation * rows), rows - test)
    result = np.zeros(rows, dtype=np.int8)
    # Numbers are read without a copy, so that only the sorted copy of a long log takes memory.
    zero_copy = name in table.column_names and is_number(table.schema.field(name).type) and spec.format is None
    pieces, start = [], 0
    for piece in table.to_batches() if zero_copy else [table]:
        pieces.append((start, times_of(piece, name, start, spec.format)))
        start += piece.num_rows
    if not validation + test:
        return result
    times_of_rows = np.concatenate([times for _, times in pieces])
    for split, first in boundaries(times_of_rows, {"validation": validation, "test": test}, name).items():
        for start, times in pieces:
            result[start : start + len(times)][times >= first] = SPLITS.index(split)
    return result


def _users(table: pa.Table, name: str) -> tuple[np.ndarray, int]:
    values = keys(as_written(table, name), name)
    if values.null_count:
        raise DataError(f"split: the user column {name!r} has no value in row {first_row(pc.is_null(values))}")
    coded = pc.dictionary_encode(values)
    # Users are ranked by value, so that a user's split does not depend on the order of the log.
    rank = pc.rank(coded.dictionary, tiebreaker="first").to_numpy() - 1 if len(coded.dictionary) else np.zeros(0)
    return rank.astype(np.int64)[coded.indices.to_numpy()], len(coded.dictionary)


def _user(spec: SplitSpec, table: pa.Table, _: int) -> np.ndarray:
    codes, count = _users(table, str(spec.column))
    shares: np.ndarray = _shares(spec, count, _permutation(spec, count))[codes]
    return shares


def _last(spec: SplitSpec, table: pa.Table, rows: int) -> np.ndarray:
    codes, _ = _users(table, str(spec.column))
    times = times_of(table, str(spec.time), text_format=spec.format)
    order = np.lexsort((times, codes))  # stable: of rows with equal times, the later row is last
    ordered = codes[order]
    place = np.arange(rows)
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], rows > 0)) if rows else place
    sizes = np.diff(np.concatenate([[-1], ends]))
    from_end = np.repeat(ends, sizes) - place
    size = np.repeat(sizes, sizes)
    result = np.zeros(rows, dtype=np.int8)
    result[order[(from_end == 0) & (size >= 2)]] = 2
    result[order[(from_end == 1) & (size >= 3)]] = 1
    return result


ASSIGN: dict[str, Callable[[SplitSpec, pa.Table, int], np.ndarray]] = {
    "random": _random,
    "time": _time,
    "user": _user,
    "last": _last,
}
"""Functions that assign rows, by kind of split; ``given`` reads the names of splits instead."""

NEEDS = {
    "column": {
        "time": "set split.column to the column with the time",
        "user": "set split.column to the column with the user",
        "last": "set split.column to the column with the user",
    },
    "time": {"last": "set split.time to the column with the time"},
}
"""Kinds of splits that need each option, with the hint if it is missing."""


def assign_by_name(spec: SplitSpec, values: pa.Array) -> np.ndarray:
    """Assign each row to the split that a column names (``given``).

    Args:
        spec: Specification with the column.
        values: Names of splits, [N].

    Returns:
        Index into :data:`SPLITS` of each row, [N] int8.

    Raises:
        DataError: If a name is unknown or missing.

    Example:
        >>> assign_by_name(SplitSpec(by="given", column="part"), pa.array(["train", "dev", "test"])).tolist()
        [0, 1, 2]
    """
    coded = pc.dictionary_encode(text(keys(values, str(spec.column))))
    if coded.indices.null_count:
        raise DataError(f"split: column {spec.column!r} has no value in row {first_row(pc.is_null(coded.indices))}")
    numbers = []
    for name in coded.dictionary.to_pylist():
        split = split_name(name)
        if split is None:
            raise DataError(f"split: column {spec.column!r} holds {name!r}", f"one of {', '.join(SPLITS)}")
        numbers.append(SPLITS.index(split))
    assigned: np.ndarray = np.array(numbers, dtype=np.int8)[coded.indices.to_numpy()]
    return assigned
