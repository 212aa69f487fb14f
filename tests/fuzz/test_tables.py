"""Tables over all types of Arrow and pandas: each is prepared with every row, or refused with an error for the user."""

import datetime as dt
import decimal
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, reject, seed, settings
from hypothesis import strategies as st

from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.prepare import prepare
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.data.readers.frames import Frame
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Source
from mtl_lightning.schema import Task

UNITS = ("s", "ms", "us", "ns")
WORDS = st.sampled_from(
    ["", " ", "a", "b", "a,b", "7", "007", "1.50", "nan", "true", "é", "\x00", "\x1b[1m", "日", "[1, 2]", "2024-01-01"]
)
DAYS = st.dates(dt.date(1970, 1, 2), dt.date(2200, 1, 1))
TIMES = st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2200, 1, 1))
FLAT: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    *(
        (pa.type_for_alias(f"int{bits}"), st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
        for bits in (8, 16, 32, 64)
    ),
    *((pa.type_for_alias(f"uint{bits}"), st.integers(0, 2**bits - 1)) for bits in (8, 16, 32, 64)),
    (pa.int64(), st.integers(0, 3)),
    (pa.float16(), st.floats(width=16)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.date32(), DAYS),
    (pa.date64(), DAYS),
    (pa.time32("s"), st.times().map(lambda item: item.replace(microsecond=0))),
    (pa.time64("us"), st.times()),
    *(
        (pa.timestamp(unit, zone), TIMES.map(lambda element: element.replace(microsecond=0)))
        for unit in UNITS
        for zone in (None, "UTC")
    ),
    *((pa.duration(unit), st.integers(-(10**6), 10**6)) for unit in UNITS),
    (pa.month_day_nano_interval(), st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))),
    (pa.string(), WORDS),
    (pa.large_string(), WORDS),
    (pa.string_view(), WORDS),
    (pa.binary(), st.binary(max_size=4)),
    (pa.large_binary(), st.binary(max_size=4)),
    (pa.binary_view(), st.binary(max_size=4)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.decimal128(9, 2), st.decimals(-100, 100, places=2)),
    (pa.decimal256(40, 3), st.decimals(-100, 100, places=3)),
    (pa.decimal128(5, -2), st.integers(-99, 99).map(lambda entry: decimal.Decimal(entry * 100))),
]


def lists(inner: tuple[pa.DataType, st.SearchStrategy[Any]]) -> list[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    """Types of lists, structs and maps over a type."""
    kind, values = inner
    several = st.lists(values | st.none(), max_size=3)
    return [
        (pa.list_(kind), several),
        (pa.large_list(kind), several),
        (pa.list_view(kind), several),
        (pa.large_list_view(kind), several),
        (pa.list_(kind, 2), st.lists(values | st.none(), min_size=2, max_size=2)),
        (pa.struct([("x", kind), ("y", pa.int64())]), st.fixed_dictionaries({"x": values, "y": st.integers(0, 2)})),
        (pa.struct([]), st.just({})),
        (pa.map_(pa.string(), kind), st.lists(st.tuples(WORDS, values), max_size=2)),
    ]


@st.composite
def columns(draw: st.DrawFn, rows: int) -> pa.Array | pa.ChunkedArray:
    """A column of any type, a quarter of it missing, sometimes in dictionaries, runs, extensions or chunks."""
    chosen = draw(st.sampled_from(FLAT))
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 1, 2]))):
        chosen = draw(st.sampled_from(lists(chosen)))
    kind, values = chosen
    if draw(st.integers(0, 9)) == 0:
        values = st.none()
    cells = draw(st.lists(st.one_of(values, values, values, st.none()), min_size=rows, max_size=rows))
    try:
        column = pa.array(cells, kind)
        wrapped = draw(st.sampled_from(["", "", "", "dictionary", "runs", "chunks", "uuid", "json", "tensor"]))
        if wrapped == "dictionary":
            column = column.dictionary_encode()
        elif wrapped == "runs":
            ends = pa.array(range(1, rows + 1), pa.int32())
            column = pa.RunEndEncodedArray.from_arrays(ends, column)
        elif wrapped == "chunks" and rows:
            place = draw(st.integers(0, rows))
            column = pa.chunked_array([column.slice(0, place), column.slice(place)])
        elif wrapped == "uuid":
            column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=3).bytes] * rows, pa.binary(16)))
        elif wrapped == "json":
            column = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}'] * rows, pa.string()))
        elif wrapped == "tensor":
            whole = pa.array([[1.0, 2.0]] * rows, pa.list_(pa.float32(), 2))
            column = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [2]), whole)
    except (pa.ArrowException, OverflowError):  # Arrow itself has no such column
        column = pa.nulls(rows)
    return column


