"""Rows in memory of odd types: each column is usable as it prints, or refused with a sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.readers.frames import Frame, as_array, as_table
from mtl_lightning.errors import MtlError

ROWS = 20
INTERVAL = "MonthDayNano(months=1, days=2, nanoseconds=3)"
USUAL = {"user": ["a", "b"] * 10, "click": [0, 1, 1, 0] * 5}


def prepared(rows: Any, folder: Path, features: Any, tasks: Any = None, **options: Any) -> Any:
    tasks = tasks or {"click": "binary"}
    data = DataModule.from_frame(rows, features=features, tasks=tasks, batch_size=8, cache_dir=folder, **options)
    data.prepare_data()
    data.setup("fit")
    return data.prepared


@pytest.mark.parametrize(
    ("values", "distinct"),
    [
        (pd.cut(range(ROWS), 4), 4),
        (pd.Categorical([pd.Interval(0, 1), pd.Interval(1, 2)] * 10), 2),
        (pd.Series([pd.Interval(0, 1), pd.Interval(1, 2)] * 10), 2),
        (pd.period_range("2024-01", periods=ROWS, freq="M"), 20),
        (pd.Categorical(pd.period_range("2024-01", periods=ROWS, freq="M")), 20),
        (pd.Categorical([(1, "a"), (2, "b")] * 10), 2),
        (pd.Series([1, "a", None, 2.5] * 5), 3),
    ],
)
def test_what_only_pandas_has_is_a_category_as_it_prints(tmp_path: Path, values: Any, distinct: int) -> None:
    frame = pd.DataFrame(USUAL).assign(x=values)
    split = {"by": "random", "validation": 0.0, "test": 0.0}
    used = prepared(frame, tmp_path, {"x": "categorical"}, split=split)
    assert used.transforms.schema.field("x").size == distinct + 2
    assert len(used.stores["train"]) == ROWS
    unused = prepared(frame, tmp_path, {"user": "categorical"})
    assert sum(len(store) for store in unused.stores.values()) == ROWS


def test_intervals_are_text_as_pandas_prints_them() -> None:
    values = pd.Series(pd.cut([1.0, np.nan, 3.0], [0, 2, 4]))
    assert as_array(values, "x").to_pylist() == ["(0, 2]", None, "(2, 4]"]
    assert as_array(pd.Series(pd.period_range("2024-01", periods=2, freq="M")), "x").to_pylist() == [
        "2024-01",
        "2024-02",
    ]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([(1, 2, 3), None], pa.month_day_nano_interval()), INTERVAL),
        (pa.array([[(1, 2, 3)], None], pa.list_(pa.month_day_nano_interval())), [INTERVAL]),
        (pa.array([{"a": [1]}, None], pa.struct([("a", pa.list_view(pa.int8()))])), {"a": [1]}),
        (pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int8())), [{"key": "k", "value": 1}]),
        (pa.array(["x", None], pa.string_view()).dictionary_encode(), "x"),
        (pa.array(["x", None], pa.string_view()), "x"),
    ],
)
def test_types_that_cannot_be_stored_become_ones_that_can(column: pa.Array, expected: Any) -> None:
    result = as_table(pa.table({"x": column}))["x"].to_pylist()
    assert result == [expected, None]
    assert Frame(rows=pa.table({"x": column})).rows()[:]["x"] == result
    assert Frame(rows=pa.table({"x": column.slice(0, 0)})).rows().num_rows == 0


@pytest.mark.parametrize("kind", ["categorical", "numeric", "sequence", "hashed", "text"])
def test_a_dictionary_of_nulls_is_a_column_without_values(tmp_path: Path, kind: str) -> None:
    table = pa.table({**USUAL, "x": pa.nulls(ROWS).dictionary_encode()})
    done = prepared(table, tmp_path, {"user": "categorical", "x": kind})
    assert sum(len(store) for store in done.stores.values()) == ROWS


def test_columns_whose_names_are_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({0: ["a", "b"] * 10, 1: [0, 1, 1, 0] * 5})
    label = {"click": {"kind": "binary", "label": "`1`"}}
    for features in ({0: "categorical"}, {"0": "categorical"}, {"f": {"kind": "categorical", "column": 0}}):
        done = prepared(frame, tmp_path, features, label)
        (field,) = done.transforms.schema.fields
        assert (field.name, field.size) == ("f" if "f" in features else "0", 4)


@pytest.mark.parametrize("name", ["x\0y", "\0", "user\0"])
def test_a_column_name_with_a_nul_is_refused(name: str) -> None:
    for rows in (pa.table({**USUAL, name: ["a"] * ROWS}), pd.DataFrame({**USUAL, name: ["a"] * ROWS})):
        with pytest.raises(MtlError, match="holds a NUL character"):
            Frame(rows=rows)


@pytest.mark.parametrize(
    "make", [lambda schema: schema.empty_table(), lambda schema: pa.Table.from_batches([], schema)]
)
def test_an_empty_table_is_a_table_without_training_rows(tmp_path: Path, make: Any) -> None:
    types = [
        pa.map_(pa.string(), pa.int64()),
        pa.list_view(pa.int8()),
        pa.dictionary(pa.int8(), pa.null()),
        pa.string_view(),
    ]
    for kind in types:
        table = make(pa.schema([("user", pa.string()), ("click", pa.int64()), ("x", kind)]))
        with pytest.raises(MtlError, match="the training split has no rows"):
            prepared(table, tmp_path, {"user": "categorical"})


@pytest.mark.parametrize("by", ["user", "last", "given", "time"])
@pytest.mark.parametrize("values", [[{"a": 1}] * ROWS, [[1]] * ROWS, [[]] * ROWS])
def test_a_split_by_lists_or_structs_is_refused(tmp_path: Path, by: str, values: Any) -> None:
    rows = pa.table({**USUAL, "x": values})
    with pytest.raises(MtlError, match=r"column 'x' holds (struct|list)<"):
        prepared(rows, tmp_path, {"user": "categorical"}, split={"by": by, "column": "x", "time": "x"})
