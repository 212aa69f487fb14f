"""Rows of a request are encoded as the transforms encode a table, value by value and error by error."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.readers.frames import as_table
from mtl_lightning.errors import DataError

SPECS: dict[str, Any] = {
    "user": "categorical",
    "city": "categorical",
    "price": {"kind": "numeric", "transform": "log", "minimum": -5.0},
    "age": {"kind": "buckets", "count": 3},
    "history": {"kind": "sequence", "of": "user", "length": 3},
    "tags": {"kind": "sequence", "length": 2},
    "device": {"kind": "hashed", "size": 50},
    "pair": {"kind": "cross", "of": ["city", "device"], "size": 40},
    "title": {"kind": "text", "size": 60, "length": 4},
    "image": {"kind": "vector", "size": 2},
    "time": {"kind": "date", "part": "hour"},
}


@pytest.fixture(scope="module")
def fitted() -> Transforms:
    transforms = Transforms(build_features(SPECS), (), raw=["duration"])
    transforms.fit(
        [
            pa.table(
                {
                    "user": [1, 2, 7, 2, 9007199254740993],
                    "city": ["7", "Köln", "", "2.5", "Köln"],
                    "price": [1.0, None, 5.5, 100.0, -9.0],
                    "age": [20, 30, 40, None, 60],
                    "history": [[1, 2], [7], [], None, [2, 2, 1, 7]],
                    "tags": [["a"], ["b", "a"], None, [], ["7"]],
                    "device": ["x", "y", None, "x", "z"],
                    "title": ["red dress", "", None, "a b c", "red"],
                    "image": [[0.5, 1.0], None, [1, 2], [3, 4], [5, 6]],
                    "time": [0, 3600, 7200, None, 90000],
                    "duration": [1.0, 2.0, 3.0, 4.0, 5.0],
                }
            )
        ]
    )
    return transforms


GOOD: dict[str, st.SearchStrategy[Any]] = {
    "user": st.one_of(st.none(), st.sampled_from([1, 2, 7, 8, 9007199254740993, -3])),
    "city": st.one_of(st.none(), st.sampled_from(["7", "Köln", "", "2.5", "unseen"])),
    "price": st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-1000, 1000)),
    "age": st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(0, 100)),
    "history": st.one_of(st.none(), st.lists(st.one_of(st.none(), st.sampled_from([1, 2, 7, 8])), max_size=6)),
    "tags": st.one_of(st.none(), st.lists(st.sampled_from(["a", "b", "c", "7"]), max_size=4)),
    "device": st.one_of(st.none(), st.sampled_from(["x", "y", "w"])),
    "title": st.one_of(st.none(), st.sampled_from(["red dress", "DRESS", "", "x y z w v"])),
    "image": st.one_of(st.none(), st.lists(st.floats(-5, 5), min_size=2, max_size=2)),
    "time": st.one_of(st.none(), st.integers(0, 2_000_000_000)),
    "duration": st.one_of(st.none(), st.floats(0, 100)),
}
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.sampled_from(["7", "1", "007", "1.0", 7.0, 2.5, 1e300, True]),
    st.lists(st.one_of(st.integers(0, 9), st.text(max_size=2), st.none()), max_size=4),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


def of_table(transforms: Transforms, rows: list[dict[str, Any]]) -> dict[str, np.ndarray] | None:
    """Result of the table's way, or None if it refuses."""
    try:
        batch = transforms.encode(as_table(rows))
    except DataError:
        return None
    parts = {"ids": batch.ids, "dense": batch.dense}
    for prefix, group in (("sequence", batch.sequences), ("vector", batch.vectors), ("raw", batch.raw)):
        parts |= {f"{prefix}/{name}": value for name, value in group.items()}
    return {name: value.numpy() for name, value in parts.items()}


def same(transforms: Transforms, rows: list[dict[str, Any]]) -> None:
    expected = of_table(transforms, rows)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    if expected is None:
        with pytest.raises(DataError):
            RowEncoder(transforms).encode(columns, len(rows))
        return
    result = RowEncoder(transforms).encode(columns, len(rows))
    assert result.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(result[name], values, err_msg=name)
        assert result[name].dtype == values.dtype


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries(GOOD), min_size=1, max_size=5))
def test_usual_rows(fitted: Transforms, rows: list[dict[str, Any]]) -> None:
    same(fitted, rows)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), rows=st.lists(st.fixed_dictionaries(GOOD), min_size=1, max_size=4))
def test_a_column_of_anything(fitted: Transforms, data: st.DataObject, rows: list[dict[str, Any]]) -> None:
    name = data.draw(st.sampled_from(sorted(GOOD)))
    same(fitted, [{**row, name: data.draw(ANYTHING)} for row in rows])


def test_one_value_stands_for_every_row(fitted: Transforms) -> None:
    row = {"user": 2, "city": "Köln", "price": 1.5, "age": 30, "history": [1, 2], "tags": ["a"], "device": "x"}
    row |= {"title": "red dress", "image": [0.5, 1.0], "time": 3600, "duration": 9.0}
    whole = {name: [value] * 3 for name, value in row.items()} | {"city": ["7", "Köln", None]}
    part = {name: [value] for name, value in row.items()} | {"city": ["7", "Köln", None]}
    encoder = RowEncoder(fitted)
    for name, expected in encoder.encode(whole, 3).items():
        np.testing.assert_array_equal(encoder.encode(part, 3)[name], expected)


def test_a_missing_column_is_named(fitted: Transforms) -> None:
    with pytest.raises(DataError, match="no column 'user'"):
        RowEncoder(fitted).encode({"city": ["7"]}, 1)