FRAMES = (
    lambda rows: pd.cut(pd.Series(range(max(rows, 1)), dtype="float64"), 3)[:rows],
    lambda rows: pd.Series(pd.Categorical([pd.Interval(0, 1)] * rows)),
    lambda rows: pd.Series(pd.period_range("2024-01", periods=max(rows, 1), freq="M")[:rows]),
    lambda rows: pd.Series(pd.Categorical(pd.period_range("2024-01", periods=max(rows, 1), freq="D")[:rows])),
    lambda rows: pd.Series(pd.Categorical([(1, "a"), (2, "b")] * rows)[:rows]),
    lambda rows: pd.Series(pd.interval_range(0, max(rows, 1))[:rows]),
    lambda rows: pd.Series([(1, 2), (3, 4)] * rows)[:rows],
    lambda rows: pd.Series([{1, 2}, None] * rows)[:rows],
    lambda rows: pd.Series([{"a": 1}, {"b": 2}] * rows)[:rows],
    lambda rows: pd.Series([1, "a", None, 2.5, True, b"x"] * rows)[:rows],
    lambda rows: pd.Series([1 + 2j] * rows),
    lambda rows: pd.Series([object] * rows),
    lambda rows: pd.Series(pd.arrays.SparseArray([0, 1] * rows))[:rows],
    lambda rows: pd.Series([1, None] * rows, dtype="Int8")[:rows],
    lambda rows: pd.Series([True, None] * rows, dtype="boolean")[:rows],
    lambda rows: pd.Series(["a", None] * rows, dtype="string")[:rows],
    lambda rows: pd.Series(pd.to_timedelta(range(rows), unit="s")),
    lambda rows: pd.Series(pd.date_range("2024", periods=max(rows, 1), tz="Asia/Tokyo")[:rows]),
    lambda rows: pd.Series([pd.Timestamp("2024", tz="UTC"), pd.Timestamp("2024")] * rows)[:rows],
    lambda rows: pd.Series([10**30, -(10**30)] * rows)[:rows],
    lambda rows: pd.Series([decimal.Decimal("1.5"), decimal.Decimal("NaN")] * rows)[:rows],
)
"""Columns that only pandas has."""
ODD_NAMES = st.sampled_from(["", "\x00", "a\x00b", "\x1b[31m", "é", "`", "label "])
NAMES = st.sampled_from(["x", "y", "user", "a b", "a.b", "x\n"]) | st.sampled_from(["x", "y", "z"]) | ODD_NAMES
KINDS = ("categorical", "hashed", "numeric", "sequence", "text", "date", "buckets", "vector", "none")


@st.composite
def problems(draw: st.DrawFn) -> tuple[dict[Any, Any], dict[str, Any], dict[str, Any], str]:
    """Columns by name, features, options of the split, and the form in which the rows come."""
    rows = draw(st.sampled_from([0, 1, 5, 12, 12, 12, 12, 20]))
    form = draw(st.sampled_from(["arrow", "arrow", "parquet", "parquet", "pandas", "columns", "records"]))
    result: dict[Any, Any] = {}
    for _ in range(draw(st.integers(1, 3))):
        name: Any = draw(st.one_of(NAMES, st.integers(0, 3)) if form in ("pandas", "columns") else NAMES)
        if form in ("pandas", "columns") and draw(st.booleans()):
            result[name] = draw(st.sampled_from(FRAMES))(rows)
        else:
            result[name] = draw(columns(rows))
    features: dict[str, Any] = {}
    for number, name in enumerate(result):
        kind = draw(st.sampled_from(KINDS))
        if kind != "none":
            options = {"vector": {"size": 2}, "buckets": {"count": 3}}.get(kind, {})
            features[f"f{number}"] = {"kind": kind, "column": str(name), **options}
    any_name = str(draw(st.sampled_from(list(result))))
    split: dict[str, Any] = draw(
        st.sampled_from(
            [
                {},
                {},
                {},
                {},
                {},
                {},
                {},
                {},
                {"by": "time", "column": any_name},
                {"by": "user", "column": any_name},
                {"by": "given", "column": any_name},
                {"by": "last", "column": any_name, "time": any_name},
                {"cold": (any_name,)},
            ]
        )
    )
    result["label"] = pa.array([0, 1] * rows, pa.int64())[:rows]
    if draw(st.integers(0, 9)) == 0:
        result["label"] = draw(columns(rows))
    return result, features or {"f": {"kind": "categorical", "column": any_name}}, split, form


def as_series(column: pa.Array | pa.ChunkedArray) -> pd.Series:
    """A column as pandas has it; Arrow's own conversion aborts the process for some types without rows (pyarrow 26)."""
    if not len(column):
        return pd.Series([], dtype=object)
    try:
        return column.to_pandas()
    except (pa.ArrowException, NotImplementedError, ValueError):  # no user has such a frame: pandas can't hold it
        reject()


def source_of(result: dict[Any, Any], form: str, folder: Path) -> Source:
    """The rows as a source of the asked form."""
    if form == "columns":
        return Frame(rows=result)
    if form == "pandas":
        frame = {name: item if isinstance(item, pd.Series) else as_series(item) for name, item in result.items()}
        return Frame(rows=pd.DataFrame({name: pd.Series(item).reset_index(drop=True) for name, item in frame.items()}))
    table = pa.table(list(result.values()), [str(name) for name in result])
    if form == "records":
        return Frame(rows=table.to_pylist())
    if form == "parquet":
        path = Path(tempfile.mkdtemp(dir=folder)) / "log.parquet"
        try:
            pq.write_table(table, path)
        except (pa.ArrowException, OSError):  # a type that parquet has not
            return Frame(rows=table)
        return Table(path=str(path))
    return Frame(rows=table)


def check(problem: tuple[dict[Any, Any], dict[str, Any], dict[str, Any], str], folder: Path) -> None:
    """Prepare the rows; what is accepted has all of them, each once."""
    result, features, split, form = problem
    rows = len(result["label"])
    try:
        source = source_of(result, form, folder)
        source.schema()
        done = prepare(
            source,
            features=build_features(features),
            tasks=[Task(name="click", kind="binary", label="label")],
            split=SplitSpec(**split),
            cache_dir=folder / "cache",
        )
    except MtlError:
        return
    assert sum(len(store) for store in done.stores.values()) == rows


SHORT = settings(max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=1_250, database=None, suppress_health_check=list(HealthCheck))


@SHORT
@given(problems())
def test_a_table_is_prepared_or_refused(tmp_path_factory: pytest.TempPathFactory, problem: Any) -> None:
    check(problem, tmp_path_factory.mktemp("table"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(4))
def test_five_thousand_tables_are_prepared_or_refused(tmp_path: Path, part: int) -> None:
    @seed(part)
    @LONG
    @given(problems())
    def run(problem: Any) -> None:
        check(problem, tmp_path)

    run()
